"""Event streams: append with an expected version, read in order. General; it knows nothing of what the events mean.

A stream is the history of one thing. Its events are numbered from 1 without gaps, and the primary key (stream_id,
version) is the optimistic lock: of two writers who saw the same version, one is told WrongExpectedVersion and decides
again. An event's id is unique in the store, so that the same append twice is one append. Events are never changed.

A table of events has these columns (`migrations/orders` has an example):

    stream_id uuid, version bigint, event_id uuid unique, type text, schema int, payload bytea,
    time timestamptz default clock_timestamp(), xid xid8 default pg_current_xact_id(), position bigint identity,
    primary key (stream_id, version)

`xid` and `position` are the order in which subscriptions read: transactions commit out of the order of their numbers,
and a reader that goes by `position` alone would skip what commits late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from psycopg import Connection, sql
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from mercato.clock import Clock, SystemClock
from mercato.errors import Conflict

NEW: Final = 0
"""The expected version of a stream that is not there yet."""
ANY: Final = -1
"""No expectation: append after whatever is there."""


class WrongExpectedVersion(Conflict):
    """The stream has gone on since it was read."""

    def __init__(self, stream_id: UUID, expected: int) -> None:
        super().__init__(f"{stream_id} is no longer at version {expected}", stream_id=str(stream_id), expected=expected)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append: its id (the same id again is the same event), its type and schema version, its bytes."""

    id: UUID
    type: str
    schema: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a stream."""

    stream_id: UUID
    version: int
    id: UUID
    type: str
    schema: int
    payload: bytes
    time: datetime


class EventStore(Protocol):
    """Streams of events."""

    def append(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        """Append events to a stream at the expected version (NEW, ANY or exact); its new version.

        WrongExpectedVersion if the stream is at another. Appending the same events again changes nothing.
        """
        ...

    def read(self, stream_id: UUID, after: int = 0) -> list[StoredEvent]:
        """The events of a stream after a version, in order; none if there is no such stream."""
        ...


class PostgresEventStore:
    """Streams in a table, within the transaction of a connection."""

    def __init__(self, connection: Connection[Any], table: str) -> None:
        self._connection = connection
        self._append = sql.SQL(
            """
            insert into {table} (stream_id, version, event_id, type, schema, payload)
            select %(stream_id)s, current.version + n, id, type, schema, payload
            from (select coalesce(max(version), 0) as version from {table} where stream_id = %(stream_id)s) as current,
                 unnest(%(ids)s::uuid[], %(types)s::text[], %(schemas)s::int[], %(payloads)s::bytea[])
                     with ordinality as new (id, type, schema, payload, n)
            where %(expected)s = -1 or current.version = %(expected)s
            returning version
            """
        ).format(table=sql.Identifier(table))
        self._read = sql.SQL(
            """
            select stream_id, version, event_id as id, type, schema, payload, time from {table}
            where stream_id = %s and version > %s order by version
            """
        ).format(table=sql.Identifier(table))
        self._known = sql.SQL(
            "select count(*), max(version) from {table} where stream_id = %s and event_id = any(%s)"
        ).format(table=sql.Identifier(table))

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
        try:
            # A savepoint, so that a lost race does not spoil the transaction for whoever decides again within it.
            with self._connection.transaction():
                written = self._connection.execute(self._append, values).fetchall()
        except UniqueViolation:
            written = []
        if written:
            return int(max(version for (version,) in written))
        return self._appended_before(stream_id, events, expected)

    def _appended_before(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        found = self._connection.execute(self._known, [stream_id, [each.id for each in events]]).fetchone()
        if found and found[0] == len(events):
            return int(found[1])
        raise WrongExpectedVersion(stream_id, expected)

    def read(self, stream_id: UUID, after: int = 0) -> list[StoredEvent]:
        """See EventStore."""
        with self._connection.cursor(row_factory=class_row(StoredEvent)) as cursor:
            return cursor.execute(self._read, [stream_id, after]).fetchall()


class MemoryEventStore:
    """Streams in memory, for tests."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[UUID, list[StoredEvent]] = {}

    def append(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        """See EventStore."""
        if not events:
            raise ValueError("nothing to append")
        stream = self._streams.setdefault(stream_id, [])
        known = [each.version for each in stream if each.id in {new.id for new in events}]
        if len(known) == len(events):
            return max(known)
        taken = {each.id for other in self._streams.values() for each in other}
        if (expected not in (ANY, len(stream))) or any(each.id in taken for each in events):
            raise WrongExpectedVersion(stream_id, expected)
        for each in events:
            version = len(stream) + 1
            now = self._clock.now()
            stream.append(StoredEvent(stream_id, version, each.id, each.type, each.schema, each.payload, now))
        return len(stream)

    def read(self, stream_id: UUID, after: int = 0) -> list[StoredEvent]:
        """See EventStore."""
        return self._streams.get(stream_id, [])[after:]
