"""The rules of zones, slots, holds and shipments, without anything around them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument, MercatoError, NotFound
from mercato.ids import uuid7
from mercato.money import Money
from services.delivery.domain import BelowMinimum, Hold, HoldExpired, HoldReleased, HoldState, Hours, Slot, Zone
from services.delivery.geometry import contains, distance, overlap, simple
from services.delivery.shipment import (
    Destination,
    Position,
    Shipment,
    ShipmentCancelled,
    ShipmentNotPickedUp,
    ShipmentNotReady,
    ShipmentOver,
    ShipmentUnderWay,
    State,
)
from shop.city import ZONES

SQUARE = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0))
EAST_OF_IT = ((0.0, 1.0), (0.0, 2.0), (1.0, 2.0), (1.0, 1.0))
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def eur(amount: int) -> Money:
    return Money(amount, "EUR")


def a_zone(time_zone: str = "Europe/Berlin") -> Zone:
    return Zone("mitte", "Mitte", time_zone, SQUARE, ("north",), eur(300), eur(4000), eur(1000))


# Places and polygons


def test_a_place_lies_within_an_edge_or_outside() -> None:
    assert contains(SQUARE, (0.5, 0.5))
    assert contains(SQUARE, (0.5, 1.0))
    assert contains(SQUARE, (0.0, 0.0))
    assert not contains(SQUARE, (0.5, 1.0000001))
    assert not contains(SQUARE, (0.5, -1.0))
    assert not contains(SQUARE, (1.0, 1.5))


def test_a_bay_does_not_belong_to_its_zone() -> None:
    bay = ((0.0, 0.0), (0.0, 3.0), (2.0, 3.0), (2.0, 2.0), (1.0, 2.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0))
    assert not contains(bay, (1.5, 1.5))
    assert contains(bay, (1.5, 2.5))
    assert contains(bay, (0.5, 1.5))


corners = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


@given(place=corners, centre=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)))
def test_zones_that_share_their_edges_leave_no_place_out(
    place: tuple[float, float], centre: tuple[float, float]
) -> None:
    ring = ((-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, -1.0))
    slices = [(centre, ring[number], ring[(number + 1) % 4]) for number in range(4)]
    assert any(contains(each, place) for each in slices)


def test_zones_with_a_common_edge_do_not_overlap() -> None:
    assert not overlap(SQUARE, EAST_OF_IT)
    assert not overlap(EAST_OF_IT, SQUARE)


@pytest.mark.parametrize(
    "other",
    [
        SQUARE,
        SQUARE[::-1],
        ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0)),  # every corner lies on the other's edge
        ((0.25, 0.25), (0.25, 0.75), (0.75, 0.75), (0.75, 0.25)),  # wholly inside
        ((-1.0, -1.0), (-1.0, 2.0), (2.0, 2.0), (2.0, -1.0)),  # wholly around
        ((0.4, -1.0), (0.4, 2.0), (0.6, 2.0), (0.6, -1.0)),  # across, no corner inside either
        ((0.5, 0.5), (0.5, 1.5), (1.5, 1.5), (1.5, 0.5)),
        ((-0.5, 0.5), (0.5, -0.5), (1.5, 0.5), (0.5, 1.5)),  # a star
    ],
)
def test_zones_that_share_ground_overlap(other: tuple[tuple[float, float], ...]) -> None:
    assert overlap(SQUARE, other)
    assert overlap(other, SQUARE)


def test_a_sliver_of_rounding_is_no_overlap() -> None:
    neighbour = ((0.0, 1.0 - 1e-12), (0.0, 2.0), (1.0, 2.0), (1.0, 1.0 - 1e-12))
    assert not overlap(SQUARE, neighbour)
    assert overlap(SQUARE, ((0.0, 0.999), (0.0, 2.0), (1.0, 2.0), (1.0, 0.999)))


def test_the_demo_towns_zones_share_edges_and_no_ground_and_serve_their_doorsteps() -> None:
    for zone in ZONES:
        assert simple(zone.polygon)
        assert [each.id for each in ZONES if overlap(zone.polygon, each.polygon)] == [zone.id]
        assert [each.id for each in ZONES if contains(each.polygon, zone.doorstep)] == [zone.id]


def test_zones_that_meet_in_a_point_or_not_at_all_do_not_overlap() -> None:
    assert not overlap(SQUARE, ((1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (2.0, 1.0)))
    assert not overlap(SQUARE, ((5.0, 5.0), (5.0, 6.0), (6.0, 6.0)))


@pytest.mark.parametrize(
    "polygon",
    [
        ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)),  # a bow tie
        ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0)),  # a line
        ((0.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)),  # a corner twice
        ((0.0, 0.0), (1.0, 1.0)),
    ],
)
def test_a_polygon_without_an_inside_is_none(polygon: tuple[tuple[float, float], ...]) -> None:
    assert simple(SQUARE)
    assert not simple(polygon)


def test_a_degree_of_latitude_is_111_kilometres_everywhere_and_one_of_longitude_less() -> None:
    assert distance((52.0, 13.0), (53.0, 13.0)) == pytest.approx(111.2, rel=0.01)
    assert distance((60.0, 13.0), (60.0, 14.0)) == pytest.approx(55.6, rel=0.01)


# Days and hours


def test_a_zone_has_a_slot_for_every_hour_of_its_clock() -> None:
    starts = Hours(60, 8, 22).starts(a_zone(), date(2026, 1, 6))
    assert len(starts) == 14
    assert starts[0] == datetime(2026, 1, 6, 7, tzinfo=UTC)
    assert starts[-1] == datetime(2026, 1, 6, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "slots", "hours"), [(date(2026, 3, 29), 23, 23), (date(2026, 10, 25), 25, 25), (date(2026, 6, 1), 24, 24)]
)
def test_a_day_has_as_many_slots_as_hours(day: date, slots: int, hours: int) -> None:
    zone = a_zone()
    starts = Hours(60, 0, 24).starts(zone, day)
    begin, end = zone.day(day)
    assert len(starts) == slots
    assert end - begin == timedelta(hours=hours)
    assert starts == [begin + timedelta(hours=number) for number in range(hours)]


@given(
    day=st.dates(date(2020, 1, 1), date(2035, 12, 31)),
    time_zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "UTC"]),
)
def test_slots_never_overlap_and_lie_within_their_hours(day: date, time_zone: str) -> None:
    zone = a_zone(time_zone)
    starts = Hours(1, 0, 24).starts(zone, day)
    assert all(later - earlier >= timedelta(hours=1) for earlier, later in pairwise(starts))
    assert all(start.astimezone(zone.clock).date() == day for start in starts)


def test_the_days_ahead_are_today_and_six_more_and_only_what_may_still_be_ordered() -> None:
    zone = a_zone()
    starts = Hours(60, 8, 22).upcoming(zone, NOON)  # 13:00 there: the slot of 13:30 does not exist, that of 14:00 does
    assert starts[0] == datetime(2026, 1, 5, 13, tzinfo=UTC)
    assert len({start.astimezone(zone.clock).date() for start in starts}) == 7
    assert len(starts) == 8 + 6 * 14


def test_hours_end_after_they_begin_and_a_time_zone_is_known() -> None:
    with pytest.raises(InvalidArgument):
        Hours(60, 8, 8)
    for nonsense in ("Europe/Atlantis", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(InvalidArgument):
            _ = a_zone(nonsense).clock


# What it costs


def test_a_delivery_is_free_from_a_subtotal_on() -> None:
    assert a_zone().fee(eur(3999)) == eur(300)
    assert a_zone().fee(eur(4000)) == eur(0)


def test_less_than_the_minimum_is_not_delivered() -> None:
    a_zone().require_minimum(eur(1000))
    with pytest.raises(BelowMinimum):
        a_zone().require_minimum(eur(999))


# Holds


def a_hold(state: HoldState) -> Hold:
    return Hold(uuid7(), uuid7(), uuid7(), state, NOON)


def test_whoever_changes_a_hold_first_wins() -> None:
    assert a_hold(HoldState.HELD).confirm().state is HoldState.CONFIRMED
    with pytest.raises(HoldReleased):
        a_hold(HoldState.RELEASED).confirm()
    with pytest.raises(HoldExpired):
        a_hold(HoldState.EXPIRED).confirm()


@pytest.mark.parametrize("state", HoldState)
def test_release_beats_everything_and_is_final(state: HoldState) -> None:
    released = a_hold(state).release()
    assert released.state is HoldState.RELEASED
    assert released.release() is released
    with pytest.raises(HoldReleased):
        released.again()


# Shipments


def a_destination() -> Destination:
    return Destination("Ada", "Street 1", "", "10115", "Berlin", "DE", "+491701234567", "ring twice", (52.5, 13.4))


def a_shipment(state: State = State.PLANNED, *, cash_due: Money | None = None) -> Shipment:
    slot = Slot(uuid7(), "mitte", NOON, NOON + timedelta(hours=1), NOON - timedelta(minutes=30), 60, 1, eur(300))
    courier_id = None if state in (State.PLANNED, State.READY) else uuid7()
    return Shipment(
        uuid7(), uuid7(), uuid7(), slot, state, NOON, NOON, courier_id, cash_due, destination=a_destination()
    )


def test_a_shipment_goes_forward_step_by_step() -> None:
    ready = a_shipment().ready(None)
    assigned = ready.assign(uuid7())
    picked_up = assigned.pick_up()
    states = [each.state for each in (ready, assigned, picked_up, picked_up.deliver(None), picked_up.fail("nobody in"))]
    assert states == [State.READY, State.ASSIGNED, State.PICKED_UP, State.DELIVERED, State.FAILED]


def test_a_courier_named_early_has_it_as_soon_as_it_is_packed() -> None:
    named = a_shipment().assign(uuid7())
    assert (named.state, named.version) == (State.PLANNED, 2)
    ready = named.ready(None)
    assert (ready.state, ready.version) == (State.ASSIGNED, 4)  # two events tell of it


def test_repeats_change_nothing() -> None:
    assigned = a_shipment(State.ASSIGNED)
    assert assigned.courier_id
    assert assigned.assign(assigned.courier_id) is assigned
    assert assigned.ready(eur(5)) is assigned
    repeats: tuple[tuple[State, Callable[[Shipment], Shipment]], ...] = (
        (State.PICKED_UP, Shipment.pick_up),
        (State.DELIVERED, lambda shipment: shipment.deliver(eur(1))),
        (State.FAILED, lambda shipment: shipment.fail("again")),
        (State.CANCELLED, Shipment.cancel),
    )
    for state, repeat in repeats:
        shipment = a_shipment(state)
        assert repeat(shipment) is shipment


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (State.PLANNED, ShipmentNotReady),
        (State.READY, ShipmentNotReady),
        (State.DELIVERED, ShipmentOver),
        (State.FAILED, ShipmentOver),
        (State.CANCELLED, ShipmentCancelled),
    ],
)
def test_only_what_is_packed_and_given_to_a_courier_is_picked_up(state: State, refusal: type[MercatoError]) -> None:
    with pytest.raises(refusal):
        a_shipment(state).pick_up()


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (State.PLANNED, ShipmentNotPickedUp),
        (State.ASSIGNED, ShipmentNotPickedUp),
        (State.FAILED, ShipmentOver),
        (State.CANCELLED, ShipmentCancelled),
    ],
)
def test_only_what_was_picked_up_is_handed_over(state: State, refusal: type[MercatoError]) -> None:
    with pytest.raises(refusal):
        a_shipment(state).deliver(None)


@pytest.mark.parametrize("state", [State.PICKED_UP, State.DELIVERED, State.FAILED])
def test_what_is_under_way_is_neither_called_off_nor_given_to_another(state: State) -> None:
    with pytest.raises(ShipmentUnderWay):
        a_shipment(state).cancel()
    with pytest.raises(ShipmentUnderWay):
        a_shipment(state).assign(uuid7())


def test_what_was_called_off_is_over() -> None:
    cancelled = a_shipment(State.CANCELLED)
    acts: tuple[Callable[[Shipment], Shipment], ...] = (
        Shipment.planned,
        lambda shipment: shipment.ready(None),
        lambda shipment: shipment.assign(uuid7()),
    )
    for act in acts:
        with pytest.raises(ShipmentCancelled):
            act(cancelled)
    with pytest.raises(ShipmentOver):
        cancelled.report(Position((52.5, 13.4), NOON))


def test_only_its_courier_has_a_shipment() -> None:
    shipment = a_shipment(State.ASSIGNED)
    assert shipment.courier_id
    shipment.require_courier(shipment.courier_id)
    with pytest.raises(NotFound):
        shipment.require_courier(uuid7())


def test_what_is_due_is_collected_unless_the_courier_says_otherwise() -> None:
    def collected(due: Money | None, said: Money | None) -> Money | None:
        return a_shipment(State.PICKED_UP, cash_due=due).deliver(said).cash_collected

    assert collected(eur(2500), None) == eur(2500)
    assert collected(eur(2500), eur(2000)) == eur(2000)
    assert collected(eur(2500), eur(0)) is None
    assert collected(None, None) is None
    for due, said in ((None, eur(1)), (eur(2500), Money(2500, "USD")), (eur(2500), eur(-1))):
        with pytest.raises(InvalidArgument):
            collected(due, said)


def test_a_shipment_arrives_by_the_end_of_its_slot_or_by_what_the_distance_says() -> None:
    planned = a_shipment()
    assert planned.estimated_arrival == NOON + timedelta(hours=1)
    under_way = a_shipment(State.PICKED_UP).report(Position((52.5 + 10 / 111.195, 13.4), NOON))
    assert under_way.estimated_arrival
    assert under_way.estimated_arrival - NOON == pytest.approx(timedelta(minutes=30), abs=timedelta(seconds=1))
    assert under_way.deliver(None).estimated_arrival is None


def test_the_address_is_for_those_who_need_it() -> None:
    shipment = a_shipment(State.PICKED_UP)
    nobody: frozenset[str] = frozenset()

    def seen(subject: object, *roles: str, of: Shipment = shipment) -> Destination | None:
        return of.shown_to(str(subject), frozenset(roles)).destination

    assert seen(shipment.customer_id, "customer") == a_destination()
    assert seen(shipment.courier_id, "courier") == a_destination()
    assert seen(uuid7(), "admin") == a_destination()
    masked = seen(uuid7(), "support")
    assert masked
    assert masked.phone == "•••••••••••67"
    assert masked.line1 == "Street 1"
    assert seen(uuid7(), "warehouse") is None
    assert shipment.shown_to("", nobody).destination is None
    assert seen(shipment.courier_id, "courier", of=shipment.deliver(None)) is None
