"""The real servers of the embedded stack, each in a folder of its own."""

import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from mercato.local.kafka import Kafka
from mercato.local.postgres import Postgres
from mercato.local.procfs import Identity, family
from mercato.local.server import free_port, is_free, running
from mercato.local.trouble import Trouble
from mercato.local.valkey import KEYS, Valkey


def test_postgres_is_the_real_one_and_keeps_what_was_committed(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port(), "secret")
    with running(server, tmp_path / "log"), psycopg.connect(server.url) as session:
        row = session.execute("select current_setting('server_version_num')::int, current_setting('fsync')").fetchone()
        assert row
        assert (row[0] // 10_000, row[1]) == (18, "on")
        session.execute("create table kept as select 42 as answer")
    with running(server, tmp_path / "log"), psycopg.connect(server.url) as session:
        assert session.execute("select answer from kept").fetchone() == (42,)


def test_postgres_wants_the_password_and_is_never_root(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port(), "secret", durable=False)
    with running(server, tmp_path / "log"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace("secret", "guessed"))
        with psycopg.connect(server.url) as session:
            row = session.execute("select pg_backend_pid()").fetchone()
            assert row
            owner = pwd.getpwuid(Path(f"/proc/{row[0]}").stat().st_uid).pw_name
            assert owner != "root"


def test_a_cluster_that_was_interrupted_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port(), "secret", durable=False)
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    with running(server, tmp_path / "log"), psycopg.connect(server.url) as session:
        assert session.execute("select 1").fetchone() == (1,)
    assert not half.exists()


def test_postgres_shuts_down_cleanly_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = Postgres(tmp_path / "postgres", free_port(), "secret")
    starter = (
        "import sys; from pathlib import Path; from mercato.local.postgres import Postgres\n"
        "from mercato.local.server import running\n"
        "server = Postgres(Path(sys.argv[1]), int(sys.argv[2]), 'secret')\n"
        "with running(server, Path(sys.argv[3])): print(flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", starter, str(server.folder), str(server.port), str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        postmaster = Identity.of(int((server.folder / "postmaster.pid").read_text().split()[0]))
        assert postmaster
        started.kill()
    while postmaster.alive:
        os.sched_yield()
    assert "database system is shut down" in log.read_text()


def test_valkey_keeps_what_was_written_through_a_kill(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", free_port())
    with running(server, tmp_path / "log"), redis.Redis.from_url(server.url) as client:
        assert client.info("server")["server_name"] == "valkey"
        client.set("kept", "yes")
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
    with running(server, tmp_path / "log"), redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server with an account for each process that uses it."""
    folder = tmp_path_factory.mktemp("accounts")
    server = Valkey(folder / "valkey", free_port(), accounts=dict.fromkeys(KEYS, "open-sesame"))
    with running(server, folder / "log"):
        yield server


@pytest.mark.parametrize(
    ("name", "own", "foreign"),
    [
        ("gateway", "rate:SignIn:x", ["session:x", "position:x"]),
        ("user", "session:x", ["rate:SignIn:x", "reply:x", "position:x"]),
        ("delivery", "position:x", ["session:x", "reply:x", "rate:SignIn:x"]),
    ],
)
def test_an_account_of_valkey_reaches_its_own_keys_and_rules_over_nobody(
    accounts: Valkey, name: str, own: str, foreign: list[str]
) -> None:
    with redis.Redis.from_url(accounts.url_of(name)) as client:
        client.set(own, "1", ex=60)
        assert client.get(own) == b"1"
        assert client.eval("return redis.call('GET', KEYS[1])", 1, own) == b"1"
        for key in foreign:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.set(key, "1")
        for command in (
            "FLUSHALL",
            "KEYS *",
            "CONFIG GET *",
            "ACL LIST",
            "SHUTDOWN NOSAVE",
            "MONITOR",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
    assert not accounts.url_of("payment")


def test_the_gateway_reads_copies_of_sessions_and_writes_none(accounts: Valkey) -> None:
    with (
        redis.Redis.from_url(accounts.url_of("user")) as user,
        redis.Redis.from_url(accounts.url_of("gateway")) as gateway,
    ):
        user.set("session:y", "copy", ex=60)
        assert gateway.mget(["session:y"]) == [b"copy"]
        with pytest.raises(redis.exceptions.NoPermissionError):
            gateway.delete("session:y")


def test_without_the_password_of_its_own_nobody_is_an_account(accounts: Valkey) -> None:
    with (
        redis.Redis.from_url(accounts.url_of("user").replace("open-sesame", "guessed")) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.get("session:x")


def test_f33_kafka_keeps_what_was_produced_and_takes_more_when_its_disk_was_full(tmp_path: Path) -> None:
    server = Kafka(tmp_path / "kafka", free_port())
    settings = {"bootstrap.servers": server.url, "enable.idempotence": True, "message.timeout.ms": 60_000}
    with running(server, tmp_path / "log"):
        admin = AdminClient({"bootstrap.servers": server.url})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(60)
        produced(Producer(settings), b"yes")
        resource.prlimit(process_of(server), resource.RLIMIT_FSIZE, (1, 1))  # not a byte more in any file
        with pytest.raises(KafkaException):
            produced(Producer(settings | {"message.timeout.ms": 2000}), b"no")
    with running(server, tmp_path / "log"):
        produced(Producer(settings), b"again")
        consumer = Consumer({"bootstrap.servers": server.url, "group.id": "test", "enable.auto.commit": False})
        consumer.assign([TopicPartition("kept", 0, 0)])
        assert [message.value() for message in consumer.consume(2, 60)] == [b"yes", b"again"]
        consumer.close()


def produced(producer: Producer, value: bytes) -> None:
    """Have Kafka acknowledge a record. KafkaException if it does not."""
    told: list[KafkaError | None] = []
    producer.produce("kept", value, on_delivery=lambda error, _: told.append(error))
    producer.flush(60)
    (error,) = told
    if error is not None:
        raise KafkaException(error)


def process_of(server: Kafka) -> int:
    """The number of the server's process, one of ours."""
    folder = str(server.folder).encode()
    (pid,) = (pid for pid in family(os.getpid()) if _is_java(command := _command(pid)) and folder in b" ".join(command))
    return pid


def _command(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _is_java(command: list[bytes]) -> bool:
    return command[0].endswith(b"/java")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", free_port())
    with running(server, tmp_path / "log"):
        second = Valkey(tmp_path / "second", server.port)
        with (
            pytest.raises(Trouble, match=r"(?s)valkey ended with status 1.*in use"),
            running(second, tmp_path / "other"),
        ):
            pass
    assert is_free(server.port)
