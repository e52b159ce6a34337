"""The delivery of one order: forward only, from planned to handed over, failed or called off.

PLANNED → READY → ASSIGNED → PICKED_UP → DELIVERED | FAILED, and CANCELLED from any state before PICKED_UP. A courier
may be named before the goods are packed: the shipment stays PLANNED and is ASSIGNED as soon as it is ready.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from mercato.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mercato.money import Money
from services.delivery.domain import Slot
from services.delivery.geometry import distance

COURIER_SPEED = 20.0  # kilometres an hour, through a town
_SHOWN_DIGITS = 2


class HoldNotConfirmed(FailedPrecondition):
    """Only a confirmed place is delivered in."""


class UnknownCourier(FailedPrecondition):
    """There is no such courier."""

    def __init__(self, courier_id: UUID) -> None:
        super().__init__(f"there is no courier {courier_id}", courier_id=str(courier_id))


class CourierExists(AlreadyExists):
    """The user is a courier already."""


class ShipmentCancelled(FailedPrecondition):
    """The delivery was called off, which is final."""


class ShipmentUnderWay(FailedPrecondition):
    """The goods were picked up: nobody else takes them, and nobody calls them off."""


class ShipmentNotReady(FailedPrecondition):
    """The goods are not packed."""


class ShipmentNotPickedUp(FailedPrecondition):
    """The courier does not have the goods."""


class ShipmentOver(FailedPrecondition):
    """The delivery has ended."""


class State(StrEnum):
    """Where a shipment stands."""

    PLANNED = "PLANNED"
    READY = "READY"
    ASSIGNED = "ASSIGNED"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_OVER = (State.DELIVERED, State.FAILED, State.CANCELLED)
_BEFORE_PICK_UP = (State.PLANNED, State.READY, State.ASSIGNED)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and to whom a shipment goes: the person's part of it. The place is (latitude, longitude)."""

    recipient: str
    line1: str
    line2: str
    postal_code: str
    city: str
    country_code: str
    phone: str
    note: str
    place: tuple[float, float] | None

    @property
    def masked(self) -> Self:
        """The same with a telephone number that only its owner recognises."""
        hidden = max(len(self.phone) - _SHOWN_DIGITS, 0)
        return replace(self, phone="•" * hidden + self.phone[hidden:])


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order asks to be brought."""

    shipment_id: UUID
    order_id: UUID
    hold_id: UUID
    customer_id: UUID
    destination: Destination
    cash_due: Money | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where the courier was, and when."""

    place: tuple[float, float]
    time: datetime


@dataclass(frozen=True, slots=True)
class Shipment:
    """The delivery of an order. Its version numbers its events."""

    id: UUID
    order_id: UUID | None
    customer_id: UUID | None
    slot: Slot | None
    state: State
    create_time: datetime
    update_time: datetime
    courier_id: UUID | None = None
    cash_due: Money | None = None
    cash_collected: Money | None = None
    failure_reason: str = ""
    position: Position | None = None
    destination: Destination | None = None
    version: int = 1

    @property
    def tombstone(self) -> bool:
        """Whether it was called off before it was planned: nobody's, and shown to nobody."""
        return self.order_id is None

    @property
    def estimated_arrival(self) -> datetime | None:
        """At the latest the end of the slot; on its way, what the distance says. Nothing once it is over."""
        if self.state in _OVER or self.slot is None:
            return None
        if self.state is State.PICKED_UP and self.position and self.destination and self.destination.place:
            way = distance(self.position.place, self.destination.place)
            return self.position.time + timedelta(hours=way / COURIER_SPEED)
        return self.slot.end_time

    def shown_to(self, subject: str, roles: frozenset[str]) -> Self:
        """The destination whole to the customer, admin and, until it is over, the courier; masked to support."""
        if (subject and subject == str(self.customer_id)) or "admin" in roles:
            return self
        if subject and subject == str(self.courier_id) and self.state not in _OVER:
            return self
        if "support" in roles:
            return replace(self, destination=self.destination and self.destination.masked)
        # Where the courier was last is the customer's door.
        return replace(self, destination=None, position=None if self.state in _OVER else self.position)

    def planned(self) -> Self:
        """The answer to a repeated plan."""
        if self.state is State.CANCELLED:
            raise ShipmentCancelled
        return self

    def ready(self, cash_due: Money | None) -> Self:
        """The goods are packed; whoever was named already has them to bring."""
        if self.state is State.CANCELLED:
            raise ShipmentCancelled
        if self.state is not State.PLANNED:
            return self
        packed = self._next(State.READY, cash_due=cash_due)
        return packed.assign(self.courier_id) if self.courier_id else packed

    def assign(self, courier_id: UUID) -> Self:
        """Give it to a courier, or to another one."""
        if self.state is State.CANCELLED:
            raise ShipmentCancelled
        if self.state not in _BEFORE_PICK_UP:
            raise ShipmentUnderWay
        if self.courier_id == courier_id and self.state is not State.READY:
            return self
        return self._next(State.PLANNED if self.state is State.PLANNED else State.ASSIGNED, courier_id=courier_id)

    def pick_up(self) -> Self:
        """The courier takes the goods along."""
        match self.state:
            case State.ASSIGNED:
                return self._next(State.PICKED_UP)
            case State.PICKED_UP:
                return self
            case State.PLANNED | State.READY:
                raise ShipmentNotReady
            case _:
                raise self._ended()

    def deliver(self, cash_collected: Money | None) -> Self:
        """The courier hands the goods over, and collects what is due if nothing else is said."""
        if self.state is State.DELIVERED:
            return self
        self._require_picked_up()
        return self._next(State.DELIVERED, cash_collected=self._collected(cash_collected))

    def fail(self, reason: str) -> Self:
        """The courier could not hand the goods over."""
        if self.state is State.FAILED:
            return self
        self._require_picked_up()
        return self._next(State.FAILED, failure_reason=reason)

    def report(self, position: Position) -> Self:
        """The courier is there now. No event tells of it, so the version stays."""
        if self.state in _OVER:
            raise ShipmentOver
        self._require_picked_up()
        return replace(self, position=position)

    def cancel(self) -> Self:
        """Call it off."""
        if self.state is State.CANCELLED:
            return self
        if self.state not in _BEFORE_PICK_UP:
            raise ShipmentUnderWay
        return self._next(State.CANCELLED)

    def require_courier(self, courier_id: UUID) -> None:
        """NotFound, as if there were none, for anybody but the courier who was given it."""
        if self.tombstone or self.courier_id != courier_id:
            raise NotFound

    def _require_picked_up(self) -> None:
        if self.state in _OVER:
            raise self._ended()
        if self.state is not State.PICKED_UP:
            raise ShipmentNotPickedUp

    def _ended(self) -> FailedPrecondition:
        return ShipmentCancelled() if self.state is State.CANCELLED else ShipmentOver()

    def _collected(self, collected: Money | None) -> Money | None:
        if collected is None:
            return self.cash_due or None
        if self.cash_due is None and collected:
            raise InvalidArgument.of("cashCollected", "nothing is due at this door", "NOTHING_DUE")
        if self.cash_due is not None and collected.currency != self.cash_due.currency:
            raise InvalidArgument.of("cashCollected.currencyCode", f"must be {self.cash_due.currency}", "CURRENCY")
        if collected.amount < 0:
            raise InvalidArgument.of("cashCollected", "must not be negative", "RANGE")
        return collected or None

    def _next(self, state: State, **changes: object) -> Self:
        return replace(self, state=state, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
