"""Callers who wrote something find it, or are told that it has not arrived: by the token that they were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import grpc
import pytest

from mercato.api.inventory.v1.inventory_events_pb2 import StockCommitted, StockReleased
from mercato.api.order.v1 import order_pb2 as pb
from mercato.bookkeeping import Bookkeeping
from mercato.consistency import Horizon, Patient
from mercato.consumer import Consumer, handlers
from mercato.delivery import Place, Record
from mercato.errors import NotYetConsistent
from mercato.ids import uuid7
from mercato.postgres import Database, Work
from mercato.projection import Projections
from mercato.rpc import Principal, on_behalf_of
from mercato.rpc.call import consistency_token
from mercato.testing import Served, acting, all_at_once, serve
from mercato.topic import topic
from services.order.projections import ORDER_BOARD, ORDER_LIST
from tests.component.order_shop import Shop
from tests.component.reader import NOON
from tests.servers import FreshDatabase

STOCK = topic("inventory")
SERVICE = "/mercato.api.order.v1.OrderService/"


class Woken(Projections):
    """Projections that are brought up to date by nobody but those who wait for them, if at all."""

    asleep = False

    def wake(self, names: Sequence[str]) -> None:
        for name in names if not self.asleep else ():
            self.workers[name].run_once()


@pytest.fixture
def shop(order_database: Database) -> Shop:
    return Shop(order_database)


@pytest.fixture
def known(order_database: Database) -> Woken:
    return Woken(order_database, [ORDER_LIST, ORDER_BOARD])


@pytest.fixture
def served(shop: Shop, order_database: Database, known: Woken) -> Iterator[Served]:
    horizon = Horizon("order", order_database, {}, known)
    with serve(Patient(shop.parts.servicer, horizon)) as served:
        yield served


def call(served: Served, who: Principal, rpc: str, request: Any, reply: Any, token: str = "") -> tuple[Any, str]:
    """The reply, and the token that came with it."""
    bearer = f"Bearer {served.signer('gateway').token('order', who)}"
    metadata = (("authorization", bearer), *((("x-consistency", token),) if token else ()))
    with grpc.insecure_channel(served.address) as channel:
        method = channel.unary_unary(SERVICE + rpc, type(request).SerializeToString, reply.FromString)
        answer, ended = method.with_call(request, timeout=30, metadata=metadata)
        trailers = dict(ended.trailing_metadata() or ())
    return answer, str(trailers.get("mercato-consistency", ""))


def place(served: Served, shop: Shop) -> tuple[pb.Order, str]:
    request = pb.PlaceOrderRequest(
        lines=[pb.LineQuantity(sku="milk", quantity=1)],
        address_id=str(shop.address_id),
        slot_id=str(shop.slot_id),
        payment_method="pm_card_visa",
        request_id=str(uuid7()),
    )
    return call(served, shop.customer, "PlaceOrder", request, pb.Order)


def listed(served: Served, shop: Shop, token: str) -> list[str]:
    found, _ = call(served, shop.customer, "ListOrders", pb.ListOrdersRequest(), pb.ListOrdersResponse, token)
    return [order.id for order in found.orders]


def test_who_placed_an_order_and_says_so_waits_until_the_projection_has_it(
    served: Served, shop: Shop, known: Woken
) -> None:
    order, token = place(served, shop)
    assert token
    with shop.database.reading() as connection:
        assert not known.reached(connection, ["order.list"], {UUID(order.id): 1})
    assert listed(served, shop, token) == [order.id]
    with shop.database.reading() as connection:
        assert known.reached(connection, ["order.list"], {UUID(order.id): 1})


def test_where_it_does_not_arrive_the_caller_is_told_when_to_come_again(
    served: Served, shop: Shop, known: Woken
) -> None:
    _, token = place(served, shop)
    known.asleep = True
    with pytest.raises(grpc.RpcError) as refused:
        listed(served, shop, token)
    refusal: Any = refused.value
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert any(b"NOT_YET_CONSISTENT" in value for _, value in refusal.trailing_metadata() if isinstance(value, bytes))


def test_nobody_without_a_token_waits_and_lists_have_the_order_all_the_same(
    served: Served, shop: Shop, known: Woken
) -> None:
    known.asleep = True
    order, _ = place(served, shop)
    assert listed(served, shop, "") == [order.id]
    assert listed(served, shop, "rubbish") == [order.id]


def test_an_rpc_that_reads_no_projection_does_not_wait_for_one(served: Served, shop: Shop, known: Woken) -> None:
    known.asleep = True
    order, token = place(served, shop)
    found, _ = call(served, shop.customer, "GetOrder", pb.GetOrderRequest(id=order.id), pb.Order, token)
    assert found.id == order.id


def test_readers_who_add_what_is_ahead_need_not_wait_for_it(shop: Shop) -> None:
    with shop.acting(shop.customer, "place"):
        order = shop.place()
    for read_ahead, reached in ((0, False), (1_000_000, True)):
        known = Projections(shop.database, [ORDER_LIST], read_ahead=read_ahead)
        with shop.database.reading() as connection:
            assert known.reached(connection, ["order.list"], {UUID(order.id): 1}) is reached


# What comes from another service.


@pytest.fixture(scope="module")
def catalog(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("catalog") as database:
        yield database


def mark(database: Database, group: str, aggregate: str, version: int) -> None:
    with database.transaction() as connection:
        connection.execute(
            "insert into consumer_mark (consumer, topic, aggregate_id, version) values (%s, %s, %s, %s) "
            "on conflict (consumer, topic, aggregate_id) do update set version = excluded.version",
            [group, STOCK, aggregate, version],
        )


def test_what_another_service_wrote_is_waited_for_until_every_reader_of_its_topic_has_it(catalog: Database) -> None:
    first, second, sku = str(uuid7()), str(uuid7()), str(uuid7())
    horizon = Horizon("product", catalog, {first: [STOCK], second: [STOCK, topic("order")]})
    wanted = {f"inventory/{sku}": 3}
    for group, version in ((first, 3), (second, 2)):
        mark(catalog, group, sku, version)
    with pytest.raises(NotYetConsistent) as told:
        horizon.await_written(wanted, ())
    assert told.value.retry_after
    outcomes = all_at_once([lambda: horizon.await_written(wanted, ()), lambda: mark(catalog, second, sku, 3)])
    assert outcomes == [None, None]
    horizon.await_written(wanted, ())


def test_what_is_not_followed_here_is_not_waited_for(catalog: Database) -> None:
    horizon = Horizon("product", catalog, {"product.availability": [STOCK]})
    horizon.await_written({"payment/p": 1, "product/p": 8, "no service at all": 1}, ())
    horizon.await_written({}, ("product.list",))


def test_a_caller_in_a_hurry_is_told_in_time(catalog: Database) -> None:
    horizon = Horizon("product", catalog, {"product.availability": [STOCK]})
    with acting(), on_behalf_of("somebody", seconds=0.2) as call:
        with pytest.raises(NotYetConsistent):
            horizon.await_written({"inventory/never": 1}, ())
        assert (call.remaining or 0.0) > 0


def record(aggregate: str, version: int, event: Any, offset: int = 0) -> Record:
    headers = {"ce_type": event.DESCRIPTOR.full_name, "ce_subject": aggregate, "version": str(version)}
    return Record(Place(STOCK, "id", 0), offset, aggregate, event.SerializeToString(), headers, NOON)


def test_events_that_a_reader_does_nothing_about_have_arrived_as_well(catalog: Database) -> None:
    group, aggregate = str(uuid7()), str(uuid7())
    nothing: Any = None  # it is asked for no record
    consumer = Consumer(
        nothing, lambda: Work(catalog, "product"), group, [STOCK], handlers({StockReleased: lambda *_: None})
    )
    with catalog.transaction() as connection:
        consumer.places = Bookkeeping(group).open(connection, [Place(STOCK, "id", 0)])
    horizon = Horizon("product", catalog, {group: [STOCK]})
    consumer._apply([record(aggregate, 1, StockReleased()), record(aggregate, 2, StockCommitted(), 1)])
    horizon.await_written({f"inventory/{aggregate}": 2}, ())


def test_what_waits_behind_a_parked_event_has_not_arrived(catalog: Database) -> None:
    group, aggregate = str(uuid7()), str(uuid7())
    books = Bookkeeping(group)
    with catalog.transaction() as connection:
        books.park(connection, [record(aggregate, 1, StockReleased())], "for no reason")
        books.note(connection, [record(aggregate, 2, StockCommitted(), 1), record("another", 5, StockCommitted(), 2)])
    with pytest.raises(NotYetConsistent), on_behalf_of("somebody", seconds=0.1):
        Horizon("product", catalog, {group: [STOCK]}).await_written({f"inventory/{aggregate}": 2}, ())
    Horizon("product", catalog, {group: [STOCK]}).await_written({"inventory/another": 5}, ())


def test_the_longest_token_is_taken_back_by_the_edge() -> None:
    from gateway.calls import LONGEST_CONSISTENCY

    written = {f"inventory/{uuid7()}": 10**6 + number for number in range(32)}
    assert len(consistency_token(written)) <= LONGEST_CONSISTENCY
