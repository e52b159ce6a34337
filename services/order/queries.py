"""Reads that bypass the aggregate: the order as it is now, lists of orders, the board."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.rows import class_row

from mercato.postgres import Database
from services.order.store import PersonalRow

_ORDERS: LiteralString = """
    select v.order_id, v.customer_id, v.document, p.recipient, p.line1, p.line2, p.postal_code, p.city, p.country_code,
        p.phone, p.latitude, p.longitude, p.note, p.return_reason, p.erase_time is not null as erased
    from order_view v join personal p using (order_id)
"""
GET: LiteralString = _ORDERS + "where v.order_id = %s"
LIST: LiteralString = (
    _ORDERS
    + """
    where (%(customer_id)s::uuid is null or v.customer_id = %(customer_id)s)
      and (%(state)s::text is null or v.state = %(state)s)
      and (%(since)s::timestamptz is null or v.create_time >= %(since)s)
      and (%(before)s::uuid is null or v.order_id < %(before)s)
    order by v.order_id desc limit %(limit)s
"""
)
COUNTS: LiteralString = """
    select state, count(*)::int as count, min(state_time) as oldest_time from order_view group by state order by state
"""
PICK_LIST: LiteralString = """
    select document from order_view
    where state in ('CONFIRMED', 'PICKING') and (%(warehouse_id)s = '' or warehouse_id = %(warehouse_id)s)
    order by slot_start_time, order_id limit %(limit)s
"""
PICK_LIST_LENGTH = 200


@dataclass(frozen=True, slots=True)
class OrderRow(PersonalRow):
    """An order as it is now: what everybody may see, ready for the wire, and what is personal."""

    order_id: UUID
    customer_id: UUID
    document: bytes


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many orders stand in a state, and since when the oldest."""

    state: str
    count: int
    oldest_time: datetime


@dataclass(frozen=True, slots=True)
class Pick:
    """An order that is to be picked."""

    document: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders are wanted."""

    customer_id: UUID | None = None
    state: str | None = None
    since: datetime | None = None


class OrderQueries:
    """Reads orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, order_id: UUID) -> OrderRow | None:
        """An order."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(OrderRow)) as cursor:
            return cursor.execute(GET, (order_id,)).fetchone()

    def find(self, wanted: Filter, before: UUID | None, limit: int) -> Sequence[OrderRow]:
        """Orders older than one of them, the newest first."""
        values = {
            "customer_id": wanted.customer_id,
            "state": wanted.state,
            "since": wanted.since,
            "before": before,
            "limit": limit,
        }
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(OrderRow)) as cursor:
            return cursor.execute(LIST, values).fetchall()

    def counts(self) -> Sequence[StateCount]:
        """How many orders stand where."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(StateCount)) as cursor:
            return cursor.execute(COUNTS).fetchall()

    def pick_list(self, warehouse_id: str) -> Sequence[Pick]:
        """What is to be picked, the most urgent first."""
        values = {"warehouse_id": warehouse_id, "limit": PICK_LIST_LENGTH}
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Pick)) as cursor:
            return cursor.execute(PICK_LIST, values).fetchall()
