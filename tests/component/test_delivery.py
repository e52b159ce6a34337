"""The delivery service as its callers see it: over gRPC, with its policy, on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from google.type import latlng_pb2
from psycopg.errors import CheckViolation
from redis import Redis

from mercato.api.delivery.v1 import delivery_pb2 as pb
from mercato.api.delivery.v1.delivery_pb2_grpc import DeliveryServiceStub
from mercato.api.user.v1 import user_events_pb2
from mercato.cache import connect
from mercato.delivery import Delivery, Place, Record
from mercato.errors import (
    EtagMismatch,
    FailedPrecondition,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    MercatoError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mercato.group_commit import Turn
from mercato.ids import uuid7
from mercato.local.server import free_port
from mercato.money import Money
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import FixedClock, Served, a_customer, all_at_once, at_once, serve, staff
from mercato.wire import money_to_pb, time_to_pb
from services.delivery.booking import Wanted
from services.delivery.consumers import follow_users
from services.delivery.domain import (
    AddressNotServed,
    BelowMinimum,
    Hold,
    HoldExpired,
    HoldReleased,
    HoldState,
    SlotClosed,
    SlotFull,
    UnknownZone,
    ZonesOverlap,
)
from services.delivery.positions import RedisPositions
from services.delivery.queries import DeliveryQueries
from services.delivery.servicer import DeliveryServicer
from services.delivery.shipment import (
    CourierExists,
    HoldNotConfirmed,
    ShipmentCancelled,
    ShipmentNotPickedUp,
    ShipmentNotReady,
    ShipmentOver,
    ShipmentUnderWay,
    UnknownCourier,
)
from services.delivery.store import DeliveryWork
from services.delivery.usecases import Dispatch, Quotes, Slots, Zones
from tests.valkeys import PATIENCE

WAREHOUSE, SUPPORT, ADMIN = staff("warehouse"), staff("support"), staff("admin")
CUSTOMER, STRANGER = a_customer(str(uuid7())), a_customer(str(uuid7()))
PLACES = count(1)  # every zone of a test has its own square degree
Acts = tuple[Callable[[], object], ...]


def eur(amount: int) -> Any:
    return money_to_pb(Money(amount, "EUR"))


def place(latitude: float, longitude: float) -> latlng_pb2.LatLng:
    return latlng_pb2.LatLng(latitude=latitude, longitude=longitude)


def square(west: float, south: float = 10.0) -> list[latlng_pb2.LatLng]:
    return [place(south, west), place(south, west + 1), place(south + 1, west + 1), place(south + 1, west)]


@dataclass
class Town:
    """The service, and those who call it."""

    served: Served
    database: Database
    clock: FixedClock
    zones: Zones
    slots: Slots
    dispatch: Dispatch
    redis: Redis

    def __post_init__(self) -> None:
        self.anybody = self.as_(Principal())
        self.customer, self.stranger = self.as_(CUSTOMER), self.as_(STRANGER)
        self.warehouse, self.support, self.admin = self.as_(WAREHOUSE), self.as_(SUPPORT), self.as_(ADMIN)
        self.order, self.operator = self.as_(Principal(), "order"), self.as_(Principal(), "operator")

    def as_(self, principal: Principal, caller: str = "gateway") -> Any:
        return self.served.stub(DeliveryServiceStub, principal, caller)

    def put_zone(self, polygon: list[latlng_pb2.LatLng], zone_id: str = "", **changes: Any) -> pb.Zone:
        zone = pb.Zone(
            id=zone_id or f"zone-{uuid7().hex}",
            name="Mitte",
            time_zone="Europe/Berlin",
            polygon=polygon,
            warehouse_ids=["north", "south"],
            delivery_fee=eur(300),
            free_from=eur(4000),
            minimum_total=eur(1000),
        )
        hours = {"slot_capacity": 3, "first_hour": 0, "last_hour": 24}
        hours.update({name: changes.pop(name) for name in tuple(changes) if name in hours})
        zone.MergeFrom(pb.Zone(**changes))
        put: pb.Zone = self.operator.PutZone(pb.PutZoneRequest(zone=zone, **hours))
        return put

    def a_zone(self, **changes: Any) -> tuple[pb.Zone, latlng_pb2.LatLng]:
        """A zone of its own, and a place in it."""
        number = next(PLACES)
        west, south = float(number % 80) * 2 - 170, float(number // 80) * 2 + 10
        return self.put_zone(square(west, south), **changes), place(south + 0.5, west + 0.5)

    def list_slots(self, zone_id: str, **query: Any) -> list[pb.Slot]:
        listed = self.anybody.ListSlots(pb.ListSlotsRequest(zone_id=zone_id, page_size=200, **query))
        return list(listed.slots)

    def a_slot(self, **changes: Any) -> pb.Slot:
        zone, _ = self.a_zone(**changes)
        return self.list_slots(zone.id)[3]

    def slot(self, slot: pb.Slot) -> pb.Slot:
        return next(each for each in self.list_slots(slot.zone_id) if each.id == slot.id)

    def hold(self, slot_id: str, hold_id: str = "", order_id: str = "") -> pb.SlotHold:
        request = pb.HoldSlotRequest(hold_id=hold_id or _id(), order_id=order_id or _id(), slot_id=slot_id)
        hold: pb.SlotHold = self.order.HoldSlot(request)
        return hold

    def confirm(self, hold_id: str) -> pb.SlotHold:
        hold: pb.SlotHold = self.order.ConfirmSlot(pb.ConfirmSlotRequest(hold_id=hold_id))
        return hold

    def release(self, hold_id: str) -> pb.SlotHold:
        hold: pb.SlotHold = self.order.ReleaseSlot(pb.ReleaseSlotRequest(hold_id=hold_id))
        return hold

    def plan_of(self, slot: pb.Slot | None = None, **changes: Any) -> pb.CreateShipmentRequest:
        """A plan in a place that is held for good."""
        order_id = _id()
        hold = self.hold((slot or self.a_slot()).id, order_id=order_id)
        self.confirm(hold.id)
        values = {
            "shipment_id": _id(),
            "order_id": order_id,
            "hold_id": hold.id,
            "customer_id": CUSTOMER.subject,
            "address": pb.Destination(recipient="Ada", line1="Street 1", phone="0170123", location=place(10.5, 0.5)),
        }
        return pb.CreateShipmentRequest(**{**values, **changes})

    def plan(self, **changes: Any) -> pb.Shipment:
        shipment: pb.Shipment = self.order.CreateShipment(self.plan_of(**changes))
        return shipment

    def ready(self, shipment_id: str, cash_due: Any = None) -> pb.Shipment:
        request = pb.ReadyShipmentRequest(shipment_id=shipment_id, cash_due=cash_due)
        shipment: pb.Shipment = self.order.ReadyShipment(request)
        return shipment

    def cancel(self, shipment_id: str) -> pb.Shipment:
        shipment: pb.Shipment = self.order.CancelShipment(pb.CancelShipmentRequest(shipment_id=shipment_id))
        return shipment

    def a_courier(self) -> tuple[str, Any]:
        courier_id = _id()
        self.warehouse.CreateCourier(pb.CreateCourierRequest(courier=pb.Courier(id=courier_id, name="Corey")))
        return courier_id, self.as_(Principal(courier_id, frozenset({"courier"}), "session"))

    def assign(self, shipment_id: str, courier_id: str, **more: Any) -> pb.Shipment:
        request = pb.AssignShipmentRequest(id=shipment_id, courier_id=courier_id, **more)
        shipment: pb.Shipment = self.warehouse.AssignShipment(request)
        return shipment

    def under_way(self, cash_due: Any = None, **changes: Any) -> tuple[str, str, Any]:
        shipment, (courier_id, courier) = self.plan(**changes), self.a_courier()
        self.ready(shipment.id, cash_due)
        self.assign(shipment.id, courier_id)
        courier.PickUpShipment(pb.PickUpShipmentRequest(id=shipment.id))
        return shipment.id, courier_id, courier

    def told(self, aggregate_id: str) -> list[str]:
        with self.database.reading() as connection:
            rows = connection.execute(
                "select type from delivery.outbox where aggregate_id = %s order by version", [aggregate_id]
            ).fetchall()
        return [row[0].rpartition(".")[2] for row in rows]

    def change(self, statement: Any, *values: object) -> None:
        with self.database.transaction() as connection:
            connection.execute(statement, values)

    def present(self, statement: Any, *ids: str) -> set[str]:
        with self.database.reading() as connection:
            return {str(row[0]) for row in connection.execute(statement, [[UUID(each) for each in ids]])}

    def close(self, slot_id: str) -> None:
        """Let the slot's cut-off pass."""
        self.change("update delivery.slot set cutoff_time = now() - interval '1 second' where id = %s", slot_id)

    def run_out(self, hold_id: str) -> None:
        """Let the hold's time pass, and sweep."""
        self.change("update delivery.hold set expire_time = now() where id = %s", hold_id)
        self.slots.expire_holds()


