"""Orders that wait for one another's commit are written as one set, and each comes out as if it had come alone."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mercato.api.order.v1 import order_pb2 as pb
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import a_customer
from services.order.refusals import TooMuchHeld
from tests.component.order_shop import ANN, Shop, patient, shown, state
from tests.servers import FreshDatabase

SOON = 30.0


@pytest.fixture
def shop(order_database: Database) -> Shop:
    return Shop(order_database, patient(most_pending=3))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def order_as(shop: Shop, customer: Principal, key: str) -> pb.Order:
    """Somebody orders."""
    with shop.acting(customer, key):
        return shown(shop.orders.place_order(shop.wanted()))


def somebody(shop: Shop) -> Principal:
    """A customer with an address."""
    customer = a_customer(str(uuid7()))
    shop.users.addresses[UUID(customer.subject), shop.address_id] = ANN
    return customer


def eventually(law: Callable[[], bool]) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + SOON
    while not law():
        assert time.monotonic() < deadline
        os.sched_yield()


def held(shop: Shop, pool: ThreadPoolExecutor, commits: int, release: Callable[[], bool]) -> "Future[pb.Order]":
    """An order of somebody's whose commit of that number lasts until something is so."""
    entered: list[None] = []

    def commit() -> None:
        entered.append(None)
        if len(entered) < commits:
            shop.points.hooks["commit.before"] = commit
        else:
            eventually(release)

    shop.points.hooks["commit.before"] = commit
    first = pool.submit(order_as, shop, somebody(shop), "first")
    eventually(lambda: len(entered) == commits)
    return first


def transactions(shop: Shop) -> list[int]:
    """How many orders each transaction placed."""
    rows = shop.sql(
        "select count(*)::int from events where version = 1 and stream_id = any("
        "select order_id from order_view) group by xid order by 1"
    )
    return [row[0] for row in rows]


def test_orders_that_wait_for_a_commit_are_placed_by_the_next_one(shop: Shop, pool: ThreadPoolExecutor) -> None:
    shop.deliveries.places[str(shop.slot_id)] = 10
    first = held(shop, pool, 1, lambda: shop.parts.placing.group.waiting == 3)
    others = [pool.submit(order_as, shop, somebody(shop), "other") for _ in range(3)]
    placed = [each.result(SOON) for each in (first, *others)]
    assert transactions(shop) == [1, 3]
    shop.rest()
    assert [state(shop_order(shop, each)) for each in placed] == ["CONFIRMED"] * 4
    assert shop.inventory.free == {"milk": 2, "rye": 6}
    assert all(shop.told(each.id) == ["OrderPlaced", "OrderConfirmed"] for each in placed)


def shop_order(shop: Shop, order: pb.Order) -> pb.Order:
    """An order as support sees it."""
    with shop.acting(shop.support):
        return shown(shop.orders.get_order(UUID(order.id)))


def test_of_a_set_only_what_is_refused_is_refused_and_its_key_is_free_again(
    shop: Shop, pool: ThreadPoolExecutor
) -> None:
    greedy = somebody(shop)
    first = held(shop, pool, 1, lambda: shop.parts.placing.group.waiting == 4)
    futures = [pool.submit(order_as, shop, greedy, f"key-{number}") for number in range(4)]
    first.result(SOON)
    refused = [number for number, each in enumerate(futures) if isinstance(each.exception(SOON), TooMuchHeld)]
    assert len(refused) == 1
    assert transactions(shop) == [1, 3]
    shop.rest()
    assert state(order_as(shop, greedy, f"key-{refused[0]}")) == "CONFIRMED"


def test_a_key_that_is_used_twice_in_a_set_is_one_order(shop: Shop, pool: ThreadPoolExecutor) -> None:
    twice = somebody(shop)
    first = held(shop, pool, 1, lambda: shop.parts.placing.group.waiting == 3)
    futures = [pool.submit(order_as, shop, each, "the key") for each in (twice, twice, somebody(shop))]
    first.result(SOON)
    ids = [each.result(SOON).id for each in futures]
    assert ids[0] == ids[1] != ids[2]
    assert sum(transactions(shop)) == 3


def test_who_lost_the_lease_decides_nothing_though_the_others_of_the_set_do(
    shop: Shop, pool: ThreadPoolExecutor
) -> None:
    def stolen() -> bool:
        if shop.parts.process.concluding.waiting < 2:
            return False
        shop.sql(
            "update process set lease_token = lease_token + 1, lease_until = clock_timestamp() + '1 minute'"
            "where holder = %s",
            UUID(robbed.subject),
        )
        return True

    robbed = somebody(shop)
    first = held(shop, pool, 2, stolen)
    futures = [pool.submit(order_as, shop, each, "other") for each in (robbed, somebody(shop))]
    orders = [each.result(SOON) for each in (first, *futures)]
    assert [state(each) for each in orders] == ["CONFIRMED", "PENDING", "CONFIRMED"]
    shop.rest()
    assert state(shop_order(shop, orders[1])) == "CONFIRMED"
    assert shop.told(orders[1].id) == ["OrderPlaced", "OrderConfirmed"]


# What the good way of an order costs, with three times begin and commit; not how a connection is told of a deadline.
STATEMENTS = 24
COUNT = """
    select coalesce(sum(calls), 0) from pg_stat_statements s
    join pg_roles r on r.oid = s.userid
    join pg_database d on d.oid = s.dbid and d.datname = current_database()
    where rolname like '%orders' and query not like 'set %' and query not like 'select set_config%'
"""


def test_an_order_that_comes_alone_costs_so_many_statements(fresh_database: FreshDatabase) -> None:
    with fresh_database.of("orders") as database, psycopg.connect(fresh_database.url, autocommit=True) as watcher:
        shop = Shop(database)
        watcher.execute("create extension pg_stat_statements")

        def count() -> int:
            row: Any = watcher.execute(COUNT).fetchone()
            return int(row[0])

        shop.place(key="warms up")
        before = count()
        assert state(shop.place(key="counted")) == "CONFIRMED"
        spent = count() - before
    assert 0 < spent <= STATEMENTS
