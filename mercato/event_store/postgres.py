"""Streams in a table of PostgreSQL.

**The order of commits.** A number drawn from a sequence says when it was drawn, not when its transaction committed:
who reads `position > last` skips for ever what drew a lower number and committed later. So readers go by (`xid`,
`position`) and stop below `pg_snapshot_xmin`, the oldest transaction that still writes: everything below it is decided,
one way or the other, and what is decided later has a greater `xid`.

**The order of a stream.** The transaction with the lower number may append the later version: it wrote something else
first, then saw and followed what a younger one committed meanwhile. Its event takes over the `xid` of the event before
it, so that versions rise in the order of reading, too. That loses nothing: the xid only ever becomes greater, and a
reader comes to it after both transactions ended. (In a database restored from a copy, older events bear numbers that
this cluster has not come to; those are not taken over.)
"""

from collections.abc import MutableMapping, Sequence
from functools import cache
from typing import Any, LiteralString
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg import Connection, sql
from psycopg.rows import class_row

from mercato.event_store.event import (
    ANY,
    Append,
    Checkpoint,
    EpochChanged,
    LoggedEvent,
    NewEvent,
    StoredEvent,
    WrongExpectedVersion,
)

# One statement. Whoever holds version n + 1 holds all that follow it, so the first row decides: if somebody else has
# it, nothing is written and nothing is raised, and the transaction can be gone on with. (An exception caught at a
# savepoint did the same in three statements.) Ids that the store knows are looked for before, by the same snapshot.
APPEND: LiteralString = """
    with tail as (
        select version, xid from {table} where stream_id = %(stream_id)s order by version desc limit 1),
    present as (
        select coalesce(max(version), 0) as version, greatest(pg_current_xact_id(),
            max(xid) filter (where xid < pg_snapshot_xmax(pg_current_snapshot()))) as xid from tail),
    new as (
        select present.version + n as version, present.xid, id, type, schema, payload, n
        from present, unnest(%(ids)s::uuid[], %(types)s::text[], %(schemas)s::int[], %(payloads)s::bytea[])
            with ordinality as event (id, type, schema, payload, n)
        where (%(expected)s = -1 or present.version = %(expected)s)
            and not exists (select from {table} where event_id = any(%(ids)s))),
    first as (
        insert into {table} (stream_id, version, event_id, type, schema, payload, xid)
        select %(stream_id)s, version, id, type, schema, payload, xid from new where n = 1
        on conflict do nothing returning version),
    rest as (
        insert into {table} (stream_id, version, event_id, type, schema, payload, xid)
        select %(stream_id)s, version, id, type, schema, payload, xid from new
        where n > 1 and exists (select from first) order by n
        returning version)
    select max(version) from (select version from first union all select version from rest) as written
"""
# The same for many streams at once. What is expected is exact, and the ids are new.
APPEND_ALL: LiteralString = """
    with new as (
        select * from unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::uuid[], %b::text[], %b::int[], %b::bytea[])
            as event (stream_id, expected, version, id, type, schema, payload)),
    ready as (
        select new.*, greatest(pg_current_xact_id(),
            case when tail.xid < pg_snapshot_xmax(pg_current_snapshot()) then tail.xid end) as xid
        from new left join lateral (
            select e.version, e.xid from {table} e where e.stream_id = new.stream_id order by e.version desc limit 1
        ) tail on true
        where coalesce(tail.version, 0) = new.expected),
    first as (
        insert into {table} (stream_id, version, event_id, type, schema, payload, xid)
        select stream_id, version, id, type, schema, payload, xid from ready where version = expected + 1
        order by stream_id
        on conflict do nothing returning stream_id),
    rest as (
        insert into {table} (stream_id, version, event_id, type, schema, payload, xid)
        select stream_id, version, id, type, schema, payload, xid from ready join first using (stream_id)
        where version > expected + 1 order by stream_id, version
        on conflict do nothing)
    select stream_id from first
"""
EVENT: LiteralString = "select stream_id, version, event_id as id, type, schema, payload, time from {table} "
READ: LiteralString = EVENT + "where stream_id = %s and version > %s order by version limit %s"
READ_BACKWARD: LiteralString = (
    EVENT + "where stream_id = %s and version < coalesce(%s, 9223372036854775807) order by version desc limit %s"
)
KNOWN: LiteralString = "select count(*), max(version) from {table} where stream_id = %s and event_id = any(%s)"
KNOWN_ANYWHERE: LiteralString = "select exists (select from {table} where event_id = any(%s))"
READ_ALL: LiteralString = """
    select stream_id, version, event_id as id, type, schema, payload, time, xid::text::bigint as xid, position
    from {table}
    where (xid, position) > (%s::text::xid8, %s) and xid < pg_snapshot_xmin(pg_current_snapshot())
    order by xid, position limit %s
"""
# A restored cluster has another identifier; one that was rolled back or promoted goes on on another timeline. Nobody
# exchanges a cluster under an open connection, so its identifier, which is read from a file, is asked for once.
CLUSTER: LiteralString = "select system_identifier from pg_control_system()"
TIMELINE: LiteralString = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
EPOCH: LiteralString = f"select {TIMELINE}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_clusters: MutableMapping[Connection[Any], int] = WeakKeyDictionary()