PUT_BACK = """
    update delivery.slot
    set start_time = start_time - interval '50 days', end_time = end_time - interval '50 days',
        cutoff_time = cutoff_time - interval '50 days'
    where id = %s
"""


def _id() -> str:
    return str(uuid7())


@pytest.fixture(scope="module")
def town(delivery_database: Database, valkey_url: str) -> Iterator[Town]:
    def work() -> DeliveryWork:
        return DeliveryWork(delivery_database, service="delivery")

    clock, queries = FixedClock(datetime.now(UTC)), DeliveryQueries(delivery_database)
    with connect(valkey_url, patience=PATIENCE) as redis:
        zones, slots = Zones(work, clock), Slots(work, timedelta(minutes=15))
        dispatch = Dispatch(work, clock, RedisPositions(redis))
        servicer = DeliveryServicer(zones, Quotes(queries), slots, dispatch, queries, PageTokens("secret"))
        with serve(servicer) as served:
            yield Town(served, delivery_database, clock, zones, slots, dispatch, redis)


# Who may


@pytest.mark.parametrize("who", ["anybody", "customer", "warehouse", "admin", "operator"])
def test_only_the_order_service_holds_places_and_plans_shipments(town: Town, who: str) -> None:
    with pytest.raises(PermissionDenied):
        getattr(town, who).HoldSlot(pb.HoldSlotRequest(hold_id=_id(), order_id=_id(), slot_id=_id()))
    with pytest.raises(PermissionDenied):
        getattr(town, who).CancelShipment(pb.CancelShipmentRequest(shipment_id=_id()))


@pytest.mark.parametrize("who", ["anybody", "admin", "order"])
def test_only_the_operator_puts_zones(town: Town, who: str) -> None:
    zone, _ = town.a_zone()
    with pytest.raises(PermissionDenied):
        getattr(town, who).PutZone(pb.PutZoneRequest(zone=zone, slot_capacity=1, first_hour=8, last_hour=9))


def test_shipments_are_for_those_who_sign_in(town: Town) -> None:
    with pytest.raises(Unauthenticated):
        town.anybody.ListShipments(pb.ListShipmentsRequest())
    with pytest.raises(PermissionDenied):
        town.customer.AssignShipment(pb.AssignShipmentRequest(id=_id(), courier_id=_id()))
    with pytest.raises(PermissionDenied):
        town.warehouse.PickUpShipment(pb.PickUpShipmentRequest(id=_id()))


# Zones


def test_a_zone_reads_as_it_was_put(town: Town) -> None:
    zone, inside = town.a_zone()
    located = town.anybody.LocateZone(pb.LocateZoneRequest(latitude=inside.latitude, longitude=inside.longitude))
    assert located == zone
    assert len(zone.polygon) == 4
    listed: list[pb.Zone] = []
    token = ""
    while not listed or token:
        reply = town.anybody.ListZones(pb.ListZonesRequest(page_size=1, page_token=token))
        listed, token = listed + list(reply.zones), reply.next_page_token
    assert zone in listed
    assert len({each.id for each in listed}) == len(listed)


def test_a_place_outside_every_zone_is_not_served(town: Town) -> None:
    with pytest.raises(AddressNotServed):
        town.anybody.LocateZone(pb.LocateZoneRequest(latitude=-80, longitude=0))
    with pytest.raises(AddressNotServed):
        town.anybody.GetQuote(pb.GetQuoteRequest(latitude=-80, longitude=0))
    with pytest.raises(NotFound):
        town.anybody.GetQuote(pb.GetQuoteRequest(latitude=-80, longitude=0))


def test_a_place_on_a_common_edge_belongs_to_the_zone_with_the_smallest_id(town: Town) -> None:
    west, (east, inside) = f"a-{uuid7().hex}", town.a_zone()
    edge, south = inside.longitude - 0.5, inside.latitude - 0.5
    corners = [place(south, edge - 0.5), place(south, edge), place(south + 1, edge), place(south + 1, edge - 0.5)]
    put = town.put_zone(corners, west)
    located = town.anybody.LocateZone(pb.LocateZoneRequest(latitude=inside.latitude, longitude=edge))
    assert located.id == put.id < east.id


