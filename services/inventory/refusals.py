"""Why inventory says no: the reasons that callers are told."""

from collections.abc import Sequence

from mercato.errors import FailedPrecondition
from services.inventory.domain import Shortage


class OutOfStock(FailedPrecondition):
    """No warehouse serves the whole basket. Names what is short in the one that comes closest."""

    def __init__(self, short: Sequence[Shortage]) -> None:
        told = ", ".join(f"only {line.available} left of {line.sku}" for line in short)
        lines = [{"sku": line.sku, "wanted": line.wanted, "available": line.available} for line in short]
        super().__init__(told, skus=lines)


class UnknownWarehouse(FailedPrecondition):
    """There is no such warehouse."""

    def __init__(self, warehouse_id: str) -> None:
        super().__init__(f"there is no warehouse {warehouse_id}", warehouse_id=warehouse_id)


class ReservationReleased(FailedPrecondition):
    """The reservation was released, which is final."""


class ReservationExpired(FailedPrecondition):
    """The reservation ran out."""


class ReservationNotCommitted(FailedPrecondition):
    """Only a committed reservation can be consumed."""


class ReservationConsumed(FailedPrecondition):
    """The goods have left, which is final."""


class PickedTooMuch(FailedPrecondition):
    """More was picked than the reservation holds."""

    def __init__(self, sku: str, picked: int, held: int) -> None:
        super().__init__(f"{picked} picked of {held} held of {sku}", sku=sku, picked=picked, held=held)
