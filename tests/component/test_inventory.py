"""The inventory service as its callers see it: over gRPC, with its policy, on PostgreSQL."""

from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from mercato import log
from mercato.api.inventory.v1 import inventory_events_pb2 as events
from mercato.api.inventory.v1 import inventory_pb2 as pb
from mercato.api.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.config import Settings, load
from mercato.errors import (
    EtagMismatch,
    EtagRequired,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    MercatoError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mercato.ids import uuid7
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.rpc.call import Call
from mercato.rpc.set_form import Item
from mercato.runtime import Stack
from mercato.testing import Served, a_customer, at_once, serve, staff
from services.inventory import messages
from services.inventory.app import build
from services.inventory.config import InventoryConfig
from services.inventory.domain import BelowReserved, TooMuch
from services.inventory.queries import StockQueries
from services.inventory.refusals import OutOfStock, UnknownWarehouse
from services.inventory.servicer import InventoryServicer
from services.inventory.store import InventoryWork
from services.inventory.usecases import TOLD_AT_ONCE, Inventory
from tests.servers import FreshDatabase

WAREHOUSE = staff("warehouse")
FINANCE = staff("finance", subject="0190a6e0-0000-7000-8000-000000000003")
NAMES = (f"sku{number:04}" for number in count())


@dataclass
class Shop:
    """The service, and those who call it."""

    served: Served
    database: Database
    servicer: InventoryServicer

    def __post_init__(self) -> None:
        self.worker: Any = self.served.stub(InventoryServiceStub, WAREHOUSE)
        self.finance: Any = self.served.stub(InventoryServiceStub, FINANCE)
        self.customer: Any = self.served.stub(InventoryServiceStub, a_customer())
        self.anybody: Any = self.served.stub(InventoryServiceStub, Principal())
        self.order: Any = self.served.stub(InventoryServiceStub, Principal(), "order")
        self.operator: Any = self.served.stub(InventoryServiceStub, Principal(), "operator")

    def inventory_holding(self, hold: timedelta) -> Inventory:
        return Inventory(lambda: InventoryWork(self.database, service="inventory"), hold)

    def receive(self, sku: str, quantity: int, warehouse_id: str = "north", request_id: str = "") -> pb.Stock:
        stock: pb.Stock = self.worker.ReceiveStock(
            pb.ReceiveStockRequest(
                sku=sku, warehouse_id=warehouse_id, quantity=quantity, reference="note", request_id=request_id or _id()
            )
        )
        return stock

    def adjust(self, sku: str, delta: int, etag: str, warehouse_id: str = "north", request_id: str = "") -> pb.Stock:
        stock: pb.Stock = self.worker.AdjustStock(
            pb.AdjustStockRequest(
                sku=sku,
                warehouse_id=warehouse_id,
                delta=delta,
                reason=pb.AdjustStockRequest.COUNT,
                etag=etag,
                request_id=request_id or _id(),
            )
        )
        return stock

    def reserve(self, *lines: tuple[str, int], warehouses: tuple[str, ...] = ("north", "south")) -> pb.Reservation:
        reservation: pb.Reservation = self.order.ReserveStock(reserve_request(*lines, warehouses=warehouses))
        return reservation

    def stock(self, sku: str) -> pb.Stock:
        stock: pb.Stock = self.finance.GetStock(pb.GetStockRequest(sku=sku))
        return stock

    def told(self, aggregate_id: str) -> list[str]:
        with self.database.reading() as connection:
            rows = connection.execute(
                "select type from inventory.outbox where aggregate_id = %s order by version", [aggregate_id]
            ).fetchall()
        return [row[0].rpartition(".")[2] for row in rows]

    def consignment(self, reference: str) -> list[events.ConsignmentReceived]:
        """What is told of a consignment, part by part."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "select aggregate_id, version, payload from inventory.outbox"
                " where type like '%.ConsignmentReceived' order by aggregate_id, version"
            ).fetchall()
        told = [(key, version, events.ConsignmentReceived.FromString(payload)) for key, version, payload in rows]
        parts = [(key, version, event) for key, version, event in told if event.reference == reference]
        assert [version for _, version, _ in parts] == [*range(1, len(parts) + 1)]
        assert {(key, event.consignment_id) for key, _, event in parts} <= {(parts[0][0], parts[0][0])}
        return [event for _, _, event in parts]

    def request_of(self, aggregate_id: str) -> set[str]:
        """The ids of the requests that events of this tell of."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "select headers ->> 'request_id' from inventory.outbox where aggregate_id = %s", [aggregate_id]
            ).fetchall()
        return {row[0] for row in rows}