def test_zones_do_not_share_ground(town: Town) -> None:
    zone, inside = town.a_zone()
    with pytest.raises(ZonesOverlap) as refused:
        town.put_zone(square(inside.longitude - 0.4, inside.latitude - 0.6))
    assert refused.value.metadata["other_id"] == zone.id
    # The zone itself may move over where it was.
    town.put_zone(square(inside.longitude - 0.4, inside.latitude - 0.6), zone.id)


def test_of_two_zones_on_the_same_ground_put_at_once_one_is_refused(town: Town) -> None:
    west = -175.0
    outcomes = at_once(lambda: town.put_zone(square(west)), 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Zone", "ZonesOverlap"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time_zone": "Europe/Atlantis"}, "zone.timeZone"),
        ({"first_hour": 9, "last_hour": 9}, "lastHour"),
        ({"free_from": money_to_pb(Money(1, "USD"))}, "zone.freeFrom.currencyCode"),
    ],
)
def test_a_zone_that_cannot_be_is_refused_and_the_field_named(town: Town, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        town.a_zone(**changes)
    assert [each.field for each in refused.value.fields] == [field]


def test_a_zone_without_an_inside_or_beyond_the_pole_is_refused(town: Town) -> None:
    corners = square(-179)
    for polygon in ([corners[0], corners[2], corners[1], corners[3]], [*corners[:3], place(90.5, 0)]):
        with pytest.raises(InvalidArgument):
            town.put_zone(polygon)


# Slots


def test_a_zone_has_its_slots_as_soon_as_it_is_put(town: Town) -> None:
    zone, _ = town.a_zone(first_hour=8, last_hour=22, slot_capacity=60)
    slots = town.list_slots(zone.id)
    assert 6 * 14 <= len(slots) <= 7 * 14
    for slot in slots:
        assert slot.end_time.seconds - slot.start_time.seconds == 3600
        assert slot.start_time.seconds - slot.cutoff_time.seconds == 1800
        assert (slot.capacity, slot.available, slot.fee) == (60, 60, eur(300))
    assert [slot.start_time.seconds for slot in slots] == sorted(slot.start_time.seconds for slot in slots)


def test_putting_a_zone_again_and_rolling_on_change_nothing(town: Town) -> None:
    zone, _ = town.a_zone()
    before = town.list_slots(zone.id)
    town.put_zone(list(zone.polygon), zone.id)
    town.zones.roll_slots()
    assert town.list_slots(zone.id) == before


def test_days_roll_on(town: Town) -> None:
    zone, _ = town.a_zone()
    before = town.list_slots(zone.id)
    town.clock.forward(timedelta(days=1))
    at_once(town.zones.roll_slots, 3)
    after = town.list_slots(zone.id)
    town.clock.forward(-timedelta(days=1))
    assert [slot.id for slot in after[: len(before)]] == [slot.id for slot in before]
    assert 23 <= len(after) - len(before) <= 25


def test_slots_of_a_date_are_those_of_the_zones_day(town: Town) -> None:
    zone, _ = town.a_zone(time_zone="Pacific/Auckland", first_hour=0, last_hour=24)
    first = town.list_slots(zone.id)[-1]
    date = first.start_time.ToDatetime(UTC).astimezone(ZoneInfo("Pacific/Auckland")).date()
    slots = town.list_slots(zone.id, date=date.isoformat())
    assert first in slots
    assert 23 <= len(slots) <= 25
    assert town.list_slots(zone.id, date="2001-01-01") == []


@pytest.mark.parametrize("date", ["2026-02-30", "2026-13-01", "0000-01-01", "tomorrow"])
def test_a_date_that_is_none_is_named(town: Town, date: str) -> None:
    zone, _ = town.a_zone()
    with pytest.raises(InvalidArgument) as refused:
        town.list_slots(zone.id, date=date)
    assert [each.field for each in refused.value.fields] == ["date"]


def test_a_zone_that_is_not_there_has_no_slots(town: Town) -> None:
    with pytest.raises(UnknownZone):
        town.list_slots("nowhere")
    with pytest.raises(NotFound):
        town.list_slots("nowhere")


def test_slots_come_in_pages_that_belong_to_their_query(town: Town) -> None:
    zone, _ = town.a_zone()
    first = town.anybody.ListSlots(pb.ListSlotsRequest(zone_id=zone.id, page_size=5))
    rest = town.list_slots(zone.id, page_token=first.next_page_token)
    assert [*first.slots, *rest] == town.list_slots(zone.id)
    with pytest.raises(InvalidPageToken):
        town.list_slots(zone.id, date="2026-01-05", page_token=first.next_page_token)


def test_open_slots_follow_their_zone_and_what_is_taken_stays_taken(town: Town) -> None:
    zone, _ = town.a_zone(slot_capacity=3)
    slot = town.list_slots(zone.id)[3]
    hold, _ = town.hold(slot.id), town.hold(slot.id)
    town.put_zone(list(zone.polygon), zone.id, slot_capacity=1)
    assert (town.slot(slot).capacity, town.slot(slot).available) == (2, 0)
    town.release(hold.id)
    town.zones.roll_slots()
    assert (town.slot(slot).capacity, town.slot(slot).available) == (1, 0)
    town.put_zone(list(zone.polygon), zone.id, slot_capacity=5, first_hour=8, last_hour=9)
    hours = {each.start_time.seconds // 3600 % 24 for each in town.list_slots(zone.id)}
    assert len(hours) <= 3  # one by the clock there, at most two by ours, and that of the place that is taken
    assert town.slot(slot).available in (0, 4)


def test_a_slot_is_closed_half_an_hour_before_it_begins(town: Town) -> None:
    zone, inside = town.a_zone()
    slot = town.list_slots(zone.id)[0]
    town.close(slot.id)
    assert slot.id not in [each.id for each in town.list_slots(zone.id)]
    with pytest.raises(SlotClosed):
        town.hold(slot.id)
    with pytest.raises(SlotClosed):
        town.order.QuoteSlot(pb.QuoteSlotRequest(slot_id=slot.id, location=inside, subtotal=eur(2000)))


# Quotes


@pytest.mark.parametrize(("subtotal", "fee"), [("", 300), ("39.99", 300), ("40", 0), ("40.00", 0)])
def test_a_quote_is_free_from_a_subtotal_on(town: Town, subtotal: str, fee: int) -> None:
    zone, inside = town.a_zone()
    request = pb.GetQuoteRequest(latitude=inside.latitude, longitude=inside.longitude, subtotal=subtotal)
    quote = town.anybody.GetQuote(request)
    assert (quote.zone_id, quote.fee, quote.free_from) == (zone.id, eur(fee), eur(4000))
    assert quote.earliest_slot == town.list_slots(zone.id)[0]


def test_the_earliest_slot_has_a_place_left(town: Town) -> None:
    zone, inside = town.a_zone(slot_capacity=1)
    first, second = town.list_slots(zone.id)[:2]
    town.hold(first.id)
    quote = town.anybody.GetQuote(pb.GetQuoteRequest(latitude=inside.latitude, longitude=inside.longitude))
    assert quote.earliest_slot.id == second.id


def test_an_order_learns_what_its_slot_costs_and_who_serves_it(town: Town) -> None:
    zone, inside = town.a_zone()
    slot = town.list_slots(zone.id)[3]
    quote = town.order.QuoteSlot(pb.QuoteSlotRequest(slot_id=slot.id, location=inside, subtotal=eur(4000)))
    assert quote == pb.SlotQuote(slot=slot, warehouse_ids=["north", "south"], fee=eur(0))


def test_an_order_is_refused_elsewhere_too_small_or_in_a_slot_of_another_zone(town: Town) -> None:
    zone, inside = town.a_zone()
    slot, foreign = town.list_slots(zone.id)[3], town.a_slot()

    def quote(slot_id: str, where: latlng_pb2.LatLng, subtotal: Any) -> None:
        town.order.QuoteSlot(pb.QuoteSlotRequest(slot_id=slot_id, location=where, subtotal=subtotal))

    for refusal, asked in (
        (AddressNotServed, (slot.id, place(-80, 0), eur(2000))),
        (SlotClosed, (foreign.id, inside, eur(2000))),
        (SlotClosed, (_id(), inside, eur(2000))),
        (BelowMinimum, (slot.id, inside, eur(999))),
        (InvalidArgument, (slot.id, inside, money_to_pb(Money(2000, "USD")))),
        (InvalidArgument, (slot.id, place(91, 0), eur(2000))),
    ):
        with pytest.raises(refusal):
            quote(*asked)


# Holds


def test_a_hold_takes_a_place_until_it_is_given_back(town: Town) -> None:
    slot = town.a_slot()
    hold = town.hold(slot.id)
    assert hold.state == pb.SlotHold.HELD
    assert town.slot(slot).available == 2
    assert town.confirm(hold.id).state == pb.SlotHold.CONFIRMED
    assert town.release(hold.id).state == pb.SlotHold.RELEASED
    assert town.slot(slot).available == 3
    assert town.told(hold.id) == ["SlotHeld", "SlotConfirmed", "SlotReleased"]


def test_repeats_of_every_step_answer_as_the_first_time(town: Town) -> None:
    slot = town.a_slot()
    hold = town.hold(slot.id)
    assert town.hold(slot.id, hold.id, hold.order_id) == hold
    assert town.confirm(hold.id) == town.confirm(hold.id) == town.hold(slot.id, hold.id, hold.order_id)
    assert town.slot(slot).available == 2
    assert town.release(hold.id) == town.release(hold.id)
    assert town.slot(slot).available == 3
    assert len(town.told(hold.id)) == 3


def test_a_hold_sent_from_two_connections_at_once_takes_one_place(town: Town) -> None:
    slot, hold_id, order_id = town.a_slot(), _id(), _id()
    outcomes = at_once(lambda: town.hold(slot.id, hold_id, order_id), 8)
    assert [type(each).__name__ for each in outcomes] == ["SlotHold"] * 8
    assert town.slot(slot).available == 2
    assert town.told(hold_id) == ["SlotHeld"]


def test_a_slot_is_never_overbooked(town: Town) -> None:
    slot = town.a_slot(slot_capacity=3)
    outcomes = at_once(lambda: town.hold(slot.id), 12)
    assert sum(isinstance(each, pb.SlotHold) for each in outcomes) == 3
    assert sum(isinstance(each, SlotFull) for each in outcomes) == 9
    assert town.slot(slot).available == 0


def test_a_refusal_is_not_remembered(town: Town) -> None:
    slot, refused = town.a_slot(slot_capacity=1), _id()
    first = town.hold(slot.id)
    with pytest.raises(SlotFull):
        town.hold(slot.id, refused)
    town.release(first.id)
    assert town.hold(slot.id, refused).state == pb.SlotHold.HELD


def test_an_unknown_slot_is_closed(town: Town) -> None:
    with pytest.raises(SlotClosed):
        town.hold(_id())


def test_release_beats_the_hold_and_the_confirmation_that_come_late(town: Town) -> None:
    slot, hold_id = town.a_slot(), _id()
    tombstone = town.release(hold_id)
    assert (tombstone.state, tombstone.order_id) == (pb.SlotHold.RELEASED, "")
    assert town.release(hold_id) == tombstone
    late_ones: Acts = (lambda: town.hold(slot.id, hold_id), lambda: town.confirm(hold_id))
    for late in late_ones:
        with pytest.raises(HoldReleased):
            late()
    assert town.slot(slot).available == 3
    assert town.told(hold_id) == []


def test_confirming_what_is_unknown_leaves_no_trace(town: Town) -> None:
    slot, hold_id = town.a_slot(), _id()
    with pytest.raises(NotFound):
        town.confirm(hold_id)
    assert town.hold(slot.id, hold_id).state == pb.SlotHold.HELD


def test_a_hold_that_ran_out_gives_its_place_back_once_and_is_held_afresh(town: Town) -> None:
    slot = town.a_slot()
    hold = town.hold(slot.id)
    town.run_out(hold.id)
    town.slots.expire_holds()
    assert town.slot(slot).available == 3
    with pytest.raises(HoldExpired):
        town.confirm(hold.id)
    again = town.hold(slot.id, hold.id, hold.order_id)
    assert again.state == pb.SlotHold.HELD
    assert again.expire_time.ToDatetime() > hold.expire_time.ToDatetime()
    assert town.slot(slot).available == 2
    assert town.told(hold.id) == ["SlotHeld", "SlotReleased", "SlotHeld"]


def test_what_ran_out_can_be_released_for_good(town: Town) -> None:
    slot = town.a_slot()
    hold = town.hold(slot.id)
    town.run_out(hold.id)
    assert town.release(hold.id).state == pb.SlotHold.RELEASED
    assert town.slot(slot).available == 3
    with pytest.raises(HoldReleased):
        town.hold(slot.id, hold.id)


def test_of_confirmation_release_and_sweep_at_once_the_place_is_counted_right(town: Town) -> None:
    slot = town.a_slot(slot_capacity=100)
    for _ in range(10):
        hold = town.hold(slot.id)
        town.change("update delivery.hold set expire_time = now() where id = %s", hold.id)
        steps: Acts = (
            partial(town.confirm, hold.id),
            partial(town.release, hold.id),
            town.slots.expire_holds,
            partial(town.hold, slot.id, hold.id),
        )
        all_at_once(steps)
        assert town.release(hold.id).state == pb.SlotHold.RELEASED
        assert town.slot(slot).available == 100


def test_whatever_happens_at_once_the_places_taken_are_those_that_are_held(town: Town) -> None:
    zone, _ = town.a_zone(slot_capacity=4)
    slots, hold_ids, chance = town.list_slots(zone.id)[3:5], [_id() for _ in range(12)], Random(7)

    def step() -> Callable[[], object]:
        hold_id = chance.choice(hold_ids)
        acts: Acts = (
            partial(town.hold, chance.choice(slots).id, hold_id, hold_id),
            partial(town.confirm, hold_id),
            partial(town.release, hold_id),
            partial(town.run_out, hold_id),
            partial(town.put_zone, list(zone.polygon), zone.id, slot_capacity=chance.randint(1, 4)),
            town.zones.roll_slots,
        )
        return chance.choices(acts, weights=(12, 4, 1, 4, 1, 1))[0]

    def walk(steps: list[Callable[[], object]]) -> None:
        for act in steps:
            with suppress(FailedPrecondition, NotFound, Unavailable):
                act()

    assert all_at_once([partial(walk, [step() for _ in range(25)]) for _ in range(6)]) == [None] * 6
    with town.database.reading() as connection:
        counted = connection.execute(
            """
            select taken = (select count(*) from delivery.hold where slot_id = s.id and state in ('HELD', 'CONFIRMED'))
            from delivery.slot s where id = any(%s)
            """,
            [[slot.id for slot in slots]],
        ).fetchall()
    assert counted == [(True,), (True,)]


def test_places_asked_for_together_go_to_whoever_asked_first(town: Town) -> None:
    slot, closed = town.a_slot(slot_capacity=2), town.a_slot()
    town.close(closed.id)
    mine, gone = _id(), _id()
    town.release(gone)
    asked = [(slot.id, mine), (closed.id, _id()), (slot.id, mine), (slot.id, gone), (slot.id, _id()), (slot.id, _id())]
    wanted = [Wanted(UUID(hold_id), uuid7(), UUID(slot_id)) for slot_id, hold_id in asked]
    told = town.slots.hold_together([Turn.of(each) for each in wanted])
    shown = [each.state if isinstance(each, Hold) else type(each) for each in told]
    assert shown == [HoldState.HELD, SlotClosed, HoldState.HELD, HoldReleased, HoldState.HELD, SlotFull]
    assert town.told(mine) == ["SlotHeld"]
    assert town.slot(slot).available == 0


def test_a_place_whose_hold_ran_out_is_given_away_though_nobody_swept(town: Town) -> None:
    slot = town.a_slot(slot_capacity=1)
    gone = town.hold(slot.id)
    town.change("update delivery.hold set expire_time = now() where id = %s", gone.id)
    assert town.hold(slot.id).state == pb.SlotHold.HELD
    assert town.told(gone.id) == ["SlotHeld", "SlotReleased"]


def test_what_ran_out_is_held_afresh_in_company_too(town: Town) -> None:
    slot = town.a_slot(slot_capacity=3)
    gone = town.hold(slot.id)
    town.run_out(gone.id)
    wanted = [Wanted(UUID(gone.id), uuid7(), UUID(slot.id)), Wanted(uuid7(), uuid7(), UUID(slot.id))]
    told = town.slots.hold_together([Turn.of(each) for each in wanted])
    assert [each.version for each in told if isinstance(each, Hold)] == [3, 1]
    assert town.slot(slot).available == 1
    assert town.told(gone.id) == ["SlotHeld", "SlotReleased", "SlotHeld"]


def test_confirmations_that_came_together_are_each_told_their_own(town: Town) -> None:
    slot = town.a_slot(slot_capacity=9)
    held, released = town.hold(slot.id), town.hold(slot.id)
    town.release(released.id)
    ids = [UUID(held.id), UUID(released.id), uuid7(), UUID(held.id)]
    told = town.slots.confirm_together([Turn.of(each) for each in ids])
    shown = [each.state if isinstance(each, Hold) else type(each) for each in told]
    assert shown == [HoldState.CONFIRMED, HoldReleased, NotFound, HoldState.CONFIRMED]
    assert town.told(held.id) == ["SlotHeld", "SlotConfirmed"]


def test_releases_that_came_together_come_out_as_one_by_one(town: Town) -> None:
    """What is held, confirmed, released before, unknown, named twice, and in another slot."""
    outcomes = []
    for together in (False, True):
        one, other = town.a_slot(slot_capacity=9), town.a_slot(slot_capacity=9)
        held, again, firm, gone = (town.hold(one.id).id for _ in range(4))
        elsewhere, unknown = town.hold(other.id).id, _id()
        town.order.ConfirmSlot(pb.ConfirmSlotRequest(hold_id=firm))
        town.release(gone)
        asked = [UUID(each) for each in (firm, unknown, held, elsewhere, gone, held, unknown)]
        if together:
            told = town.slots.release_together([Turn.of(each) for each in asked])
        else:
            told = [town.slots.release_slot(each) for each in asked]
        shown = [(each.state, each.version) if isinstance(each, Hold) else each for each in told]
        events = [town.told(each) for each in (held, again, firm, gone, elsewhere, unknown)]
        outcomes.append((shown, events, town.slot(one).available, town.slot(other).available))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2:] == (8, 9)


def test_no_statement_can_overbook_a_slot_whatever_the_code_thinks(town: Town) -> None:
    slot = town.a_slot(slot_capacity=1)
    for change in ("taken = 2", "taken = -1", "capacity = -1"):
        with pytest.raises(CheckViolation):
            town.change(f"update delivery.slot set {change} where id = %s".encode(), slot.id)


def test_holds_and_slots_long_past_are_forgotten_but_for_those_that_were_used(town: Town) -> None:
    unused, used, ahead = (town.a_slot() for _ in range(3))
    plan = town.plan_of(used)
    town.order.CreateShipment(plan)
    tombstone, gone = _id(), town.hold(unused.id).id
    town.release(tombstone)
    town.release(gone)
    for slot in (unused, used):
        town.change(PUT_BACK, slot.id)
    for hold_id in (tombstone, gone, plan.hold_id):
        town.change("update delivery.hold set create_time = now() - interval '40 days' where id = %s", hold_id)
    recent = _id()
    town.release(recent)
    town.slots.forget_slots(timedelta(days=30))
    holds, slots = (tombstone, gone, recent, plan.hold_id), (unused.id, used.id, ahead.id)
    assert town.present("select id from delivery.hold where id = any(%s)", *holds) == {recent, plan.hold_id}
    assert town.present("select id from delivery.slot where id = any(%s)", *slots) == {used.id, ahead.id}


def test_sweepers_do_not_get_in_each_others_way(town: Town) -> None:
    slots = [town.a_slot(slot_capacity=10) for _ in range(2)]
    for number in range(12):
        hold = town.hold(slots[number % 2].id)
        town.change("update delivery.hold set expire_time = now() where id = %s", hold.id)
    assert at_once(town.slots.expire_holds, 4) == [False] * 4
    assert [town.slot(slot).available for slot in slots] == [10, 10]


# Shipments


def test_a_delivery_from_plan_to_door(town: Town) -> None:
    plan = town.plan_of(cash_due=eur(2500))
    planned = town.order.CreateShipment(plan)
    courier_id, courier = town.a_courier()
    assert (planned.state, planned.cash_due, planned.slot.capacity) == (pb.Shipment.PLANNED, eur(2500), 3)
    assert town.ready(planned.id, eur(2400)).cash_due == eur(2400)
    assert town.assign(planned.id, courier_id).state == pb.Shipment.ASSIGNED
    assert courier.PickUpShipment(pb.PickUpShipmentRequest(id=planned.id)).state == pb.Shipment.PICKED_UP
    delivered = courier.DeliverShipment(pb.DeliverShipmentRequest(id=planned.id))
    assert (delivered.state, delivered.cash_collected) == (pb.Shipment.DELIVERED, eur(2400))
    told = ["ShipmentPlanned", "ShipmentReady", "ShipmentAssigned", "ShipmentPickedUp", "ShipmentDelivered"]
    assert town.told(planned.id) == told


def test_planning_twice_or_from_two_connections_at_once_plans_one_shipment(town: Town) -> None:
    plan = town.plan_of()
    outcomes = at_once(lambda: town.order.CreateShipment(plan), 6)
    assert outcomes == [outcomes[0]] * 6
    assert isinstance(outcomes[0], pb.Shipment)
    town.release(plan.hold_id)
    again = town.order.CreateShipment(plan)
    assert (again.id, again.etag, again.slot.id) == (plan.shipment_id, "1", outcomes[0].slot.id)
    assert town.told(plan.shipment_id) == ["ShipmentPlanned"]


def test_only_what_is_held_for_good_is_delivered(town: Town) -> None:
    order_id = _id()
    hold = town.hold(town.a_slot().id, order_id=order_id)
    plan = town.plan_of(hold_id=hold.id, order_id=order_id)
    with pytest.raises(HoldNotConfirmed):
        town.order.CreateShipment(plan)
    town.confirm(hold.id)
    for unknown in (town.plan_of(hold_id=_id()), town.plan_of(order_id=_id())):
        with pytest.raises(NotFound):
            town.order.CreateShipment(unknown)
    assert town.order.CreateShipment(plan).state == pb.Shipment.PLANNED


def test_a_cancellation_beats_the_plan_that_comes_late(town: Town) -> None:
    plan = town.plan_of()
    assert town.cancel(plan.shipment_id) == town.cancel(plan.shipment_id)
    with pytest.raises(ShipmentCancelled):
        town.order.CreateShipment(plan)
    with pytest.raises(ShipmentCancelled):
        town.ready(plan.shipment_id)
    with pytest.raises(NotFound):
        town.support.GetShipment(pb.GetShipmentRequest(id=plan.shipment_id))
    assert town.told(plan.shipment_id) == []


def test_a_delivery_that_is_called_off_keeps_its_place_until_the_order_gives_it_back(town: Town) -> None:
    slot = town.a_slot()
    plan = town.plan_of(slot)
    town.order.CreateShipment(plan)
    assert town.cancel(plan.shipment_id).state == pb.Shipment.CANCELLED
    assert town.slot(slot).available == 2
    with pytest.raises(ShipmentCancelled):
        town.order.CreateShipment(plan)
    assert town.told(plan.shipment_id) == ["ShipmentPlanned", "ShipmentCancelled"]


def test_what_is_under_way_is_not_called_off(town: Town) -> None:
    shipment_id, _, _ = town.under_way()
    with pytest.raises(ShipmentUnderWay):
        town.cancel(shipment_id)
    with pytest.raises(ShipmentUnderWay):
        town.assign(shipment_id, town.a_courier()[0])


def test_of_pick_up_and_cancellation_at_once_one_wins(town: Town) -> None:
    shipment, (courier_id, courier) = town.plan(), town.a_courier()
    town.ready(shipment.id)
    town.assign(shipment.id, courier_id)
    outcomes = all_at_once(
        [
            lambda: courier.PickUpShipment(pb.PickUpShipmentRequest(id=shipment.id)),
            lambda: town.cancel(shipment.id),
        ]
    )
    assert sum(isinstance(each, pb.Shipment) for each in outcomes) == 1
    assert sum(isinstance(each, ShipmentUnderWay | ShipmentCancelled) for each in outcomes) == 1


def test_an_unknown_shipment_is_not_found(town: Town) -> None:
    courier_id, courier = town.a_courier()
    acts: Acts = (
        lambda: town.ready(_id()),
        lambda: town.assign(_id(), courier_id),
        lambda: courier.PickUpShipment(pb.PickUpShipmentRequest(id=_id())),
        lambda: town.support.GetShipment(pb.GetShipmentRequest(id=_id())),
    )
    for act in acts:
        with pytest.raises(NotFound):
            act()


def test_a_courier_named_before_the_goods_are_packed_has_them_afterwards(town: Town) -> None:
    shipment, (courier_id, courier) = town.plan(), town.a_courier()
    assert town.assign(shipment.id, courier_id).state == pb.Shipment.PLANNED
    with pytest.raises(ShipmentNotReady):
        courier.PickUpShipment(pb.PickUpShipmentRequest(id=shipment.id))
    assert town.ready(shipment.id).state == pb.Shipment.ASSIGNED
    assert town.ready(shipment.id).state == pb.Shipment.ASSIGNED
    assert town.told(shipment.id) == ["ShipmentPlanned", "ShipmentReady", "ShipmentAssigned"]


def test_a_shipment_may_go_to_another_courier_before_it_was_picked_up(town: Town) -> None:
    shipment, (first_id, first), (second_id, second) = town.plan(), town.a_courier(), town.a_courier()
    town.ready(shipment.id)
    town.assign(shipment.id, first_id)
    assert town.assign(shipment.id, second_id).courier_id == second_id
    with pytest.raises(NotFound):
        first.PickUpShipment(pb.PickUpShipmentRequest(id=shipment.id))
    with pytest.raises(NotFound):
        first.GetShipment(pb.GetShipmentRequest(id=shipment.id))
    assert second.PickUpShipment(pb.PickUpShipmentRequest(id=shipment.id)).state == pb.Shipment.PICKED_UP


def test_assigning_wants_a_courier_and_the_version_that_was_read(town: Town) -> None:
    shipment, (courier_id, _) = town.plan(), town.a_courier()
    with pytest.raises(UnknownCourier):
        town.assign(shipment.id, _id())
    with pytest.raises(EtagMismatch):
        town.assign(shipment.id, courier_id, etag="99")
    assert town.assign(shipment.id, courier_id, etag=shipment.etag).courier_id == courier_id
    with pytest.raises(EtagMismatch):
        town.assign(shipment.id, courier_id, etag=shipment.etag)


def test_a_repeated_assignment_answers_with_the_shipment_as_it_is_now(town: Town) -> None:
    shipment, (courier_id, _), (other_id, _) = town.plan(), town.a_courier(), town.a_courier()
    town.assign(shipment.id, courier_id, etag=shipment.etag, request_id="once" + shipment.id)
    town.assign(shipment.id, other_id)
    again = town.assign(shipment.id, courier_id, etag=shipment.etag, request_id="once" + shipment.id)
    assert again.courier_id == other_id
    with pytest.raises(IdempotencyKeyReused):
        town.assign(shipment.id, other_id, request_id="once" + shipment.id)


def test_the_couriers_steps_may_be_repeated_and_go_forward_only(town: Town) -> None:
    shipment_id, _, courier = town.under_way(cash_due=eur(900))
    courier.PickUpShipment(pb.PickUpShipmentRequest(id=shipment_id))
    first = courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment_id, cash_collected=eur(800)))
    again = courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment_id, cash_collected=eur(900)))
    assert again == first
    assert first.cash_collected == eur(800)
    acts: Acts = (
        lambda: courier.PickUpShipment(pb.PickUpShipmentRequest(id=shipment_id)),
        lambda: courier.FailShipment(pb.FailShipmentRequest(id=shipment_id, reason="nobody in")),
        lambda: courier.ReportPosition(pb.ReportPositionRequest(id=shipment_id, latitude=1, longitude=1)),
    )
    for act in acts:
        with pytest.raises(ShipmentOver):
            act()
    assert town.told(shipment_id)[-2:] == ["ShipmentPickedUp", "ShipmentDelivered"]


