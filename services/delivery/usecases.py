"""What can be done with zones, slots, shipments and couriers. Every method is one transaction and its events."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from mercato.clock import Clock
from mercato.errors import NotFound
from mercato.etag import check_etag
from mercato.group_commit import Turn
from mercato.money import Money
from mercato.postgres import retried
from mercato.rpc import Key
from services.delivery import messages
from services.delivery.booking import Booking, Wanted
from services.delivery.domain import (
    AddressNotServed,
    Asked,
    Courier,
    Hold,
    Hours,
    Quote,
    SlotClosed,
    SlotFull,
    SlotQuote,
    Zone,
    ZonesOverlap,
)
from services.delivery.geometry import Corner, overlap
from services.delivery.positions import Positions
from services.delivery.queries import DeliveryQueries, Located
from services.delivery.shipment import (
    CourierExists,
    HoldNotConfirmed,
    Plan,
    Position,
    Shipment,
    UnknownCourier,
)
from services.delivery.store import DeliveryWork

EXPIRED_AT_ONCE = 500
FORGOTTEN_AT_ONCE = 1000
Outcome = Hold | Exception
Work = Callable[[], DeliveryWork]
T = TypeVar("T")


class Zones:
    """Where and when the shop delivers."""

    def __init__(self, work: Work, clock: Clock) -> None:
        self._work = work
        self._clock = clock

    def put_zone(self, zone: Zone, hours: Hours) -> Zone:
        """Create a zone or change it, with its slots. ZonesOverlap. What is so already is left alone."""
        with self._work() as work:
            work.zones.lock_all()
            if work.zones.find(zone.id) != (zone, hours):
                for other in work.zones.near(zone):
                    if overlap(zone.polygon, other.polygon):
                        raise ZonesOverlap(zone.id, other.id)
                work.zones.put(zone, hours)
            _roll(work, zone, hours, self._clock.now())
        return zone

    def roll_slots(self) -> None:
        """Make the slots of the days that have come near, and let open ones follow their zones."""
        with self._work() as work:
            zone_ids = work.zones.ids()
        for zone_id in zone_ids:
            # A transaction each: slots are locked in the order of their ids, but only within a zone.
            with self._work() as work:
                if found := work.zones.keep(zone_id):
                    zone, hours = found
                    _roll(work, zone, hours, self._clock.now())


class Quotes:
    """What deliveries cost, and whether there are any."""

    def __init__(self, queries: DeliveryQueries) -> None:
        self._queries = queries

    def quote(self, place: Corner, subtotal: str) -> Quote:
        """What a delivery of goods for so much costs. AddressNotServed."""
        zone = self._queries.locate(place)
        fee = zone.fee(messages.subtotal_from_text(subtotal, zone.delivery_fee.currency))
        return Quote(zone, fee, self._queries.earliest_slot(zone.id))

    def quote_slot(self, asked: Asked) -> SlotQuote:
        """What an order needs to know of its slot. AddressNotServed, SlotClosed, BelowMinimum."""
        return _only(self.quote_together([Turn.of(asked)]))

    def quote_together(self, turns: Sequence[Turn[Asked]]) -> list[SlotQuote | Exception]:
        """The same for orders that asked together."""
        located = self._queries.zones_and_slots([(turn.item.place, turn.item.slot_id) for turn in turns])
        return [turn.decide(partial(_quoted, each)) for turn, each in zip(turns, located, strict=True)]


class Slots:
    """Places in slots, and who holds them."""

    def __init__(self, work: Work, hold: timedelta) -> None:
        """`hold` is how long a place is kept that nobody confirms."""
        self._work = work
        self._hold = hold

    def hold_slot(self, wanted: Wanted) -> Hold:
        """Take a place. Repeating it answers as the first time. SlotFull, SlotClosed, HoldReleased.

        One statement if there is a place at the first look; whatever else there is to say is said to a set of one.
        """
        with self._work() as work:
            if hold := work.holds.hold(wanted, self._hold):
                _tell_held(work, hold)
                return hold
        return _only(retried(lambda: self.hold_together([Turn.of(wanted)])))

    def hold_together(self, turns: Sequence[Turn[Wanted]]) -> list[Outcome]:
        """The same for holds that came together, in one transaction; what each is told, in their order.

        What found no place looks again, once, if there are holds that ran out and nobody swept.
        """
        outcomes = self._serve(turns)
        refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, SlotFull)]
        if refused and self._expire():
            for number, outcome in zip(refused, self._serve([turns[each] for each in refused]), strict=True):
                outcomes[number] = outcome
        return outcomes

    def _serve(self, turns: Sequence[Turn[Wanted]]) -> list[Outcome]:
        with self._work() as work:
            until, earlier = work.holds.look([turn.item.hold_id for turn in turns], self._hold)
            booking = Booking(work.holds.rooms([turn.item.slot_id for turn in turns]), earlier, until)
            outcomes: list[Outcome] = [turn.decide(booking.serve) for turn in turns]
            work.holds.hold_all(booking.held)
            new = {hold.id: hold for hold in booking.held}
            for turn in turns:
                if hold := new.pop(turn.item.hold_id, None):
                    turn.run(_tell_held, work, hold)
            return outcomes

    def confirm_slot(self, hold_id: UUID) -> Hold:
        """Hold for good. NotFound, HoldReleased, HoldExpired."""
        return _only(self.confirm_together([Turn.of(hold_id)]))

    def confirm_together(self, turns: Sequence[Turn[UUID]]) -> list[Outcome]:
        """The same for holds whose confirmations came together, in one transaction."""
        with self._work() as work:
            locked = {each.id: each for each in work.holds.lock_all([turn.item for turn in turns])}
            now = dict(locked)
            outcomes: list[Outcome] = [turn.decide(partial(_confirm, work, now)) for turn in turns]
            work.holds.advance(*(each for each in now.values() if each is not locked[each.id]))
            return outcomes

    def release_slot(self, hold_id: UUID) -> Hold:
        """Give the place back. What is not known yet is refused when it comes."""
        return _only(retried(lambda: self.release_together([Turn.of(hold_id)])))

    def release_together(self, turns: Sequence[Turn[UUID]]) -> list[Outcome]:
        """The same for holds whose releases came together, in one transaction."""
        with self._work() as work:
            locked = {each.id: each for each in work.holds.lock_all([turn.item for turn in turns])}
            now = dict(locked)
            outcomes: list[Outcome] = [turn.decide(partial(_release, work, now)) for turn in turns]
            released = [now[each] for each, before in locked.items() if now[each] is not before]
            work.holds.advance(*released)
            if places := [each.slot_id for each in released if locked[each.id].holds and each.slot_id]:
                work.slots.give_back(places)
            work.holds.bury(*(each for each in now if each not in locked))
            return outcomes

    def expire_holds(self) -> bool:
        """Give back the places of some of the holds whose time is over; True if there may be more of them."""
        return self._expire() == EXPIRED_AT_ONCE

    def _expire(self) -> int:
        with self._work() as work:
            expired = work.holds.expire(EXPIRED_AT_ONCE) if work.holds.due() else []
            if expired:
                work.slots.give_back([hold.slot_id for hold in expired if hold.slot_id])
            for hold in expired:
                work.publish(messages.slot_released(hold), str(hold.id), hold.version)
        return len(expired)

    def forget_slots(self, keep: timedelta) -> bool:
        """Delete some holds and slots that came to nothing longer ago than that; True if there may be more of them."""
        with self._work() as work:
            holds = work.holds.forget(keep, FORGOTTEN_AT_ONCE)
            slots = work.slots.forget(keep, FORGOTTEN_AT_ONCE)
        return FORGOTTEN_AT_ONCE in (holds, slots)


class Dispatch:
    """Shipments on their way, and who brings them."""

    def __init__(self, work: Work, clock: Clock, positions: Positions) -> None:
        self._work = work
        self._clock = clock
        self._positions = positions

    def create_shipment(self, plan: Plan) -> Shipment:
        """Plan a delivery in its confirmed slot. NotFound, HoldNotConfirmed, ShipmentCancelled."""
        return _only(self.create_together([Turn.of(plan)]))

    def create_together(self, turns: Sequence[Turn[Plan]]) -> list[Shipment | Exception]:
        """The same for deliveries that were asked for together, in one transaction; what each is told, in order."""
        with self._work() as work:
            planned = work.shipments.plan([turn.item for turn in turns])
            return [turn.decide(partial(_planned_as, work, planned)) for turn in turns]

    def ready_shipment(self, shipment_id: UUID, cash_due: Money | None) -> Shipment:
        """The goods are packed. NotFound, ShipmentCancelled."""
        with self._work() as work:
            return _change(work, shipment_id, lambda shipment: shipment.ready(cash_due))

    def cancel_shipment(self, shipment_id: UUID) -> Shipment:
        """Call a delivery off. What is not known yet is refused when it comes. ShipmentUnderWay."""
        with self._work() as work:
            work.shipments.bury(shipment_id)
            return _change(work, shipment_id, Shipment.cancel)

    def assign_shipment(self, shipment_id: UUID, courier_id: UUID, etag: str, key: Key | None) -> Shipment:
        """Give a shipment to a courier. NotFound, UnknownCourier, ShipmentUnderWay, ShipmentCancelled, EtagMismatch."""
        with self._work() as work:
            if work.idempotency.find(key) is not None:
                return _shipment(work, shipment_id)
            shipment = _planned(work, shipment_id)
            check_etag(etag, shipment.version)
            if work.couriers.find(courier_id) is None:
                raise UnknownCourier(courier_id)
            work.idempotency.made(key, str(shipment_id))
            return _write(work, shipment, shipment.assign(courier_id))

    def pick_up_shipment(self, shipment_id: UUID, courier_id: UUID, key: Key | None) -> Shipment:
        """The courier takes the goods along. NotFound, ShipmentNotReady, ShipmentCancelled, ShipmentOver."""
        return self._by_courier(shipment_id, courier_id, key, Shipment.pick_up)

    def deliver_shipment(self, shipment_id: UUID, courier_id: UUID, cash: Money | None, key: Key | None) -> Shipment:
        """The courier hands the goods over. NotFound, ShipmentNotPickedUp, ShipmentCancelled, ShipmentOver."""
        return self._seen(self._by_courier(shipment_id, courier_id, key, lambda shipment: shipment.deliver(cash)))

    def fail_shipment(self, shipment_id: UUID, courier_id: UUID, reason: str, key: Key | None) -> Shipment:
        """The courier could not hand the goods over. As deliver_shipment."""
        return self._seen(self._by_courier(shipment_id, courier_id, key, lambda shipment: shipment.fail(reason)))

    def report_position(self, shipment_id: UUID, courier_id: UUID, place: Corner, key: Key | None) -> Shipment:
        """The courier is there now. NotFound, ShipmentNotPickedUp, ShipmentOver."""
        position = Position(place, self._clock.now())
        return self._seen(self._by_courier(shipment_id, courier_id, key, lambda shipment: shipment.report(position)))

    def _seen(self, shipment: Shipment) -> Shipment:
        """Show where the courier is to those who watch: after the commit, for nothing rests on it."""
        self._positions.show(shipment)
        return shipment

    def _by_courier(
        self, shipment_id: UUID, courier_id: UUID, key: Key | None, change: Callable[[Shipment], Shipment]
    ) -> Shipment:
        with self._work() as work:
            repeated = work.idempotency.find(key) is not None
            shipment = _planned(work, shipment_id)
            shipment.require_courier(courier_id)
            if repeated:
                return shipment
            work.idempotency.made(key, str(shipment_id))
            return _write(work, shipment, change(shipment))

    def create_courier(self, courier_id: UUID, name: str, key: Key | None) -> Courier:
        """Make a user a courier. CourierExists."""
        with self._work() as work:
            if work.idempotency.find(key) is None:
                if not work.couriers.add(courier_id, name):
                    raise CourierExists
                work.idempotency.made(key, str(courier_id))
            if courier := work.couriers.find(courier_id):
                return courier
        raise NotFound

    def forget_user(self, work: DeliveryWork, user_id: UUID) -> None:
        """Empty what is known of a person, as a customer and as a courier."""
        work.shipments.forget(user_id)
        work.couriers.remove(user_id)


def _quoted(located: Located, asked: Asked) -> SlotQuote:
    if located is None:
        raise AddressNotServed
    zone, slot = located
    messages.same_currency(asked.subtotal, zone.delivery_fee, "subtotal")
    if slot is None:
        raise SlotClosed
    zone.require_minimum(asked.subtotal)
    return SlotQuote(slot, zone.warehouse_ids, zone.fee(asked.subtotal))


def _roll(work: DeliveryWork, zone: Zone, hours: Hours, now: datetime) -> None:
    starts = hours.upcoming(zone, now)
    work.slots.roll(zone.id, starts, hours.capacity)
    # Nothing beyond the last day that this process knows: around midnight another one may know the next already.
    _, until = zone.day(zone.days_ahead(now)[-1])
    work.slots.fit(zone.id, starts, hours.capacity, now, until)


def _tell_held(work: DeliveryWork, hold: Hold) -> None:
    work.publish(messages.slot_held(hold), str(hold.id), hold.version)


def _confirm(work: DeliveryWork, known: dict[UUID, Hold], hold_id: UUID) -> Hold:
    if not (hold := known.get(hold_id)):
        raise NotFound(f"there is no hold {hold_id}")
    confirmed = known[hold_id] = hold.confirm()
    if confirmed is not hold:
        work.publish(messages.slot_confirmed(confirmed), str(hold_id), confirmed.version)
    return confirmed


def _release(work: DeliveryWork, known: dict[UUID, Hold], hold_id: UUID) -> Hold:
    hold = known.get(hold_id) or Hold.tombstone(hold_id)
    released = known[hold_id] = hold.release()
    if hold.holds:
        work.publish(messages.slot_released(released), str(hold_id), released.version)
    return released


def _planned_as(work: DeliveryWork, new: dict[UUID, Shipment], plan: Plan) -> Shipment:
    if shipment := new.pop(plan.shipment_id, None):
        work.publish(messages.shipment_planned(shipment), str(shipment.id), shipment.version)
        return shipment
    if earlier := work.shipments.lock(plan.shipment_id):
        return earlier.planned()
    hold = work.holds.find(plan.hold_id)
    if hold is None or hold.order_id not in (None, plan.order_id):
        raise NotFound(f"there is no hold {plan.hold_id}")
    raise HoldNotConfirmed


def _only(outcomes: Sequence[T | Exception]) -> T:
    [outcome] = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _shipment(work: DeliveryWork, shipment_id: UUID) -> Shipment:
    if not (shipment := work.shipments.lock(shipment_id)):
        raise NotFound
    return shipment


def _planned(work: DeliveryWork, shipment_id: UUID) -> Shipment:
    # The same bytes whether there is none, it was called off before it was planned, or is another courier's.
    shipment = _shipment(work, shipment_id)
    if shipment.tombstone:
        raise NotFound
    return shipment


def _change(work: DeliveryWork, shipment_id: UUID, change: Callable[[Shipment], Shipment]) -> Shipment:
    shipment = _shipment(work, shipment_id)
    return _write(work, shipment, change(shipment))


def _write(work: DeliveryWork, before: Shipment, after: Shipment) -> Shipment:
    if after is before:
        return before
    work.shipments.advance(after)
    for version, event in messages.shipment_changed(before, after):
        work.publish(event, str(after.id), version)
    return _shipment(work, after.id)