def _id() -> str:
    return str(uuid7())


def a_sku() -> str:
    """One that no other test knows: they share a database."""
    return next(NAMES)


def reserve_request(
    *lines: tuple[str, int], warehouses: tuple[str, ...] = ("north", "south")
) -> pb.ReserveStockRequest:
    return pb.ReserveStockRequest(
        reservation_id=_id(),
        order_id=_id(),
        warehouse_ids=warehouses,
        lines=[pb.StockLine(sku=sku, quantity=quantity) for sku, quantity in lines],
    )


@pytest.fixture(scope="module")
def shop(inventory_database: Database) -> Iterator[Shop]:
    inventory = Inventory(lambda: InventoryWork(inventory_database, service="inventory"), timedelta(minutes=15))
    servicer = InventoryServicer(inventory, StockQueries(inventory_database), PageTokens("secret"))
    with serve(servicer) as served:
        shop = Shop(served, inventory_database, servicer)
        for name in ("north", "south"):
            shop.operator.PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id=name, name=name.title())))
        yield shop


# Who may


@pytest.mark.parametrize(
    ("who", "refusal"), [("anybody", Unauthenticated), ("customer", PermissionDenied), ("order", PermissionDenied)]
)
def test_figures_are_for_staff(shop: Shop, who: str, refusal: type[MercatoError]) -> None:
    with pytest.raises(refusal):
        getattr(shop, who).ListStock(pb.ListStockRequest())


@pytest.mark.parametrize("who", ["anybody", "customer", "worker", "operator"])
def test_only_the_order_service_reserves(shop: Shop, who: str) -> None:
    with pytest.raises(PermissionDenied):
        getattr(shop, who).ReserveStock(reserve_request(("milk", 1)))


@pytest.mark.parametrize("who", ["worker", "order"])
def test_only_the_operator_makes_warehouses_and_books_consignments(shop: Shop, who: str) -> None:
    with pytest.raises(PermissionDenied):
        getattr(shop, who).PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id="east", name="East")))
    with pytest.raises(PermissionDenied):
        getattr(shop, who).BatchReceiveStock(_consignment("north", "r", (a_sku(), 1)))


def test_finance_looks_but_moves_nothing(shop: Shop) -> None:
    with pytest.raises(PermissionDenied):
        shop.finance.ReceiveStock(pb.ReceiveStockRequest(sku="milk", warehouse_id="north", quantity=1, request_id="x"))


# Availability


def test_anybody_learns_coarsely_how_much_the_best_warehouse_has(shop: Shop) -> None:
    plenty, few, none, unknown = a_sku(), a_sku(), a_sku(), a_sku()
    for sku, north, south in ((plenty, 1, 6), (few, 5, 5), (none, 2, 1)):
        shop.receive(sku, north)
        shop.receive(sku, south, "south")
    shop.reserve((none, 2), warehouses=("north",))
    shop.reserve((none, 1), warehouses=("south",))
    reply = shop.anybody.BatchGetAvailability(pb.BatchGetAvailabilityRequest(skus=[unknown, none, few, plenty]))
    level = pb.Availability
    assert [(each.sku, each.availability) for each in reply.availabilities] == [
        (unknown, level.OUT_OF_STOCK),
        (none, level.OUT_OF_STOCK),
        (few, level.LOW),
        (plenty, level.IN_STOCK),
    ]


# Receiving


def test_the_first_receipt_begins_a_sku(shop: Shop) -> None:
    sku = a_sku()
    stock = shop.receive(sku, 7)
    assert [(level.warehouse_id, level.on_hand, level.available) for level in stock.levels] == [("north", 7, 7)]
    assert shop.stock(sku) == stock
    assert shop.told(f"{sku}@north") == ["StockReceived"]