def test_a_delivery_may_fail(town: Town) -> None:
    shipment_id, _, courier = town.under_way()
    failed = courier.FailShipment(pb.FailShipmentRequest(id=shipment_id, reason="nobody in"))
    assert (failed.state, failed.failure_reason) == (pb.Shipment.FAILED, "nobody in")
    assert courier.FailShipment(pb.FailShipmentRequest(id=shipment_id, reason="again")) == failed
    with pytest.raises(ShipmentOver):
        courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment_id))
    assert town.told(shipment_id)[-1] == "ShipmentFailed"


def test_nothing_is_delivered_that_was_not_picked_up(town: Town) -> None:
    shipment, (courier_id, courier) = town.plan(), town.a_courier()
    town.ready(shipment.id)
    town.assign(shipment.id, courier_id)
    acts: Acts = (
        lambda: courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment.id)),
        lambda: courier.FailShipment(pb.FailShipmentRequest(id=shipment.id, reason="x")),
        lambda: courier.ReportPosition(pb.ReportPositionRequest(id=shipment.id, latitude=1, longitude=1)),
    )
    for act in acts:
        with pytest.raises(ShipmentNotPickedUp):
            act()
    town.cancel(shipment.id)
    with pytest.raises(ShipmentCancelled):
        courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment.id))


