"""Reads that bypass the aggregate: the order as it is now, lists of orders, the board, the history.

Lists, board and history are projections, some milliseconds behind. Whoever placed an order looks for it at once, so a
read adds what the projection has not come to: orders with events behind its checkpoint are taken as the view has them,
which is written with the event. One statement sees checkpoint, rows, events and view as of one moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.rows import class_row

from mercato.group_commit import GroupCommit, Turn
from mercato.idempotency import Idempotency, Made, recognised
from mercato.postgres import Database
from mercato.rpc import Key
from services.order.history import Entry
from services.order.personal import Personal
from services.order.store import PersonalRow, PersonalStore

_ORDERS: LiteralString = """
    select v.order_id, v.customer_id, v.document, p.recipient, p.line1, p.line2, p.postal_code, p.city, p.country_code,
        p.phone, p.latitude, p.longitude, p.note, p.return_reason, p.erase_time is not null as erased
    from order_view v join personal p using (order_id)
"""
GET: LiteralString = _ORDERS + "where v.order_id = %s"
# Orders that the projection has not come to. So many at most: where it has stopped, reads stay cheap, and are behind.
# What has a number that this cluster has not come to is from before a restore, and was taken in then.
READ_AHEAD = 1000
_REACHED: LiteralString = """
    reached as (select generation, xid, position from projection where name = %(projection)s and live),
    tail as materialized (
        select distinct ahead.stream_id as order_id from reached cross join lateral (
            select stream_id from events e
            where (e.xid, e.position) > (reached.xid, reached.position)
                and e.xid < pg_snapshot_xmax(pg_current_snapshot())
            order by e.xid, e.position limit %(read_ahead)s) ahead)
"""
LIST: LiteralString = (
    "with"
    + _REACHED
    + """,
    found as (
        (select l.stream_id as order_id from order_list l join reached using (generation)
        where (%(customer_id)s::uuid is null or l.customer_id = %(customer_id)s)
            and (%(state)s::text is null or l.state = %(state)s)
            and (%(since)s::timestamptz is null or l.create_time >= %(since)s)
            and (%(before)s::uuid is null or l.stream_id < %(before)s)
            and not exists (select from tail where tail.order_id = l.stream_id)
        order by l.stream_id desc limit %(limit)s)
        union all
        select order_id from order_view join tail using (order_id)
        where (%(customer_id)s::uuid is null or customer_id = %(customer_id)s)
            and (%(state)s::text is null or state = %(state)s)
            and (%(since)s::timestamptz is null or create_time >= %(since)s)
            and (%(before)s::uuid is null or order_id < %(before)s)
    )
"""
    + _ORDERS
    + "join found using (order_id) order by order_id desc limit %(limit)s"
)
_BOARD: LiteralString = (
    "with"
    + _REACHED
    + """,
    board as (
        select b.stream_id as order_id, b.state, b.state_time, b.warehouse_id, b.slot_start_time
        from order_board b join reached using (generation)
        where not exists (select from tail where tail.order_id = b.stream_id)
        union all
        select order_id, state, state_time, warehouse_id, slot_start_time from order_view join tail using (order_id))
"""
)
COUNTS: LiteralString = (
    _BOARD + "select state, count(*)::int as count, min(state_time) as oldest_time from board group by state order by 1"
)
PICK_LIST: LiteralString = (
    _BOARD
    + """
    , picks as (
        select order_id, slot_start_time from board
        where state in ('CONFIRMED', 'PICKING') and (%(warehouse_id)s = '' or warehouse_id = %(warehouse_id)s)
        order by slot_start_time, order_id limit %(limit)s)
    select document from picks join order_view using (order_id) order by picks.slot_start_time, order_id