def test_a_repeated_receipt_has_one_effect_and_shows_the_stock_as_it_is_now(shop: Shop) -> None:
    sku, request_id = a_sku(), _id()
    shop.receive(sku, 7, request_id=request_id)
    shop.receive(sku, 1)
    assert shop.receive(sku, 7, request_id=request_id).levels[0].on_hand == 8


def test_the_same_receipt_twenty_times_at_once_has_one_effect(shop: Shop) -> None:
    sku, request_id = a_sku(), _id()
    told = at_once(lambda: shop.receive(sku, 7, request_id=request_id), 20)
    assert {each.levels[0].on_hand for each in told if isinstance(each, pb.Stock)} == {7}
    assert shop.stock(sku).levels[0].on_hand == 7


def test_a_key_belongs_to_one_receipt(shop: Shop) -> None:
    sku, request_id = a_sku(), _id()
    shop.receive(sku, 7, request_id=request_id)
    with pytest.raises(IdempotencyKeyReused):
        shop.receive(sku, 8, request_id=request_id)


def test_a_receipt_for_nowhere_changes_nothing_and_leaves_its_key_free(shop: Shop) -> None:
    sku, request_id = a_sku(), _id()
    with pytest.raises(UnknownWarehouse) as refused:
        shop.receive(sku, 1, "nowhere", request_id)
    assert refused.value.metadata == {"warehouse_id": "nowhere"}
    with pytest.raises(NotFound):
        shop.stock(sku)
    assert shop.receive(sku, 1, "south", request_id).levels[0].warehouse_id == "south"


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001])
def test_a_receipt_brings_between_one_and_a_million_units(shop: Shop, quantity: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        shop.receive(a_sku(), quantity)
    assert [each.field for each in refused.value.fields] == ["quantity"]


# Consignments


def _consignment(warehouse_id: str, request_id: str, *lines: tuple[str, int]) -> pb.BatchReceiveStockRequest:
    return pb.BatchReceiveStockRequest(
        warehouse_id=warehouse_id,
        lines=[pb.StockLine(sku=sku, quantity=quantity) for sku, quantity in lines],
        reference=f"ship {request_id}",
        request_id=request_id,
    )


def test_a_consignment_is_booked_once_and_told_with_the_levels_after_it(shop: Shop) -> None:
    first, second, request_id = a_sku(), a_sku(), _id()
    shop.receive(first, 1)
    request = _consignment("north", request_id, (second, 3), (first, 2))
    assert [shop.operator.BatchReceiveStock(request).received for _ in range(3)] == [2, 0, 0]
    assert [shop.stock(sku).levels[0].on_hand for sku in (first, second)] == [3, 3]
    [told] = shop.consignment(request.reference)
    levels = {(each.sku, each.warehouse_id, each.available, each.sequence, each.quantity) for each in told.levels}
    assert levels == {(first, "north", 3, 2, 2), (second, "north", 3, 1, 3)}
    assert shop.told(f"{first}@north") == ["StockReceived"]


def test_a_consignment_of_thousands_is_answered_and_told_in_parts(shop: Shop) -> None:
    skus = [a_sku() for _ in range(5000)]
    request = _consignment("south", _id(), *((sku, 7) for sku in skus))
    assert [shop.operator.BatchReceiveStock(request).received for _ in range(2)] == [5000, 0]
    parts = [[level.sku for level in each.levels] for each in shop.consignment(request.reference)]
    assert sorted(chain.from_iterable(parts)) == sorted(skus)
    assert {len(part) for part in parts} == {TOLD_AT_ONCE}


def test_a_consignment_tells_of_each_sku_that_is_there_again(shop: Shop) -> None:
    gone, new = a_sku(), a_sku()
    before = shop.receive(gone, 1)
    shop.adjust(gone, -1, before.etag)
    shop.operator.BatchReceiveStock(_consignment("north", _id(), (gone, 9), (new, 9)))
    assert shop.told(f"{gone}@north")[-1] == "BackInStock"
    assert shop.told(f"{new}@north") == []


def test_the_same_consignment_from_two_sides_is_booked_once(shop: Shop) -> None:
    request = _consignment("north", _id(), (a_sku(), 3), (a_sku(), 3))
    told = at_once(lambda: shop.operator.BatchReceiveStock(request).received, 4)
    assert told.count(2) == 1
    assert shop.stock(request.lines[0].sku).levels[0].on_hand == 3


def test_a_consignment_is_booked_whole_or_not_at_all(shop: Shop) -> None:
    sku = a_sku()
    with pytest.raises(UnknownWarehouse):
        shop.operator.BatchReceiveStock(_consignment("nowhere", _id(), (sku, 1)))
    with pytest.raises(InvalidArgument) as refused:
        shop.operator.BatchReceiveStock(_consignment("north", _id(), (sku, 1), (sku, 2)))
    assert [each.field for each in refused.value.fields] == ["lines[1].sku"]
    with pytest.raises(NotFound):
        shop.stock(sku)


# Adjusting


def test_a_correction_changes_the_books_and_their_version(shop: Shop) -> None:
    sku = a_sku()
    before = shop.receive(sku, 7)
    after = shop.adjust(sku, -3, before.etag)
    assert (after.levels[0].on_hand, after.etag != before.etag) == (4, True)
    assert shop.told(f"{sku}@north") == ["StockReceived", "StockAdjusted", "StockLow"]


def test_a_correction_may_find_goods_in_a_warehouse_that_never_had_them(shop: Shop) -> None:
    sku = a_sku()
    etag = shop.receive(sku, 1, "south").etag
    assert [level.on_hand for level in shop.adjust(sku, 2, etag, "north").levels] == [2, 1]


def test_a_correction_wants_the_version_that_was_counted(shop: Shop) -> None:
    sku = a_sku()
    stale = shop.receive(sku, 7).etag
    shop.receive(sku, 1, "south")
    with pytest.raises(EtagMismatch):
        shop.adjust(sku, -1, stale)
    with pytest.raises(EtagRequired):
        shop.adjust(sku, -1, "")


def test_of_two_corrections_of_one_count_one_lands(shop: Shop) -> None:
    sku = a_sku()
    etag = shop.receive(sku, 7).etag
    told = at_once(lambda: shop.adjust(sku, -1, etag), 4)
    assert sum(isinstance(each, pb.Stock) for each in told) == 1
    assert sum(isinstance(each, EtagMismatch) for each in told) == 3
    assert shop.stock(sku).levels[0].on_hand == 6


def test_a_repeated_correction_has_one_effect_though_its_version_is_stale_by_then(shop: Shop) -> None:
    sku, request_id = a_sku(), _id()
    etag = shop.receive(sku, 7).etag
    answers = [shop.adjust(sku, -1, etag, request_id=request_id) for _ in range(2)]
    assert answers[0] == answers[1]


def test_a_correction_never_takes_what_is_reserved(shop: Shop) -> None:
    sku = a_sku()
    etag = shop.receive(sku, 7).etag
    shop.reserve((sku, 5))
    with pytest.raises(BelowReserved) as refused:
        shop.adjust(sku, -3, etag)
    assert refused.value.metadata == {"sku": sku, "reserved": 5}
    with pytest.raises(BelowReserved):
        shop.adjust(sku, -1, etag, "south")
    assert shop.adjust(sku, -2, etag).levels[0].available == 0


def test_a_correction_of_nothing_or_nowhere_is_refused(shop: Shop) -> None:
    sku = a_sku()
    with pytest.raises(NotFound):
        shop.adjust(sku, 1, "1")
    etag = shop.receive(sku, 1).etag
    with pytest.raises(UnknownWarehouse):
        shop.adjust(sku, 1, etag, "nowhere")
    with pytest.raises(InvalidArgument):
        shop.adjust(sku, 0, etag)


def test_reservations_leave_the_version_alone_and_goods_that_leave_do_not(shop: Shop) -> None:
    sku = a_sku()
    etag = shop.receive(sku, 9).etag
    reservation = shop.reserve((sku, 2))
    shop.order.CommitReservation(pb.CommitReservationRequest(reservation_id=reservation.id))
    assert shop.stock(sku).etag == etag
    shop.order.ConsumeReservation(
        pb.ConsumeReservationRequest(reservation_id=reservation.id, lines=[pb.PickedLine(sku=sku, quantity=1)])
    )
    assert shop.stock(sku).etag != etag


# Reserving, over the wire


def test_a_reservation_goes_its_way(shop: Shop) -> None:
    first, second = a_sku(), a_sku()
    shop.receive(first, 9)
    shop.receive(second, 9)
    request = reserve_request((first, 2), (second, 1))
    held = shop.order.ReserveStock(request)
    assert (held.id, held.order_id, held.warehouse_id) == (request.reservation_id, request.order_id, "north")
    assert (held.state, list(held.lines)) == (pb.Reservation.HELD, list(request.lines))
    assert held.HasField("expire_time")
    named = {"reservation_id": held.id}
    committed = shop.order.CommitReservation(pb.CommitReservationRequest(**named))
    consumed = shop.order.ConsumeReservation(
        pb.ConsumeReservationRequest(**named, lines=[pb.PickedLine(sku=first, quantity=2)])
    )
    assert (committed.state, consumed.state) == (pb.Reservation.COMMITTED, pb.Reservation.CONSUMED)
    assert shop.order.GetReservation(pb.GetReservationRequest(**named)) == consumed
    assert [shop.stock(sku).levels[0].on_hand for sku in (first, second)] == [7, 9]
    assert shop.told(held.id) == ["StockReserved", "StockCommitted", "StockConsumed"]


def test_the_caller_catches_what_is_short_as_the_same_error(shop: Shop) -> None:
    sku, unknown = a_sku(), a_sku()
    shop.receive(sku, 1, "south")
    with pytest.raises(OutOfStock) as refused:
        shop.reserve((sku, 2), (unknown, 1))
    assert refused.value.definite
    assert refused.value.metadata["skus"] == [
        {"sku": sku, "wanted": 2, "available": 1},
        {"sku": unknown, "wanted": 1, "available": 0},
    ]


def test_reservations_that_travel_together_are_each_told_their_own_and_tell_of_their_own_request(shop: Shop) -> None:
    sku, unknown = a_sku(), a_sku()
    shop.receive(sku, 3)
    requests = [reserve_request(line) for line in ((sku, 2), (unknown, 1), (sku, 2), (sku, 1))]
    twice = pb.ReserveStockRequest(lines=[pb.StockLine(sku=sku, quantity=1)] * 2)
    twice.MergeFrom(pb.ReserveStockRequest(reservation_id=_id(), order_id=_id(), warehouse_ids=["north"]))
    outcomes = shop.servicer.together["ReserveStock"]([_item(each) for each in (*requests, twice)])
    shown = [each.state if isinstance(each, pb.Reservation) else type(each) for each in outcomes]
    assert shown == [pb.Reservation.HELD, OutOfStock, OutOfStock, pb.Reservation.HELD, InvalidArgument]
    committed = [pb.CommitReservationRequest(reservation_id=each.reservation_id) for each in (requests[0], requests[1])]
    outcomes = shop.servicer.together["CommitReservation"]([_item(each) for each in committed])
    assert [getattr(each, "state", type(each)) for each in outcomes] == [pb.Reservation.COMMITTED, NotFound]
    released = [pb.ReleaseReservationRequest(reservation_id=each.reservation_id) for each in requests]
    outcomes = shop.servicer.together["ReleaseReservation"]([_item(each) for each in released])
    assert [getattr(each, "state", type(each)) for each in outcomes] == [pb.Reservation.RELEASED] * 4
    for request in (requests[0], requests[3]):
        assert shop.request_of(request.reservation_id) == {f"for {request.reservation_id}"}


def _item(request: Any) -> Item:
    with log.bound(request_id=f"for {request.reservation_id}"):
        return Item(request, Call("InventoryService.Test"), copy_context())


def test_a_tombstone_has_neither_order_nor_goods(shop: Shop) -> None:
    reservation_id = _id()
    tombstone = shop.order.ReleaseReservation(pb.ReleaseReservationRequest(reservation_id=reservation_id))
    assert tombstone == pb.Reservation(id=reservation_id, state=pb.Reservation.RELEASED)
    assert shop.order.GetReservation(pb.GetReservationRequest(reservation_id=reservation_id)) == tombstone


def test_what_nobody_reserved_is_not_there(shop: Shop) -> None:
    for call, request in (
        (shop.order.GetReservation, pb.GetReservationRequest),
        (shop.order.CommitReservation, pb.CommitReservationRequest),
        (shop.order.ConsumeReservation, pb.ConsumeReservationRequest),
    ):
        with pytest.raises(NotFound):
            call(request(reservation_id=_id()))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("reservationId", {"reservation_id": "7"}),
        ("warehouseIds", {"warehouse_ids": []}),
        ("lines", {"lines": []}),
        ("lines[0].quantity", {"lines": [pb.StockLine(sku="milk", quantity=0)]}),
        ("lines[0].sku", {"lines": [pb.StockLine(sku="no spaces", quantity=1)]}),
        ("lines[1].sku", {"lines": [pb.StockLine(sku="milk", quantity=1)] * 2}),
    ],
)
def test_a_malformed_reservation_is_refused_and_the_field_named(shop: Shop, field: str, change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "reservation_id": _id(),
        "order_id": _id(),
        "warehouse_ids": ["north"],
        "lines": [pb.StockLine(sku="milk", quantity=1)],
    }
    with pytest.raises(InvalidArgument) as refused:
        shop.order.ReserveStock(pb.ReserveStockRequest(**(good | change)))
    assert [each.field for each in refused.value.fields] == [field]