def test_the_customer_sees_where_the_courier_is_and_when_the_goods_come(town: Town) -> None:
    shipment_id, _, courier = town.under_way()
    courier.ReportPosition(pb.ReportPositionRequest(id=shipment_id, latitude=10.5 + 10 / 111.195, longitude=0.5))
    seen = town.customer.GetShipment(pb.GetShipmentRequest(id=shipment_id))
    assert seen.position.longitude == 0.5
    arrival = seen.estimated_arrival.ToDatetime(UTC) - town.clock.now()
    assert arrival == pytest.approx(timedelta(minutes=30), abs=timedelta(seconds=1))
    assert town.told(shipment_id)[-1] == "ShipmentPickedUp"


def shown(town: Town, shipment_id: str) -> pb.CourierPosition | None:
    """What lies in Redis for those who watch an order."""
    raw: Any = town.redis.get(f"position:{shipment_id}")
    return pb.CourierPosition.FromString(raw) if raw else None


@pytest.mark.parametrize("ends", ["DeliverShipment", "FailShipment"])
def test_where_the_courier_is_is_shown_while_the_goods_are_under_way(town: Town, ends: str) -> None:
    shipment_id, _, courier = town.under_way()
    assert shown(town, shipment_id) is None
    for longitude in (0.5, 0.6):
        courier.ReportPosition(pb.ReportPositionRequest(id=shipment_id, latitude=10.5, longitude=longitude))
    there, seen = shown(town, shipment_id), town.customer.GetShipment(pb.GetShipmentRequest(id=shipment_id))
    assert there == pb.CourierPosition(
        shipment_id=shipment_id,
        position=seen.position,
        time=time_to_pb(town.clock.now()),
        estimated_arrival=seen.estimated_arrival,
    )
    over: dict[str, Any] = {
        "DeliverShipment": pb.DeliverShipmentRequest(id=shipment_id),
        "FailShipment": pb.FailShipmentRequest(id=shipment_id, reason="nobody in"),
    }
    getattr(courier, ends)(over[ends])
    assert shown(town, shipment_id) is None


