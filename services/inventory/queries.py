"""Reads that bypass the ledger: each one statement, none locks anything."""

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row, dict_row

from mercato.errors import NotFound
from mercato.postgres import Database
from services.inventory.domain import Availability, Level, Movement, Stock, Warehouse
from services.inventory.reservation import Reservation
from services.inventory.statements import FIND, LEVELS
from services.inventory.store import reservation_of, stock_of

BEST: LiteralString = "select sku, max(available) as available from inventory.stock where sku = any(%s) group by sku"

# The page is cut by SKU, then every level of its SKUs is read.
LIST_STOCK: LiteralString = """
    select sku, warehouse_id, on_hand, reserved, version, sequence
    from inventory.stock
    where sku in (
        select distinct sku from inventory.stock
        where sku > %(after)s and (%(warehouse)s = '' or warehouse_id = %(warehouse)s)
        order by sku
        limit %(most)s
    )
    order by sku, warehouse_id
"""

LIST_MOVEMENTS: LiteralString = """
    select id, sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference, create_time
    from inventory.movement
    where sku = %(sku)s and (%(before)s::bigint is null or id < %(before)s)
    order by id desc
    limit %(most)s
"""

LIST_WAREHOUSES: LiteralString = "select id, name from inventory.warehouse where id > %s order by id limit %s"


class StockQueries:
    """Reads on the schema `inventory`."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    def availability(self, skus: Sequence[str]) -> list[tuple[str, Availability]]:
        """How much there is of each SKU in the warehouse that has most of it, in the order asked for."""
        with self._database.reading() as connection, connection.cursor(row_factory=dict_row) as cursor:
            best = {row["sku"]: row["available"] for row in cursor.execute(BEST, [list(skus)])}
        return [(sku, Availability.of(best.get(sku, 0))) for sku in skus]

    def stock(self, sku: str) -> Stock:
        """One SKU. NotFound if it was never stocked."""
        for stock in stock_of(self._levels(LEVELS, [[sku]])):
            return stock
        raise NotFound(f"{sku} was never stocked")

    def list_stock(self, warehouse_id: str, after: Sequence[str], most: int) -> list[Stock]:
        """SKUs after one of them; only those that a warehouse ever had, if one is named."""
        values = {"warehouse": warehouse_id, "after": after[0] if after else "", "most": most}
        return stock_of(self._levels(LIST_STOCK, values))

    def list_movements(self, sku: str, before: Sequence[int], most: int) -> list[Movement]:
        """What moved a SKU, the newest first, before one of them. NotFound if it was never stocked."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Movement)) as cursor:
            values = {"sku": sku, "before": before[0] if before else None, "most": most}
            movements = cursor.execute(LIST_MOVEMENTS, values).fetchall()
        if not movements and not before:
            self.stock(sku)
        return movements

    def list_warehouses(self, after: Sequence[str], most: int) -> list[Warehouse]:
        """Warehouses after one of them."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Warehouse)) as cursor:
            return cursor.execute(LIST_WAREHOUSES, [after[0] if after else "", most]).fetchall()

    def reservation(self, reservation_id: UUID) -> Reservation:
        """One reservation. NotFound."""
        with self._database.reading() as connection, connection.cursor(row_factory=dict_row) as cursor:
            if row := cursor.execute(FIND, [reservation_id]).fetchone():
                return reservation_of(row)
        raise NotFound(f"there is no reservation {reservation_id}")

    def _levels(self, statement: LiteralString, values: Any) -> list[Level]:
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Level)) as cursor:
            return cursor.execute(statement, values).fetchall()