def test_a_return_is_put_back_once_and_shows_the_stock(shop: Shop) -> None:
    sku = a_sku()
    shop.receive(sku, 1)
    request = pb.RestockReturnRequest(
        return_id=_id(), order_id=_id(), warehouse_id="north", lines=[pb.StockLine(sku=sku, quantity=2)]
    )
    answers = [shop.order.RestockReturn(request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].stock[0].levels[0].on_hand == 3


def test_a_reservation_whose_events_cannot_be_written_never_was(shop: Shop) -> None:
    """What a `kill -9` before the commit leaves: nothing, and the repeat succeeds."""
    sku = a_sku()
    shop.receive(sku, 5)

    class DyingWork(InventoryWork):
        def publish(self, event: object, aggregate_id: str, version: int) -> None:
            raise KeyboardInterrupt(event, aggregate_id, version)

    request = reserve_request((sku, 2))
    basket = messages.basket(request)
    with pytest.raises(KeyboardInterrupt):
        Inventory(lambda: DyingWork(shop.database, service="inventory"), timedelta(minutes=1)).reserve_stock(basket)
    assert shop.stock(sku).levels[0].reserved == 0
    assert shop.order.ReserveStock(request).state == pb.Reservation.HELD


def test_the_process_sweeps_what_ran_out(shop: Shop, fresh_database: FreshDatabase, tmp_path: Path) -> None:
    sku = a_sku()
    shop.receive(sku, 5)
    reservation = shop.inventory_holding(timedelta(seconds=-1)).reserve_stock(
        messages.basket(reserve_request((sku, 2)))
    )
    settings = load(
        Settings,
        {
            "MERCATO_NAME": "inventory",
            "MERCATO_DATABASE_URL": fresh_database.url_of("inventory"),
            "MERCATO_KEYS": str(tmp_path),
        },
    )
    stack = Stack(settings)
    try:
        [sweeper, _] = build(load(InventoryConfig, {}), stack).workers
        sweeper.run_once(stack.clock.now())
    finally:
        stack.close()
    assert shop.stock(sku).levels[0].reserved == 0
    assert shop.told(str(reservation.id)) == ["StockReserved", "StockReleased"]


def test_the_ledger_is_only_ever_added_to(shop: Shop) -> None:
    sku = a_sku()
    shop.receive(sku, 5)
    for statement in ("delete from movement where sku = %s", "update movement set on_hand_delta = 9 where sku = %s"):
        with pytest.raises(InsufficientPrivilege), shop.database.reading() as connection:
            connection.execute(statement.encode(), [sku])


def test_stock_is_never_negative_whatever_the_code_thinks(shop: Shop) -> None:
    sku = a_sku()
    shop.receive(sku, 5)
    for change in ("on_hand = -1", "reserved = -1", "reserved = 6"):
        with pytest.raises(CheckViolation), shop.database.reading() as connection:
            connection.execute(f"update stock set {change} where sku = %s".encode(), [sku])


def test_more_than_fits_is_refused(shop: Shop) -> None:
    sku = a_sku()
    shop.receive(sku, 5)
    with shop.database.reading() as connection:
        connection.execute("update stock set on_hand = 1000000000 where sku = %s", [sku])
    with pytest.raises(TooMuch):
        shop.receive(sku, 1)


# Lists


def test_stock_is_listed_by_sku_page_by_page(shop: Shop) -> None:
    shop.operator.PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id="far", name="Far")))
    skus = [a_sku() for _ in range(5)]
    for sku in reversed(skus):
        shop.receive(sku, 1, "far")
        shop.receive(sku, 2, "south")
    pages: list[list[tuple[str, int]]] = []
    request = pb.ListStockRequest(page_size=2, warehouse_id="far")
    while request.page_token or not pages:
        page = shop.finance.ListStock(request)
        pages.append([(stock.sku, len(stock.levels)) for stock in page.stock])
        request.page_token = page.next_page_token
    assert pages == [[(sku, 2) for sku in part] for part in (skus[:2], skus[2:4], skus[4:])]


