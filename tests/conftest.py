"""The real servers, started for the run when a test first asks for one, and databases in them."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from mercato.kafka import Kafka
from mercato.local.kafka import Kafka as KafkaServer
from mercato.local.postgres import Postgres
from mercato.local.server import free_port, running
from mercato.local.valkey import Valkey
from mercato.postgres import Database
from tests.servers import FreshDatabase, PostgresServer

# The same examples in every run, however slow the machine: a failure is the change's, not the dice's.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What plays on the mesh takes longest: it begins first."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


class Together(LoadScopeScheduling):
    """Keeps on one process what shares servers: the tests of a file, and all that play on the mesh."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How tests are dealt out. Marks for xdist's own groups are not read with the pytest of today."""
    return Together(config, log)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The PostgreSQL of the run."""
    folder = tmp_path_factory.mktemp("postgres")
    with running(Postgres(folder / "data", free_port(), durable=False), folder / "log") as server:
        yield PostgresServer(server.url)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The Kafka of the run."""
    folder = tmp_path_factory.mktemp("kafka")
    with running(KafkaServer(folder / "data", free_port()), folder / "log") as server:
        kafka = Kafka(server.url)
        kafka.warm_up()
        yield kafka


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Valkey of the run."""
    folder = tmp_path_factory.mktemp("valkey")
    with running(Valkey(folder / "data", free_port()), folder / "log") as server:
        yield server.url


@pytest.fixture(scope="module")
def fresh_database(postgres: PostgresServer) -> FreshDatabase:
    """A database for the tests of one module, with every migration."""
    return postgres.fresh()


def _pool(schema: str, module: str = "", size: int = 8) -> Callable[[FreshDatabase], Iterator[Database]]:
    """A fixture: the pool of a service's role in the module's database, with the service's own constraints."""

    @pytest.fixture(scope="module")
    def pool(fresh_database: FreshDatabase) -> Iterator[Database]:
        from importlib import import_module

        constraints = import_module(module).CONSTRAINTS if module else {}
        with fresh_database.of(schema, size=size, constraints=constraints) as database:
            yield database

    return pool


product_database = _pool("catalog", "services.product.store")
inventory_database = _pool("inventory", "services.inventory.store")
order_database = _pool("orders", size=16)
payment_database = _pool("payments")
delivery_database = _pool("delivery")
user_database = _pool("users")