"""
)
PICK_LIST_LENGTH = 200
VERSIONS: LiteralString = "select order_id, version from order_view where order_id = any(%s)"
# The first column says whether all that happened is there.
HISTORY: LiteralString = """
    with reached as (select generation, xid, position from projection where name = %(projection)s and live)
    select not exists (
            select from events e where e.stream_id = %(order_id)s
                and (e.xid, e.position) > (reached.xid, reached.position)
                and e.xid < pg_snapshot_xmax(pg_current_snapshot())),
        h.version, h.type, h.time, h.text, h.data
    from reached left join order_history h on h.generation = reached.generation and h.stream_id = %(order_id)s
        and h.version > %(after)s
    order by h.version
"""


@dataclass(frozen=True, slots=True)
class OrderRow(PersonalRow):
    """An order as it is now: what everybody may see, ready for the wire, and what is personal."""

    order_id: UUID
    customer_id: UUID
    document: bytes


@dataclass(frozen=True, slots=True)
class OrderNow:
    """The same, as whoever has just written it knows it."""

    order_id: UUID
    customer_id: UUID
    document: bytes
    personal: Personal


OrderShown = OrderRow | OrderNow


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
        self._made = GroupCommit[Key, Made | None](lambda each: self._all_made([each])[0], self._made_together)
        self._known = GroupCommit[UUID, Personal](lambda each: self._all_known([each])[0], self._known_together)

    def get(self, order_id: UUID) -> OrderRow | None:
        """An order."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(OrderRow)) as cursor:
            return cursor.execute(GET, (order_id,)).fetchone()

    def versions(self, order_ids: Sequence[UUID]) -> Sequence[tuple[UUID, int]]:
        """The versions of orders, of those that there are."""
        with self._database.reading() as connection:
            return connection.execute(VERSIONS, (order_ids,)).fetchall()

    def made(self, key: Key | None) -> str | None:
        """What a key has made so far. IdempotencyKeyReused."""
        return recognised(key, self._made.do(key)) if key else None

    def _made_together(self, turns: Sequence[Turn[Key]]) -> list[Made | None]:
        return self._all_made([turn.item for turn in turns])

    def _all_made(self, keys: Sequence[Key]) -> list[Made | None]:
        with self._database.reading() as connection:
            found = Idempotency(connection).look_up(keys)
        return [found.get(key) for key in keys]

    def personal_of(self, order_id: UUID) -> Personal:
        """The person's part of an order."""
        return self._known.do(order_id)

    def _known_together(self, turns: Sequence[Turn[UUID]]) -> list[Personal]:
        return self._all_known([turn.item for turn in turns])

    def _all_known(self, order_ids: Sequence[UUID]) -> list[Personal]:
        with self._database.reading() as connection:
            found = PersonalStore(connection).of_all(order_ids)
        return [found[order_id] for order_id in order_ids]

    def find(self, wanted: Filter, before: UUID | None, limit: int) -> Sequence[OrderRow]:
        """Orders older than one of them, the newest first."""
        values = {
            "projection": "order.list",
            "read_ahead": READ_AHEAD,
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
        values = {"projection": "order.board", "read_ahead": READ_AHEAD}
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(StateCount)) as cursor:
            return cursor.execute(COUNTS, values).fetchall()

    def pick_list(self, warehouse_id: str) -> Sequence[Pick]:
        """What is to be picked, the most urgent first."""
        values = {
            "projection": "order.board",
            "read_ahead": READ_AHEAD,
            "warehouse_id": warehouse_id,
            "limit": PICK_LIST_LENGTH,
        }
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Pick)) as cursor:
            return cursor.execute(PICK_LIST, values).fetchall()

    def list_order_events(self, order_id: UUID, after_version: int) -> list[Entry] | None:
        """What happened to an order after a version; None if not all that happened has come here yet."""
        values = {"projection": "order.history", "order_id": order_id, "after": after_version}
        with self._database.reading() as connection:
            rows = connection.execute(HISTORY, values).fetchall()
        if not rows or not rows[0][0]:
            return None
        return [Entry(*row[1:]) for row in rows if row[1] is not None]
