"""What can be done with stock. Every method is one transaction and the events that leave with it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from google.protobuf.message import Message

from mercato.errors import MercatoError, NotFound
from mercato.etag import require_etag
from mercato.group_commit import Turn
from mercato.ids import uuid7
from mercato.postgres import retried
from mercato.rpc import Key
from services.inventory import messages
from services.inventory.domain import Basket, Change, Claim, Kind, Ledger, Place, Stock, Warehouse, each_once
from services.inventory.refusals import OutOfStock, UnknownWarehouse
from services.inventory.reservation import Reservation, State
from services.inventory.till import Till
from services.inventory.work import Work

EXPIRED_AT_ONCE = 500
FORGOTTEN_AT_ONCE = 1000
TOLD_AT_ONCE = 250
"""SKUs of a consignment that an event tells of: some ten kilobytes."""
Outcome = Reservation | Exception


class Inventory:
    """What can be done with stock."""

    def __init__(self, work: Callable[[], Work], hold: timedelta) -> None:
        """`hold` is how long a reservation lasts that nobody commits."""
        self._work = work
        self._hold = hold

    def reserve_stock(self, basket: Basket) -> Reservation:
        """Hold every claim in one warehouse or none, until the hold runs out. Repeating it answers as the first time.

        One statement if the first look finds everything; whatever else there is to say is said to a set of one.
        """
        each_once(basket.claims)
        with self._work() as work:
            if taken := work.reservations.reserve(basket, self._hold):
                _tell_reserved(work, *taken)
                return taken[0]
        return _only(retried(lambda: self.reserve_together([Turn.of(basket)])))

    def reserve_together(self, turns: Sequence[Turn[Basket]]) -> list[Outcome]:
        """The same for baskets that came together, in one transaction; what each is told, in their order.

        What is refused looks again, once, if there are holds that ran out and nobody swept: a sweeper that is away
        must not cost a sale.
        """
        outcomes = self._serve(turns)
        refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, OutOfStock)]
        if refused and self._expire():
            for number, outcome in zip(refused, self._serve([turns[each] for each in refused]), strict=True):
                outcomes[number] = outcome
        return outcomes

    def _serve(self, turns: Sequence[Turn[Basket]]) -> list[Outcome]:
        with self._work() as work:
            till = _till(work, [turn.item for turn in turns], self._hold)
            served = [turn.decide(till.serve) for turn in turns]
            work.reservations.hold(till.held, till.ledger)
            return [_served(work, turn, each) for turn, each in zip(turns, served, strict=True)]

    def commit_reservation(self, reservation_id: UUID) -> Reservation:
        """Hold for good."""
        return _only(self.commit_together([Turn.of(reservation_id)]))

    def commit_together(self, turns: Sequence[Turn[UUID]]) -> list[Outcome]:
        """The same for reservations whose commits came together, in one transaction."""
        with self._work() as work:
            locked = {each.id: each for each in work.reservations.lock_all([turn.item for turn in turns])}
            now = dict(locked)
            outcomes: list[Outcome] = [turn.decide(partial(_commit, work, now)) for turn in turns]
            work.reservations.advance(*(each for each in now.values() if each is not locked[each.id]))
            return outcomes

    def release_reservation(self, reservation_id: UUID) -> Reservation:
        """Give the stock back. What is not known yet is refused when it comes."""
        return _only(retried(lambda: self.release_together([Turn.of(reservation_id)])))

    def release_together(self, turns: Sequence[Turn[UUID]]) -> list[Outcome]:
        """The same for reservations whose releases came together, in one transaction."""
        with self._work() as work:
            locked = {each.id: each for each in work.reservations.lock_all([turn.item for turn in turns])}
            held = {place for each in locked.values() if each.holds for place in each.places}
            ledger = work.stock.lock(held) if held else Ledger([])
            now = dict(locked)
            outcomes: list[Outcome] = [turn.decide(partial(_release, work, now, ledger)) for turn in turns]
            work.reservations.advance(*(now[each] for each, before in locked.items() if now[each] is not before))
            work.stock.write(ledger)
            work.reservations.bury(*(each for each in now.values() if each.id not in locked))
            return outcomes

    def consume_reservation(self, reservation_id: UUID, picked: Sequence[Claim]) -> Reservation:
        """Take what was picked out of the ledger, give the rest back."""
        units = {claim.sku: claim.quantity for claim in each_once(picked)}
        with self._work() as work:
            reservation = _locked(work, reservation_id)
            consumed = reservation.consume(units)
            if consumed is not reservation:
                work.reservations.advance(consumed)
                ledger = work.stock.lock(consumed.places)
                changes = consumed.hand_out(ledger, units)
                work.stock.write(ledger)
                _tell_of(work, consumed, messages.stock_consumed(consumed, changes), changes)
            return consumed

    def expire_reservations(self) -> bool:
        """Give back what some of the reservations hold whose time is over; True if there may be more of them."""
        return self._expire() == EXPIRED_AT_ONCE

    def _expire(self) -> int:
        with self._work() as work:
            expired = work.reservations.expire(EXPIRED_AT_ONCE) if work.reservations.due() else []
            ledger = work.stock.lock({place for reservation in expired for place in reservation.places})
            for reservation in expired:
                changes = reservation.give_back(ledger)
                _tell_of(work, reservation, messages.stock_released(reservation, changes), changes)
            work.stock.write(ledger)
        return len(expired)

    def forget_reservations(self, keep: timedelta) -> bool:
        """Delete some reservations that came to nothing longer ago than that; True if there may be more of them."""
        with self._work() as work:
            return work.reservations.forget(keep, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE

    def receive_stock(self, place: Place, quantity: int, reference: str, key: Key | None = None) -> Stock:
        """Book goods that came in."""
        with self._work() as work:
            if work.idempotency.find(key) is None:
                _require(work, place.warehouse_id)
                [change] = work.stock.bring(Kind.RECEIVED, place.warehouse_id, [Claim(place.sku, quantity)], reference)
                _tell(work, change)
                work.idempotency.made(key, place.sku)
            return _stock(work, place.sku)

    def batch_receive_stock(
        self, warehouse_id: str, claims: Sequence[Claim], reference: str, key: Key | None = None
    ) -> int:
        """Book a consignment, whole or not at all: how many SKUs, 0 if it was booked before."""
        each_once(claims)
        with self._work() as work:
            if work.idempotency.find(key) is not None:
                return 0
            _require(work, warehouse_id)
            changes = work.stock.bring(Kind.RECEIVED, warehouse_id, claims, reference)
            _tell_of_consignment(work, uuid7(), reference, changes)
            work.idempotency.made(key, warehouse_id)
        return len(claims)

    def adjust_stock(self, place: Place, delta: int, reason: str, etag: str, key: Key | None = None) -> Stock:
        """Correct the books by `delta` units, if nothing was moved since they were read."""
        with self._work() as work:
            if work.idempotency.find(key) is None:
                ledger = work.stock.lock_sku(place.sku)
                if not any(ledger):
                    raise NotFound(f"{place.sku} was never stocked")
                _require(work, place.warehouse_id)
                require_etag(etag, Stock(place.sku, tuple(ledger)).version)
                if place not in ledger:
                    ledger = work.stock.open(place)
                _tell(work, ledger.move(Kind.ADJUSTED, place, on_hand=delta, reference=reason))
                work.stock.write(ledger)
                work.idempotency.made(key, place.sku)
            return _stock(work, place.sku)

    def restock_return(
        self, return_id: UUID, order_id: UUID, warehouse_id: str, claims: Sequence[Claim]
    ) -> list[Stock]:
        """Put returned goods back: the stock of each SKU as it is now."""
        skus = [claim.sku for claim in each_once(claims)]
        with self._work() as work:
            if work.warehouses.take_back(return_id, order_id, warehouse_id, skus):
                _require(work, warehouse_id)
                changes = work.stock.bring(Kind.RESTOCKED, warehouse_id, claims, str(return_id))
                work.publish(messages.stock_restocked(return_id, order_id, changes), str(return_id), 1)
                _tell_crossings(work, changes)
            return work.stock.of(work.warehouses.taken_back(return_id))

    def put_warehouse(self, warehouse: Warehouse) -> Warehouse:
        """Create a warehouse or rename it."""
        with self._work() as work:
            work.warehouses.put(warehouse)
        return warehouse


def _till(work: Work, baskets: Sequence[Basket], hold: timedelta) -> Till:
    """A till with all in reach that these baskets may need. Only what is not answered already needs locks."""
    until, earlier = work.reservations.look([basket.reservation_id for basket in baskets], hold)
    fresh = [basket for basket in baskets if not _answered(earlier.get(basket.reservation_id))]
    ledger = work.stock.lock({place for basket in fresh for place in basket.places})
    seen = {level.warehouse_id for level in ledger}
    unseen = {name for basket in fresh for name in basket.warehouses} - seen
    return Till(ledger, earlier, seen | work.warehouses.known(list(unseen)) if unseen else seen, until)


def _answered(earlier: Reservation | None) -> bool:
    return earlier is not None and earlier.state is not State.EXPIRED


def _served(work: Work, turn: Turn[Basket], served: tuple[Reservation, list[Change]] | MercatoError) -> Outcome:
    if isinstance(served, MercatoError):
        return served
    reservation, changes = served
    if changes:
        turn.run(_tell_reserved, work, reservation, changes)
    return reservation


def _only(outcomes: Sequence[Outcome]) -> Reservation:
    [outcome] = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _commit(work: Work, known: dict[UUID, Reservation], reservation_id: UUID) -> Reservation:
    if not (reservation := known.get(reservation_id)):
        raise NotFound(f"there is no reservation {reservation_id}")
    committed = known[reservation_id] = reservation.commit()
    if committed is not reservation:
        _tell_of(work, committed, messages.stock_committed(committed))
    return committed


def _release(work: Work, known: dict[UUID, Reservation], ledger: Ledger, reservation_id: UUID) -> Reservation:
    reservation = known.get(reservation_id) or Reservation.tombstone(reservation_id)
    released = known[reservation_id] = reservation.release()
    if reservation.holds:
        changes = released.give_back(ledger)
        _tell_of(work, released, messages.stock_released(released, changes), changes)
    return released


def _locked(work: Work, reservation_id: UUID) -> Reservation:
    if not (reservation := work.reservations.lock(reservation_id)):
        raise NotFound(f"there is no reservation {reservation_id}")
    return reservation


def _require(work: Work, *warehouses: str) -> None:
    known = work.warehouses.known(warehouses)
    for warehouse_id in warehouses:
        if warehouse_id not in known:
            raise UnknownWarehouse(warehouse_id)


def _stock(work: Work, sku: str) -> Stock:
    return work.stock.of([sku])[0]


def _tell_of(work: Work, reservation: Reservation, event: Message, changes: Sequence[Change] = ()) -> None:
    work.publish(event, str(reservation.id), reservation.version)
    _tell_crossings(work, changes)


def _tell_reserved(work: Work, reservation: Reservation, changes: Sequence[Change]) -> None:
    _tell_of(work, reservation, messages.stock_reserved(reservation, changes), changes)


def _tell_of_consignment(work: Work, consignment_id: UUID, reference: str, changes: Sequence[Change]) -> None:
    for part, start in enumerate(range(0, len(changes), TOLD_AT_ONCE), 1):
        told = messages.consignment_received(consignment_id, reference, changes[start : start + TOLD_AT_ONCE])
        work.publish(told, str(consignment_id), part)
    _tell_crossings(work, changes)


def _tell(work: Work, change: Change) -> None:
    work.publish(messages.stock_moved(change), str(change.place), change.sequence)
    _tell_crossings(work, [change])


def _tell_crossings(work: Work, changes: Sequence[Change]) -> None:
    for change in changes:
        for sequence, crossing in enumerate(change.crossings, change.sequence + 1):
            work.publish(messages.crossed(crossing, change, sequence), str(change.place), sequence)