def test_a_redis_that_is_away_hides_the_courier_and_nothing_else(town: Town, delivery_database: Database) -> None:
    shipment_id, courier_id, _ = town.under_way()

    def work() -> DeliveryWork:
        return DeliveryWork(delivery_database, service="delivery")

    with connect(f"redis://127.0.0.1:{free_port()}/0") as nowhere:
        dispatch = Dispatch(work, town.clock, RedisPositions(nowhere))
        reported = dispatch.report_position(UUID(shipment_id), UUID(courier_id), (10.5, 0.5), None)
    assert reported.position
    assert shown(town, shipment_id) is None


# Who sees what


def test_shipments_are_listed_to_their_customer_their_courier_and_staff(town: Town) -> None:
    customer = a_customer(_id())
    mine = [town.under_way(customer_id=customer.subject) for _ in range(3)]

    def listed(who: Any, **query: Any) -> list[str]:
        return [each.id for each in who.ListShipments(pb.ListShipmentsRequest(page_size=200, **query)).shipments]

    newest_first = [shipment_id for shipment_id, _, _ in reversed(mine)]
    shipment_id, courier_id, courier = mine[0]
    assert listed(town.as_(customer)) == newest_first
    assert listed(courier) == [shipment_id]
    assert set(newest_first) <= set(listed(town.warehouse))
    assert listed(town.support, courier=courier_id) == [shipment_id]
    assert listed(town.as_(customer), state=pb.Shipment.PLANNED) == []
    order_id = town.support.GetShipment(pb.GetShipmentRequest(id=shipment_id)).order_id
    assert listed(town.support, order_id=order_id) == [shipment_id]
    with pytest.raises(NotFound):
        town.stranger.GetShipment(pb.GetShipmentRequest(id=shipment_id))


