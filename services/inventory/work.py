"""What the use cases need of a transaction: stock, the claims on it, warehouses, and the events that leave with it."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from google.protobuf.message import Message

from mercato.rpc import Key
from services.inventory.domain import Basket, Change, Claim, Kind, Ledger, Place, Stock, Warehouse
from services.inventory.reservation import Reservation


class Reservations(Protocol):
    """Claims, as one transaction sees and changes them."""

    def reserve(self, basket: Basket, hold: timedelta) -> tuple[Reservation, list[Change]] | None:
        """Take all lines in the first warehouse that has them, at the first look.

        None, and nothing written, if no warehouse has, the id is taken, or others were faster.
        """
        ...

    def look(self, ids: Sequence[UUID], hold: timedelta) -> tuple[datetime, dict[UUID, Reservation]]:
        """Until when what is held now lasts, and those of the reservations that there are; what ran out is locked."""
        ...

    def hold(self, held: Sequence[Reservation], ledger: Ledger) -> None:
        """Write new reservations and what they took. LostRace if somebody else took one of the ids meanwhile."""
        ...

    def lock(self, reservation_id: UUID) -> Reservation | None:
        """A reservation that nobody else changes until the transaction ends."""
        ...

    def lock_all(self, ids: Sequence[UUID]) -> Sequence[Reservation]:
        """Those of the reservations that there are, locked."""
        ...

    def bury(self, *tombstones: Reservation) -> None:
        """Leave tombstones. LostRace if somebody reserved one of the ids meanwhile."""
        ...

    def advance(self, *locked: Reservation) -> None:
        """Write the state and version of locked reservations."""
        ...

    def due(self) -> bool:
        """Whether there is a held reservation whose time has come."""
        ...

    def expire(self, most: int) -> list[Reservation]:
        """Let held reservations run out whose time has come."""
        ...

    def forget(self, keep: timedelta, most: int) -> int:
        """Delete reservations that came to nothing longer ago than that; how many."""
        ...


class StockLevels(Protocol):
    """Levels and their ledger, as one transaction sees and changes them."""

    def lock(self, places: Collection[Place]) -> Ledger:
        """The levels of these places, locked."""
        ...

    def lock_sku(self, sku: str) -> Ledger:
        """The levels of a SKU in every warehouse, locked."""
        ...

    def open(self, place: Place) -> Ledger:
        """The level of a place, locked; what was never stocked there begins with nothing."""
        ...

    def bring(self, kind: Kind, warehouse_id: str, claims: Sequence[Claim], reference: str) -> list[Change]:
        """Add goods to a warehouse; a SKU that was never there begins."""
        ...

    def write(self, ledger: Ledger) -> None:
        """Write what changed, and the changes themselves."""
        ...

    def of(self, skus: Sequence[str]) -> list[Stock]:
        """The stock of SKUs, by SKU."""
        ...


class Warehouses(Protocol):
    """The places, and the returns that were put back there."""

    def put(self, warehouse: Warehouse) -> None:
        """Create a warehouse or rename it."""
        ...

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of the warehouses that exist."""
        ...

    def take_back(self, return_id: UUID, order_id: UUID, warehouse_id: str, skus: Sequence[str]) -> bool:
        """Note that a return is put back. False if it was already."""
        ...

    def taken_back(self, return_id: UUID) -> list[str]:
        """The SKUs that a return brought."""
        ...


class Idempotency(Protocol):
    """Requests that were answered already."""

    def find(self, key: Key | None) -> str | None:
        """What the first request with the key made; None if this is the first."""
        ...

    def made(self, key: Key | None, resource_id: str) -> None:
        """Note what this one made."""
        ...


class Work(Protocol):
    """One transaction and the events that leave with it. Leaving it by an exception undoes it all."""

    @property
    def reservations(self) -> Reservations: ...
    @property
    def stock(self) -> StockLevels: ...
    @property
    def warehouses(self) -> Warehouses: ...
    @property
    def idempotency(self) -> Idempotency: ...
    def publish(self, event: Message, aggregate_id: str, version: int) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