def cluster(connection: Connection[Any]) -> int:
    """The identifier of the cluster at the other end."""
    known = _clusters.get(connection)
    if known is None:
        row = connection.execute(CLUSTER).fetchone()
        known = _clusters[connection] = row[0] if row else 0
    return known


class PostgresEventStore:
    """Streams in a table, within the transaction of a connection."""

    def __init__(self, connection: Connection[Any], table: str) -> None:
        self._connection = connection
        self._table = table

    def append(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        """One statement; see EventStore."""
        if not events:
            raise ValueError("nothing to append")
        values = {
            "stream_id": stream_id,
            "expected": expected,
            "ids": [each.id for each in events],
            "types": [each.type for each in events],
            "schemas": [each.schema for each in events],
            "payloads": [each.payload for each in events],
        }
        while True:
            (written,) = self._one(APPEND, values)
            if written is None:
                written = self._appended_before(stream_id, events)
            if written is not None:
                return int(written)
            # Who expects nothing lost to one who has committed since: there is a new end to append after.
            if expected != ANY or self._one(KNOWN_ANYWHERE, [values["ids"]])[0]:
                raise WrongExpectedVersion(stream_id, expected)

    def append_all(self, appends: Sequence[Append]) -> None:
        """Append new events to many streams by one statement, each at an exact version.

        WrongExpectedVersion names one that has gone on: nothing was appended to it, but to the others.
        """
        rows = [
            (each.stream_id, each.expected, each.expected + n, event.id, event.type, event.schema, event.payload)
            for each in appends
            for n, event in enumerate(each.events, start=1)
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        appended = [stream_id for (stream_id,) in self._connection.execute(self._sql(APPEND_ALL), columns)]
        for each in appends:
            if each.stream_id not in appended:
                raise WrongExpectedVersion(each.stream_id, each.expected)
            appended.remove(each.stream_id)

    def _appended_before(self, stream_id: UUID, events: Sequence[NewEvent]) -> int | None:
        count, version = self._one(KNOWN, [stream_id, [each.id for each in events]])
        return int(version) if count == len(events) else None

    def read(self, stream_id: UUID, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """See EventStore."""
        return self._events(READ, [stream_id, after, limit])

    def read_backward(self, stream_id: UUID, before: int | None = None, limit: int | None = None) -> list[StoredEvent]:
        """See EventStore."""
        return self._events(READ_BACKWARD, [stream_id, before, limit])

    def read_all(self, after: Checkpoint, limit: int) -> list[LoggedEvent]:
        """See EventStore."""
        if after.epoch != self._epoch()[0]:
            raise EpochChanged(after.epoch)
        with self._connection.cursor(row_factory=class_row(LoggedEvent)) as cursor:
            return cursor.execute(self._sql(READ_ALL), [str(after.xid), after.position, limit]).fetchall()

    def beginning(self) -> Checkpoint:
        """See EventStore."""
        return Checkpoint(self._epoch()[0])

    def frontier(self) -> Checkpoint:
        """See EventStore."""
        epoch, xmin = self._epoch()
        return Checkpoint(epoch, xmin)

    def _epoch(self) -> tuple[str, int]:
        timeline, xmin = self._one(EPOCH, None)
        return f"{cluster(self._connection)}/{timeline}", int(xmin)

    def _events(self, statement: LiteralString, values: Sequence[object]) -> list[StoredEvent]:
        with self._connection.cursor(row_factory=class_row(StoredEvent)) as cursor:
            return cursor.execute(self._sql(statement), values).fetchall()

    def _one(self, statement: LiteralString, values: Any) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(self._sql(statement), values).fetchone()
        return row or ()

    def _sql(self, statement: LiteralString) -> bytes:
        return _of(statement, self._table)


@cache
def _of(statement: LiteralString, table: str) -> bytes:
    """A statement about a table."""
    return sql.SQL(statement).format(table=sql.Identifier(table)).as_bytes(None)
