"""An order's claim on stock, and what may become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from services.inventory.domain import Change, Claim, Kind, Ledger, Place
from services.inventory.refusals import (
    PickedTooMuch,
    ReservationConsumed,
    ReservationExpired,
    ReservationNotCommitted,
    ReservationReleased,
)


class State(StrEnum):
    """Where a reservation stands."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    CONSUMED = "CONSUMED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """An order's claim on stock in one warehouse. Its version numbers its events."""

    id: UUID
    order_id: UUID | None
    warehouse_id: str | None
    state: State
    claims: tuple[Claim, ...]
    expire_time: datetime | None
    version: int = 1

    @classmethod
    def tombstone(cls, reservation_id: UUID) -> Self:
        """What a release leaves that came before its reservation: the late one is refused."""
        return cls(reservation_id, None, None, State.RELEASED, (), None)

    @property
    def holds(self) -> bool:
        """Whether units are reserved for it."""
        return self.state in (State.HELD, State.COMMITTED)

    @property
    def places(self) -> list[Place]:
        """Where its units lie."""
        return [Place(claim.sku, self.warehouse_id or "") for claim in self.claims]

    def again(self) -> "Reservation | None":
        """The answer to a repeated reserve; None if it must reserve afresh."""
        match self.state:
            case State.RELEASED:
                raise ReservationReleased
            case State.EXPIRED:
                return None
            case _:
                return self

    def commit(self) -> "Reservation":
        """Hold for good. Whoever changes the state first wins: no look at the time, the sweeper has that."""
        match self.state:
            case State.HELD:
                return self._next(State.COMMITTED)
            case State.RELEASED:
                raise ReservationReleased
            case State.EXPIRED:
                raise ReservationExpired
            case _:
                return self

    def release(self) -> "Reservation":
        """Give up the claim, for ever: even what ran out is reserved no more."""
        match self.state:
            case State.RELEASED:
                return self
            case State.CONSUMED:
                raise ReservationConsumed
            case _:
                return self._next(State.RELEASED)

    def consume(self, picked: Mapping[str, int]) -> "Reservation":
        """The goods leave. What was picked must be within the claim."""
        match self.state:
            case State.CONSUMED:
                return self
            case State.RELEASED:
                raise ReservationReleased
            case State.COMMITTED:
                self._check(picked)
                return self._next(State.CONSUMED)
            case _:
                raise ReservationNotCommitted

    def take(self, ledger: Ledger) -> list[Change]:
        """Move its units away from those that may be reserved."""
        return [self._move(ledger, Kind.RESERVED, claim, reserved=claim.quantity) for claim in self.claims]

    def give_back(self, ledger: Ledger) -> list[Change]:
        """Move its units back to those that may be reserved."""
        return [self._move(ledger, Kind.RELEASED, claim, reserved=-claim.quantity) for claim in self.claims]

    def hand_out(self, ledger: Ledger, picked: Mapping[str, int]) -> list[Change]:
        """Move what was picked out of the warehouse, and give the rest back with it."""
        return [
            self._move(ledger, Kind.CONSUMED, claim, on_hand=-picked.get(claim.sku, 0), reserved=-claim.quantity)
            for claim in self.claims
        ]

    def _move(self, ledger: Ledger, kind: Kind, claim: Claim, *, on_hand: int = 0, reserved: int = 0) -> Change:
        place = Place(claim.sku, self.warehouse_id or "")
        return ledger.move(kind, place, on_hand=on_hand, reserved=reserved, reference=str(self.id))

    def _check(self, picked: Mapping[str, int]) -> None:
        held = {claim.sku: claim.quantity for claim in self.claims}
        for sku, quantity in picked.items():
            if quantity > held.get(sku, 0):
                raise PickedTooMuch(sku, quantity, held.get(sku, 0))

    def _next(self, state: State) -> "Reservation":
        return replace(self, state=state, version=self.version + 1)
