"""Stock, its ledger and the claims on it in PostgreSQL, as one transaction sees and changes them."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, dict_row, scalar_row

from mercato.postgres import LostRace, Work
from services.inventory.domain import (
    LOW_AT,
    Basket,
    Change,
    Claim,
    Kind,
    Ledger,
    Level,
    Place,
    Stock,
    TooMuch,
    Warehouse,
)
from services.inventory.reservation import Reservation, State
from services.inventory.statements import (
    ADVANCE,
    BRING,
    BURY,
    DUE,
    EXPIRE,
    FIND,
    FORGET,
    HOLD,
    LEVELS,
    LOCK,
    LOCK_ALL,
    LOOK,
    OPEN,
    PUT_WAREHOUSE,
    RESERVE,
    RESTOCK,
    WRITE,
)

CONSTRAINTS = {"stock_on_hand": TooMuch}
LEVEL = ("sku", "warehouse_id", "on_hand", "reserved", "version", "sequence")


class ReservationStore:
    """Claims in PostgreSQL."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection

    def reserve(self, basket: Basket, hold: timedelta) -> tuple[Reservation, list[Change]] | None:
        """Take all lines in the first warehouse that has them, at the first look.

        None, and nothing written, if no warehouse has, the id is taken, or others were faster.
        """
        values = {
            "id": basket.reservation_id,
            "order_id": basket.order_id,
            "warehouses": list(basket.warehouses),
            "skus": [claim.sku for claim in basket.claims],
            "quantities": [claim.quantity for claim in basket.claims],
            "hold": hold,
            "low": LOW_AT,
        }
        rows = _rows(self._connection, RESERVE, values)
        return _reserved(basket, rows) if rows else None

    def look(self, ids: Sequence[UUID], hold: timedelta) -> tuple[datetime, dict[UUID, Reservation]]:
        """Until when what is held now lasts, and those of the reservations that there are; what ran out is locked."""
        rows = _rows(self._connection, LOOK, {"ids": list(ids), "hold": hold})
        found = {row["id"]: reservation_of(row) for row in rows if row["id"]}
        if expired := [each.id for each in found.values() if each.state is State.EXPIRED]:
            found |= {each.id: each for each in self.lock_all(expired)}
        return rows[0]["until"], found

    def hold(self, held: Sequence[Reservation], ledger: Ledger) -> None:
        """Write new reservations and what they took. LostRace if somebody else took one of the ids meanwhile."""
        if held:
            changed = ledger.changed
            values = {
                "held": json.dumps([_held_columns(each) for each in held]),
                "until": held[0].expire_time,
                "skus": [level.sku for level in changed],
                "warehouses": [level.warehouse_id for level in changed],
                "reserved": [level.reserved for level in changed],
                "sequences": [level.sequence for level in changed],
            }
            with self._connection.cursor(row_factory=scalar_row) as cursor:
                if cursor.execute(HOLD, values).fetchone() != len(held):
                    raise LostRace("the reservation was made or released at the same moment; try again")

    def find(self, reservation_id: UUID) -> Reservation | None:
        """A reservation as it is."""
        return _one(_rows(self._connection, FIND, [reservation_id]))

    def lock(self, reservation_id: UUID) -> Reservation | None:
        """A reservation that nobody else changes until this transaction ends."""
        return _one(_rows(self._connection, FIND + " for update", [reservation_id]))

    def lock_all(self, ids: Sequence[UUID]) -> list[Reservation]:
        """Those of the reservations that there are, by id; nobody else changes them until this transaction ends."""
        return [reservation_of(row) for row in _rows(self._connection, LOCK_ALL, [list(ids)])]

    def bury(self, *tombstones: Reservation) -> None:
        """Leave tombstones. LostRace if somebody reserved one of the ids meanwhile."""
        ids = [each.id for each in tombstones]
        if ids and self._connection.execute(BURY, [ids]).rowcount != len(ids):
            raise LostRace("the reservation was made or released at the same moment; try again")

    def advance(self, *locked: Reservation) -> None:
        """Write the state and version of locked reservations."""
        columns = (
            [each.id for each in locked],
            [str(each.state) for each in locked],
            [each.version for each in locked],
        )
        if locked:
            self._connection.execute(ADVANCE, columns)

    def due(self) -> bool:
        """Whether there is a held reservation whose time has come."""
        [due] = self._connection.execute(DUE).fetchone() or [False]
        return bool(due)

    def expire(self, most: int) -> list[Reservation]:
        """Let held reservations run out whose time has come by the database's clock, oldest first."""
        return [reservation_of(row) for row in _rows(self._connection, EXPIRE, [most])]

    def forget(self, keep: timedelta, most: int) -> int:
        """Delete reservations that came to nothing longer ago than that; how many."""
        return self._connection.execute(FORGET, [keep, most]).rowcount


