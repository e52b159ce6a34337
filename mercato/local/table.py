"""The table of the mesh: every process, what it runs, what it needs, and the environment that it is given."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from mercato.config import LocalSettings
from mercato.local.door import Door
from mercato.local.home import Home
from mercato.local.kafka import Kafka
from mercato.local.part import Part, Slot, answers_http, external_part, server_part
from mercato.local.postgres import Postgres
from mercato.local.server import HOST
from mercato.local.valkey import KEYS, Valkey

SERVERS = ("postgres", "valkey", "kafka")

MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}
"""How glibc hands memory out. By itself it keeps 19 MiB for every thread that ever hashed a password."""


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its schema, and what it calls."""

    name: str
    schema: str
    calls: tuple[str, ...] = ()


SERVICES = (
    Service("product", "catalog"),
    Service("inventory", "inventory"),
    Service("payment", "payments", calls=("simulator",)),
    Service("delivery", "delivery"),
    Service("user", "users", calls=("delivery",)),
    Service("order", "orders", calls=("product", "inventory", "payment", "delivery", "user")),
)


def mesh_parts(home: Home, settings: LocalSettings) -> list[Part]:
    """The parts of the mesh, in the order in which they are listed."""
    table = Table(home, settings)
    simulator = [] if settings.stripe_api_key else [table.simulator()]
    return [*table.servers(), table.setup(), *simulator, *table.services(), table.gateway(), table.auditor()]