def test_pages_of_shipments_belong_to_their_reader(town: Town) -> None:
    customer = a_customer(_id())
    plans = [town.plan(customer_id=customer.subject).id for _ in range(3)]
    mine = town.as_(customer)
    first = mine.ListShipments(pb.ListShipmentsRequest(page_size=2))
    second = mine.ListShipments(pb.ListShipmentsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.id for each in (*first.shipments, *second.shipments)] == plans[::-1]
    assert second.next_page_token == ""
    with pytest.raises(InvalidPageToken):
        town.stranger.ListShipments(pb.ListShipmentsRequest(page_token=first.next_page_token))


def test_the_address_is_shown_to_those_who_need_it(town: Town) -> None:
    shipment_id, _, courier = town.under_way()

    def seen(who: Any) -> pb.Shipment:
        shipment: pb.Shipment = who.GetShipment(pb.GetShipmentRequest(id=shipment_id))
        return shipment

    assert (
        seen(town.customer).address.phone == seen(courier).address.phone == seen(town.admin).address.phone == "0170123"
    )
    assert seen(town.support).address.phone == "•••••23"
    assert seen(town.support).address.recipient == "Ada"
    assert not seen(town.warehouse).HasField("address")
    courier.ReportPosition(pb.ReportPositionRequest(id=shipment_id, latitude=10.5, longitude=0.5))
    assert seen(town.warehouse).HasField("position")
    courier.DeliverShipment(pb.DeliverShipmentRequest(id=shipment_id))
    assert not seen(courier).HasField("address")
    assert not seen(town.warehouse).HasField("position")
    assert seen(town.customer).address.recipient == "Ada"


