"""Two versions side by side: today's code in a database that tomorrow's release has migrated already.

Migrations only add: what a release does not use any more goes with a later one. So every table here has a column of
which today's code knows nothing.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mercato.migrate import default_folder
from mercato.outbox import OutboxRelay
from mercato.postgres import Database
from services.inventory.domain import Warehouse
from services.inventory.reservation import State
from services.order.projections import projections
from tests.component.order_shop import Shop, state
from tests.contract.stock_world import basket, in_postgres
from tests.servers import SCHEMAS, FreshDatabase, PostgresServer

OF_TOMORROW = """
    select format('alter table %%I.%%I add column of_tomorrow text not null default ''new''', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = any(%s)
"""


COMMENT, BODY = re.compile(r"--.*"), re.compile(r"\$\$.*?\$\$", re.DOTALL)
TAKES_AWAY = re.compile(r"\b(drop\s+(table|column|view|function)|rename\s+(column\s+\w+\s+)?to|set\s+not\s+null)\b")
ASKS_FOR_MORE = re.compile(r"\badd\s+column\b(?=[^,;]*\bnot\s+null\b)(?![^,;]*\b(default|generated)\b)")


@pytest.fixture(scope="module")
def ahead(postgres: PostgresServer) -> FreshDatabase:
    """A database that is one release ahead."""
    fresh = postgres.fresh()
    with psycopg.connect(fresh.url, autocommit=True) as connection:
        for (statement,) in connection.execute(OF_TOMORROW, [[*SCHEMAS]]).fetchall():
            connection.execute(statement)
    return fresh


def named(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


@pytest.mark.parametrize("file", sorted(default_folder().rglob("*.sql")), ids=named)
def test_f66_a_migration_takes_nothing_away_from_those_who_do_not_know_of_it(file: Path) -> None:
    statements = BODY.sub("", COMMENT.sub("", file.read_text().lower()))
    assert not TAKES_AWAY.search(statements)
    assert not ASKS_FOR_MORE.search(statements)


class Acknowledging:
    """A Kafka that takes everything."""

    def __init__(self) -> None:
        self.taken = 0

    def make(self, _topics: object) -> None:
        """Whatever it is."""

    def producer(self) -> "Acknowledging":
        """Itself."""
        return self

    def produce(self, _topic: str, *, on_delivery: Callable[[None, None], None], **_: object) -> None:
        """Acknowledged at once."""
        self.taken += 1
        on_delivery(None, None)

    def flush(self, _timeout: float) -> int:
        """Nothing is on its way."""
        return 0


def drained(database: Database) -> int:
    """How many events a relay has published."""
    kafka: Any = Acknowledging()
    relay = OutboxRelay(database, kafka)
    while relay.run_once(datetime.now(UTC)):
        pass
    relay.close()
    assert isinstance(kafka.taken, int)
    return kafka.taken


def test_f66_today_s_orders_go_their_ways_in_tomorrow_s_database(ahead: FreshDatabase) -> None:
    with ahead.of("orders") as database:
        shop = Shop(database)
        assert state(shop.brought()) == "DELIVERED"
        called_off = shop.place(key="called off")
        with shop.acting(shop.customer, "cancel"):
            shop.orders.cancel_order(UUID(called_off.id), "", "")
        shop.rest()
        assert state(shop.order(called_off.id)) == "CANCELLED"
        known = projections(database)
        for name in known.names():
            while known.workers[name].run_once(shop.clock.now()):
                pass
            verified = known.verify(name)
            assert (verified.streams, verified.examples) == (2, ())
        waiting = shop.sql("select count(*) from outbox")[0][0]
        assert drained(database) == waiting > 0
        assert shop.sql("select count(*), min(of_tomorrow) from outbox_journal") == [(waiting, "new")]


def test_f66_today_s_stock_is_reserved_and_consumed_in_tomorrow_s_database(ahead: FreshDatabase) -> None:
    with ahead.of("inventory") as database:
        world = in_postgres(database)
        world.inventory.put_warehouse(Warehouse("north", "north"))
        world.receive(milk=5)
        wanted = basket(milk=2)
        world.inventory.reserve_stock(wanted)
        world.inventory.commit_reservation(wanted.reservation_id)
        assert world.inventory.consume_reservation(wanted.reservation_id, wanted.claims).state is State.CONSUMED
        assert world.level("milk") == (3, 0)
        world.audit()
        assert drained(database) == len(world.told)