def test_stock_of_one_warehouse_is_what_it_ever_had(shop: Shop) -> None:
    shop.operator.PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id="west", name="West")))
    sku = a_sku()
    shop.receive(sku, 1, "west")
    listed = shop.worker.ListStock(pb.ListStockRequest(warehouse_id="west"))
    assert ([stock.sku for stock in listed.stock], listed.next_page_token) == ([sku], "")


def test_a_page_token_is_good_for_its_own_list_only(shop: Shop) -> None:
    shop.receive(a_sku(), 1)
    shop.receive(a_sku(), 1)
    token = shop.worker.ListStock(pb.ListStockRequest(page_size=1)).next_page_token
    for request in (
        pb.ListStockRequest(page_size=1, page_token=token + "x"),
        pb.ListStockRequest(page_size=1, page_token=token, warehouse_id="south"),
    ):
        with pytest.raises(InvalidPageToken):
            shop.worker.ListStock(request)
    with pytest.raises(InvalidPageToken):
        shop.finance.ListStock(pb.ListStockRequest(page_size=1, page_token=token))


def test_movements_are_listed_newest_first_page_by_page(shop: Shop) -> None:
    sku = a_sku()
    etag = shop.receive(sku, 9).etag
    shop.adjust(sku, -1, etag)
    reservation = shop.reserve((sku, 2))
    shop.order.ReleaseReservation(pb.ReleaseReservationRequest(reservation_id=reservation.id))
    first = shop.worker.ListMovements(pb.ListMovementsRequest(sku=sku, page_size=3))
    rest = shop.worker.ListMovements(pb.ListMovementsRequest(sku=sku, page_size=3, page_token=first.next_page_token))
    told = [
        (pb.Movement.Kind.Name(each.kind), each.on_hand_delta, each.reserved_delta, each.reference)
        for page in (first, rest)
        for each in page.movements
    ]
    assert told == [
        ("RELEASED", 0, -2, reservation.id),
        ("RESERVED", 0, 2, reservation.id),
        ("ADJUSTED", -1, 0, "COUNT"),
        ("RECEIVED", 9, 0, "note"),
    ]
    assert rest.next_page_token == ""


def test_what_was_never_stocked_has_no_movements(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.worker.ListMovements(pb.ListMovementsRequest(sku=a_sku()))


def test_warehouses_are_listed_and_renamed(shop: Shop) -> None:
    for name in ("Ahead", "Ahead Two"):
        shop.operator.PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id="ahead", name=name)))
    first = shop.worker.ListWarehouses(pb.ListWarehousesRequest(page_size=1))
    assert [(each.id, each.name) for each in first.warehouses] == [("ahead", "Ahead Two")]
    rest = shop.worker.ListWarehouses(pb.ListWarehousesRequest(page_token=first.next_page_token))
    assert {"north", "south"} <= {each.id for each in rest.warehouses}


@pytest.mark.parametrize("warehouse", [pb.Warehouse(), pb.Warehouse(id="North", name="N"), pb.Warehouse(id="north")])
def test_a_warehouse_has_a_short_id_and_a_name(shop: Shop, warehouse: pb.Warehouse) -> None:
    with pytest.raises(InvalidArgument):
        shop.operator.PutWarehouse(pb.PutWarehouseRequest(warehouse=warehouse))
