"""Apache Kafka 4.3: one KRaft node (broker and controller in one process) on the Java that comes as a wheel."""

import secrets
import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mercato.local import jars
from mercato.local.server import HOST, converse, free_port
from mercato.local.trouble import Trouble, explained

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=BROKER://{host}:{advertised}
listener.security.protocol.map=BROKER:{protocol},CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller}
log.dirs={folder}/data
log.retention.hours=-1
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# One node: its own topics have one copy, and one partition is enough.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Nobody else is about to join a group of one machine.
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
"""
# Everybody may do everything, but for what they are forbidden by name.
OPEN = """\
allow.everyone.if.no.acl.found=true
"""
# Everybody signs in, and may do what they are given by name. Nobody is anonymous but the node to itself.
CLOSED = """\
super.users=User:{operator};User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.broker.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
    username="{operator}" password="{password}" {users};
"""
OPERATOR = "operator"
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""
# A small machine's choice: a heap that fits, no collector threads, and the quick compiler only.
JAVA_OPTIONS = (
    *("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"),
    *("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"),
)


class Kafka:
    """One Kafka node."""

    name = "kafka"
    user = "-"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        folder: Path,
        port: int,
        controller: int = 0,
        options: Sequence[str] | None = None,
        advertised: int = 0,
        accounts: Mapping[str, str] | None = None,
    ) -> None:
        """Keep its data in the folder; the controller's port is for itself alone. Options are Java's.

        `advertised` is the port at which clients are told to come back, where that is not its own. With `accounts`
        (passwords by name, the operator's among them) everybody signs in, and has the rights that the operator gives.
        """
        self.folder = folder.absolute()
        self.port = port
        self._controller = controller or free_port()
        self._options = options
        self._advertised = advertised or port
        self._accounts = accounts

    @property
    def url(self) -> str:
        """The bootstrap address."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> None:
        """Fetch the jars unless they are there, write the configuration, format the folder once."""
        jars.fetch()
        values = {
            "host": HOST,
            "port": self.port,
            "controller": self._controller,
            "advertised": self._advertised,
            "folder": self.folder,
            "protocol": "SASL_PLAINTEXT" if self._accounts else "PLAINTEXT",
        }
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            properties = self.folder / "server.properties"
            properties.touch(mode=0o600)
            properties.write_text(PROPERTIES.format_map(values) + self._who_may())
            (self.folder / "log4j2.properties").write_text(LOGGING.format_map(values))
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()

    def _who_may(self) -> str:
        if not self._accounts:
            return OPEN
        users = " ".join(f'user_{name}="{password}"' for name, password in self._accounts.items())
        return CLOSED.format(operator=OPERATOR, password=self._accounts[OPERATOR], users=users)

    def command(self) -> list[str]:
        """What to run."""
        given = jars.cache_options() if self._options is None else self._options
        return self._java("kafka.Kafka", str(self.folder / "server.properties"), options=given)

    def ready(self) -> bool:
        """Whether it answers requests (ApiVersions, the one that needs no knowledge): not before it is unfenced."""
        api_versions, version, correlation, no_client = 18, 0, 7, -1
        request = struct.pack(">hhih", api_versions, version, correlation, no_client)
        answer = converse(self.port, struct.pack(">i", len(request)) + request, 8)
        return len(answer) >= 8 and struct.unpack_from(">ii", answer)[1] == correlation

    def _format(self) -> None:
        arguments = ("format", "--standalone", "--ignore-formatted", f"--cluster-id={secrets.token_urlsafe(16)}")
        config = ("--config", str(self.folder / "server.properties"))
        command = self._java("kafka.tools.StorageTool", *arguments, *config, options=jars.cache_options())
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise Trouble(
                f"Kafka could not format its folder {self.folder}: {' '.join(said)}.",
                "Make room, or name another state folder: MERCATO_HOME=/some/folder.",
            )

    def _java(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties"
        given = (*JAVA_OPTIONS, *options, logging)
        return [jars.java(), *given, "-cp", jars.class_path(), main_class, *arguments]
