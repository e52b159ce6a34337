"""What a customer holds of the shop by orders that are still pending, and how much that may be.

A checkout that does not end (a card that never answers) keeps stock and places from others. Nobody buys so much at once
that the caps are in the way; whoever only holds is stopped by them.
"""

from dataclasses import dataclass
from uuid import UUID

from services.order.refusals import TooMuchHeld


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose checkout something is, and how many units it takes from others while it lasts."""

    holder: UUID | None = None
    units: int = 0


NO_CLAIM = Claim()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a customer stands who wants to order: whether they were erased, and what they hold already."""

    erased: bool = False
    orders: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that a customer's pending orders may be and hold. 0: as much as they like."""

    orders: int = 0
    units: int = 0

    def check(self, standing: Standing, wanted: int) -> None:
        """Refuse an order of so many units more. TooMuchHeld."""
        if self.orders and standing.orders >= self.orders:
            raise TooMuchHeld(f"{standing.orders} orders are still pending; wait for them", pending=standing.orders)
        if self.units and standing.units + wanted > self.units:
            raise TooMuchHeld(
                f"pending orders may hold {self.units} units, and {standing.units} are held; order fewer, or wait",
                held=standing.units,
            )