def test_who_is_erased_is_forgotten_even_by_what_comes_late(town: Town) -> None:
    customer = a_customer(_id())
    shipment_id, _, courier = town.under_way(customer_id=customer.subject)
    courier.ReportPosition(pb.ReportPositionRequest(id=shipment_id, latitude=10.5, longitude=0.5))
    courier.FailShipment(pb.FailShipmentRequest(id=shipment_id, reason="Ada was not in"))
    for _ in range(2):
        _erase(town, customer.subject)
    seen = town.admin.GetShipment(pb.GetShipmentRequest(id=shipment_id))
    assert not seen.HasField("address")
    assert not seen.HasField("position")
    assert (seen.failure_reason, seen.customer_id) == ("", customer.subject)
    late = town.plan(customer_id=customer.subject)
    assert not town.admin.GetShipment(pb.GetShipmentRequest(id=late.id)).HasField("address")


def _erase(town: Town, user_id: str) -> None:
    """The user service tells that somebody was erased."""
    event, now = user_events_pb2.UserErased(user_id=user_id), town.clock.now()
    kind = event.DESCRIPTOR.full_name
    record = Record(Place("mercato.user.v1", "", 0), 0, user_id, event.SerializeToString(), {"ce_type": kind}, now)
    told = Delivery(_id(), kind, user_id, 2, now, event, record.headers, record)
    with DeliveryWork(town.database, service="delivery") as work:
        follow_users(town.dispatch)(work, [told])


# Couriers


def test_a_user_becomes_a_courier_once(town: Town) -> None:
    courier_id = _id()

    def create(request_id: str = "") -> pb.Courier:
        courier = pb.Courier(id=courier_id, name="Kit")
        made: pb.Courier = town.warehouse.CreateCourier(pb.CreateCourierRequest(courier=courier, request_id=request_id))
        return made

    made = create("kit" + courier_id)
    assert create("kit" + courier_id) == made
    with pytest.raises(CourierExists):
        create()
    assert made in town.warehouse.ListCouriers(pb.ListCouriersRequest(page_size=200)).couriers


def test_an_erased_courier_brings_nothing_more(town: Town) -> None:
    shipment, (courier_id, _) = town.plan(), town.a_courier()
    _erase(town, courier_id)
    with pytest.raises(UnknownCourier):
        town.assign(shipment.id, courier_id)
    assert courier_id not in [each.id for each in town.warehouse.ListCouriers(pb.ListCouriersRequest()).couriers]


def test_couriers_come_in_pages(town: Town) -> None:
    for _ in range(3):
        town.a_courier()
    everybody = town.warehouse.ListCouriers(pb.ListCouriersRequest(page_size=200)).couriers
    first = town.warehouse.ListCouriers(pb.ListCouriersRequest(page_size=1))
    rest = town.warehouse.ListCouriers(pb.ListCouriersRequest(page_size=200, page_token=first.next_page_token))
    assert [*first.couriers, *rest.couriers] == list(everybody)


def test_what_is_not_valid_is_refused_by_the_contract(town: Town) -> None:
    refused: tuple[tuple[Any, Any], ...] = (
        (town.anybody.LocateZone, pb.LocateZoneRequest(latitude=91, longitude=0)),
        (town.anybody.LocateZone, pb.LocateZoneRequest(latitude=1)),
        (town.anybody.GetQuote, pb.GetQuoteRequest(latitude=1, longitude=1, subtotal="ten")),
        (town.warehouse.CreateCourier, pb.CreateCourierRequest(courier=pb.Courier(id="x", name="x"))),
        (town.order.HoldSlot, pb.HoldSlotRequest(hold_id="x", order_id=_id(), slot_id=_id())),
    )
    for call, request in refused:
        with pytest.raises(MercatoError) as error:
            call(request)
        assert isinstance(error.value, InvalidArgument)