class Table:
    """Makes the parts of one mesh."""

    def __init__(self, home: Home, settings: LocalSettings) -> None:
        """Servers that are named in the settings win over those of our own."""
        self._home = home
        self._settings = settings
        folder = home.folder
        self._postgres = Postgres(folder / "postgres", home.port("postgres"), home.secret("postgres"))
        accounts = {name: home.secret(f"valkey.{name}") for name in KEYS}
        self._valkey = Valkey(folder / "valkey", home.port("valkey"), home.secret("valkey"), accounts)
        self._kafka = Kafka(folder / "kafka", home.port("kafka"), home.port("kafka.controller"))
        self._database_url = settings.database_url or self._postgres.url
        self._bootstrap = settings.kafka_bootstrap or self._kafka.url

    def servers(self) -> list[Part]:
        """PostgreSQL, Valkey and Kafka, ours or somebody's."""
        return [
            _given("postgres", self._settings.database_url, 5432) or server_part(self._postgres),
            _given("valkey", self._settings.redis_url, 6379) or server_part(self._valkey),
            _given("kafka", f"//{given}" if (given := self._settings.kafka_bootstrap) else "", 9092)
            or server_part(self._kafka),
        ]

    def setup(self) -> Part:
        """Everything that must be there before a service starts: keys, roles, tables, topics."""
        slot = Slot("", lambda: True, self.setup_environment())
        return Part("setup", _python("mercato.local.setup"), (slot,), needs=("postgres", "kafka"), step=True)

    def setup_environment(self) -> dict[str, str]:
        """What one must be told to bring roles, tables and topics up to date."""
        return self._common("setup") | {
            "MERCATO_DATABASE_URL": self._database_url,
            "MERCATO_KAFKA_BOOTSTRAP": self._bootstrap,
            "MERCATO_ROLE_PASSWORDS": str(self._password_files()),
        }

    def simulator(self) -> Part:
        """The payment provider."""
        address = self._address("simulator")
        environment = self._common("simulator") | {
            "MERCATO_SIMULATOR_ADDRESS": address,
            "MERCATO_SIMULATOR_LOG": str(self._home.folder / "simulator" / "log.jsonl"),
            "MERCATO_SIMULATOR_KEY": self._provider_key,
            "MERCATO_SIMULATOR_WEBHOOK_URL": f"http://{self._gateway_address}/webhooks/stripe",
            "MERCATO_SIMULATOR_WEBHOOK_SECRET": self._webhook_secret,
        }
        slot = Slot(address, partial(answers_http, address, "/healthz"), environment)
        return Part("simulator", _python("simulator"), (slot,))

    def services(self) -> Iterable[Part]:
        """Every copy of every service."""
        for service in SERVICES:
            for copy in self._copies(service.name):
                slots = tuple(self._slot(service, copy, letter) for letter in "ab")
                calls = tuple(each for each in service.calls if each != "simulator" or self._simulated)
                yield Part(copy, _python(f"services.{service.name}"), slots, ("valkey", "setup"), calls)

    def gateway(self) -> Part:
        """The one door."""
        slots = tuple(self._gateway_slot(letter) for letter in "ab")
        calls = tuple(each.name for each in SERVICES)
        door = Door(self._gateway_address, "MERCATO_GATEWAY_LISTENER")
        return Part("gateway", _python("gateway"), slots, ("valkey", "setup"), calls, door=door)

    def _gateway_slot(self, letter: str) -> Slot:
        """A place for one of two processes at the same door: who is asked how it does is told by its health."""
        health = self._address(f"gateway.{letter}.health")
        environment = self._common("gateway") | self._targets(each.name for each in SERVICES)
        environment |= {
            "MERCATO_GATEWAY_ADDRESS": self._gateway_address,
            "MERCATO_HEALTH_ADDRESS": health,
            "MERCATO_METRICS_ADDRESS": self._address(f"gateway.{letter}.metrics"),
            "MERCATO_REDIS_URL": self._redis("gateway"),
            "MERCATO_KAFKA_BOOTSTRAP": self._bootstrap,
            "MERCATO_LEAVE_FIRST": "1s",
        }
        return Slot(self._gateway_address, partial(_serves, health), environment)

    def auditor(self) -> Part:
        """Whoever compares what all others say."""
        health = self._address("auditor.health")
        own = {"MERCATO_HEALTH_ADDRESS": health, "MERCATO_METRICS_ADDRESS": self._address("auditor.metrics")}
        slot = Slot(health, partial(_serves, health), self.auditor_environment() | own)
        return Part("auditor", _python("auditor"), (slot,), ("setup",), ("simulator",))

    def auditor_environment(self) -> dict[str, str]:
        """What the auditor is told: the database by the role that may only read, and where the provider's log is."""
        environment = self._common("auditor") | {
            "MERCATO_DATABASE_URL": self._signed_in("auditor", self._home.secret("role.auditor")),
            "MERCATO_KAFKA_BOOTSTRAP": self._bootstrap,
        }
        if self._settings.stripe_api_key:
            return environment
        return environment | {
            "MERCATO_AUDITOR_PROVIDER": f"http://{self._address('simulator')}",
            "MERCATO_AUDITOR_PROVIDER_KEY": self._provider_key,
        }

    def targets(self) -> dict[str, str]:
        """Where each service listens, in the words of a gRPC channel: both ports of every copy.

        Whichever a process listens on, callers find it without being told.
        """
        return {service.name: f"ipv4:{','.join(self._addresses(service.name))}" for service in SERVICES}

    def _addresses(self, name: str) -> list[str]:
        return [self._address(f"{copy}.{letter}") for copy in self._copies(name) for letter in "ab"]

    def _slot(self, service: Service, copy: str, letter: str) -> Slot:
        address, health = self._address(f"{copy}.{letter}"), self._address(f"{copy}.{letter}.health")
        environment = self._common(service.name) | self._targets(service.calls)
        environment |= {
            "MERCATO_DATABASE_URL": self._as_role(service),
            "MERCATO_REDIS_URL": self._redis(service.name),
            "MERCATO_KAFKA_BOOTSTRAP": self._bootstrap,
            "MERCATO_GRPC_ADDRESS": address,
            "MERCATO_HEALTH_ADDRESS": health,
            "MERCATO_METRICS_ADDRESS": self._address(f"{copy}.{letter}.metrics"),
        }
        # With a key of Stripe's own the provider is Stripe, and the process finds the rest in its surroundings.
        if service.name == "payment" and self._simulated:
            environment |= {
                "MERCATO_PAYMENT_PROVIDER_URL": f"http://{self._address('simulator')}",
                "MERCATO_PAYMENT_PROVIDER_KEY": self._provider_key,
                "MERCATO_PAYMENT_WEBHOOK_SECRET": self._webhook_secret,
            }
        return Slot(address, partial(_serves, health), environment)

    def _common(self, name: str) -> dict[str, str]:
        return {
            "MERCATO_NAME": name,
            "MERCATO_KEYS": str(self._home.keys),
            "MERCATO_SECRET": self._home.secret("pages"),
            "MERCATO_GRACE": "3s",
            **MEMORY,
        }

    def _targets(self, names: Iterable[str]) -> dict[str, str]:
        targets = self.targets()
        return {f"MERCATO_TARGET_{name.upper()}": targets[name] for name in names if name in targets}

    def _copies(self, name: str) -> list[str]:
        return [name, *(f"{name}-{number}" for number in range(2, self._settings.copies.get(name, 1) + 1))]

    def _address(self, use: str) -> str:
        return f"{HOST}:{self._home.port(use)}"

    def _redis(self, name: str) -> str:
        """Valkey, as the account that reaches this process' keys and no others."""
        return self._settings.redis_url or self._valkey.url_of(name)

    def _as_role(self, service: Service) -> str:
        """The database, as the role that sees this service's schema and no other."""
        return self._signed_in(service.schema, self._password(service))

    def _signed_in(self, role: str, password: str) -> str:
        url = urlsplit(self._database_url)
        place = url.netloc.rpartition("@")[2]
        return url._replace(netloc=f"mercato_{role}:{quote(password)}@{place}").geturl()

    def _password_files(self) -> Path:
        folder = self._home.folder / "roles"
        for service in SERVICES:
            self._home.write_secret(folder / service.schema, self._password(service))
        self._home.write_secret(folder / "auditor", self._home.secret("role.auditor"))
        return folder

    def _password(self, service: Service) -> str:
        return self._home.secret(f"role.{service.schema}")

    @property
    def _gateway_address(self) -> str:
        return f"{HOST}:{self._settings.port or self._home.port('gateway')}"

    @property
    def _simulated(self) -> bool:
        """Whether the payment provider is the stand-in."""
        return not self._settings.stripe_api_key

    @property
    def _webhook_secret(self) -> str:
        return f"whsec_{self._home.secret('webhook')}"

    @property
    def _provider_key(self) -> str:
        return f"sk_test_{self._home.secret('provider')}"


def _python(module: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", module]


def _given(name: str, url: str, port: int) -> Part | None:
    if not url:
        return None
    parts = urlsplit(url)
    return external_part(name, f"{parts.hostname or HOST}:{parts.port or port}")


def _serves(health: str) -> bool:
    from mercato.local.grpc_health import serves

    return serves(health)