class StockStore:
    """Levels and their ledger in PostgreSQL."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection

    def lock(self, places: Collection[Place]) -> Ledger:
        """The levels of these places, locked."""
        skus, warehouses = [place.sku for place in places], [place.warehouse_id for place in places]
        return Ledger(self._levels(LOCK, [skus, warehouses]))

    def lock_sku(self, sku: str) -> Ledger:
        """The levels of a SKU in every warehouse, locked."""
        return Ledger(self._levels(LEVELS + " for update", [[sku]]))

    def open(self, place: Place) -> Ledger:
        """The level of a place, locked; what was never stocked there begins with nothing."""
        self._connection.execute(OPEN, place)
        return self.lock([place])

    def bring(self, kind: Kind, warehouse_id: str, claims: Sequence[Claim], reference: str) -> list[Change]:
        """Add goods to a warehouse. TooMuch (by constraint)."""
        values = {
            "skus": [claim.sku for claim in claims],
            "quantities": [claim.quantity for claim in claims],
            "warehouse": warehouse_id,
            "kind": str(kind),
            "reference": reference,
        }
        rows = self._connection.execute(BRING, values).fetchall()
        return [_brought(kind, warehouse_id, reference, *row) for row in rows]

    def write(self, ledger: Ledger) -> None:
        """Write the levels that changed, and the changes themselves."""
        if ledger.changes:
            self._connection.execute(WRITE, _level_columns(ledger.changed) | _move_columns(ledger.changes))

    def of(self, skus: Sequence[str]) -> list[Stock]:
        """The stock of SKUs, by SKU."""
        return stock_of(self._levels(LEVELS, [list(skus)]))

    def _levels(self, statement: LiteralString, values: Any) -> list[Level]:
        with self._connection.cursor(row_factory=class_row(Level)) as cursor:
            return cursor.execute(statement, values).fetchall()


class WarehouseStore:
    """Warehouses in PostgreSQL, and the returns that were put back there."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection

    def put(self, warehouse: Warehouse) -> None:
        """Create a warehouse or rename it."""
        self._connection.execute(PUT_WAREHOUSE, [warehouse.id, warehouse.name])

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of the warehouses that exist."""
        return set(self._column("select id from inventory.warehouse where id = any(%s)", [list(ids)]))

    def take_back(self, return_id: UUID, order_id: UUID, warehouse_id: str, skus: Sequence[str]) -> bool:
        """Note that a return is put back. False if it was already."""
        return self._connection.execute(RESTOCK, [return_id, order_id, warehouse_id, list(skus)]).rowcount == 1

    def taken_back(self, return_id: UUID) -> list[str]:
        """The SKUs that a return brought."""
        return self._column("select unnest(skus) from inventory.restock where return_id = %s", [return_id])

    def _column(self, statement: LiteralString, values: Any) -> list[str]:
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(statement, values).fetchall()


def stock_of(levels: Iterable[Level]) -> list[Stock]:
    """Levels that are ordered by SKU, as the stock of each."""
    return [Stock(sku, tuple(group)) for sku, group in groupby(levels, key=lambda level: level.sku)]


def _rows(connection: Connection[Any], statement: LiteralString, values: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()


def _level_columns(levels: Sequence[Level]) -> dict[str, list[Any]]:
    return {
        "skus": [level.sku for level in levels],
        "warehouses": [level.warehouse_id for level in levels],
        "on_hand": [level.on_hand for level in levels],
        "reserved": [level.reserved for level in levels],
        "versions": [level.version for level in levels],
        "sequences": [level.sequence for level in levels],
    }


def _move_columns(moves: Sequence[Change]) -> dict[str, list[Any]]:
    return {
        "m_skus": [move.before.sku for move in moves],
        "m_warehouses": [move.before.warehouse_id for move in moves],
        "m_kinds": [str(move.kind) for move in moves],
        "m_on_hand": [move.on_hand for move in moves],
        "m_reserved": [move.reserved for move in moves],
        "m_references": [move.reference for move in moves],
    }


class InventoryWork(Work):
    """One transaction on stock, and the events that leave with it."""

    reservations: ReservationStore
    stock: StockStore
    warehouses: WarehouseStore

    def opened(self) -> None:
        """Give every store the connection."""
        self.reservations = ReservationStore(self.connection)
        self.stock = StockStore(self.connection)
        self.warehouses = WarehouseStore(self.connection)


def _one(rows: list[dict[str, Any]]) -> Reservation | None:
    return reservation_of(rows[0]) if rows else None


def reservation_of(row: dict[str, Any]) -> Reservation:
    """A reservation, its lines zipped from two columns."""
    return Reservation(
        row["id"],
        row["order_id"],
        row["warehouse_id"],
        State(row["state"]),
        tuple(map(Claim, row["skus"], row["quantities"])),
        row["expire_time"],
        row["version"],
    )


def _brought(
    kind: Kind,
    warehouse_id: str,
    reference: str,
    sku: str,
    on_hand: int,
    reserved: int,
    version: int,
    sequence: int,
    units: int,
) -> Change:
    # The row is the level afterwards; what it was follows, and from that the same change as everywhere.
    came_back = on_hand - units == reserved and sequence > 1
    before = Level(sku, warehouse_id, on_hand - units, reserved, version - 1, sequence - 1 - came_back)
    return Change.of(kind, before, on_hand=units, reference=reference)


def _held_columns(held: Reservation) -> dict[str, object]:
    return {
        "id": str(held.id),
        "order_id": str(held.order_id),
        "warehouse_id": held.warehouse_id,
        "skus": [claim.sku for claim in held.claims],
        "quantities": [claim.quantity for claim in held.claims],
        "version": held.version,
    }


def _reserved(basket: Basket, rows: list[dict[str, Any]]) -> tuple[Reservation, list[Change]]:
    # The rows are the levels as they were locked: what became of them follows by the same rules as everywhere.
    ledger = Ledger(Level(**{name: row[name] for name in LEVEL}) for row in rows)
    reservation = Reservation(
        basket.reservation_id,
        basket.order_id,
        rows[0]["warehouse_id"],
        State.HELD,
        basket.claims,
        rows[0]["expire_time"],
    )
    return reservation, reservation.take(ledger)
