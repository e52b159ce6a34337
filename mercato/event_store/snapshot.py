"""Snapshots: states kept so that a long stream need not be replayed from its beginning. Never needed, only faster.

    orders = Streams(store, evolve, DataclassCodec(Order), snapshots, EveryEvents(100))
    loaded = orders.load(order_id)      # the same, whatever snapshots there are

A snapshot belongs to the fingerprint of the state's definition (and to the revision of what makes it). A program whose
state is defined otherwise does not find it, replays the whole stream, and keeps its own in that place.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Generic, LiteralString, Protocol, TypeVar
from uuid import UUID

from psycopg import Connection, sql

from mercato.event_store.codec import DataclassCodec
from mercato.event_store.event import EventStore, StoredEvent

S = TypeVar("S")
FIND: LiteralString = "select version, state from {table} where stream_id = %s and schema = %s"
# Never an older one over a newer one of the same schema: whoever read earlier may write later.
PUT: LiteralString = """
    insert into {table} as kept (stream_id, version, schema, state) values (%s, %s, %s, %s)
    on conflict (stream_id) do update set version = excluded.version, schema = excluded.schema, state = excluded.state
    where kept.schema <> excluded.schema or kept.version < excluded.version
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a stream at a version, as a definition of the state (`schema`) writes it."""

    stream_id: UUID
    version: int
    schema: str
    state: bytes


class Snapshots(Protocol):
    """Where snapshots are kept: the last one of each stream."""

    def find(self, stream_id: UUID, schema: str) -> Snapshot | None:
        """The snapshot of a stream, if it is of this schema."""
        ...

    def put(self, snapshot: Snapshot) -> None:
        """Keep a snapshot instead of an older one, or of one of another schema."""
        ...


class PostgresSnapshots:
    """Snapshots in a table: stream_id uuid primary key, version bigint, schema text, state bytea."""

    def __init__(self, connection: Connection[Any], table: str) -> None:
        self._connection = connection
        self._table = table

    def find(self, stream_id: UUID, schema: str) -> Snapshot | None:
        """See Snapshots."""
        row = self._connection.execute(_of(FIND, self._table), [stream_id, schema]).fetchone()
        return Snapshot(stream_id, row[0], schema, bytes(row[1])) if row else None

    def put(self, snapshot: Snapshot) -> None:
        """See Snapshots."""
        values = [snapshot.stream_id, snapshot.version, snapshot.schema, snapshot.state]
        self._connection.execute(_of(PUT, self._table), values)


@cache
def _of(statement: LiteralString, table: str) -> bytes:
    return sql.SQL(statement).format(table=sql.Identifier(table)).as_bytes(None)


class MemorySnapshots:
    """Snapshots in memory, for tests."""

    def __init__(self) -> None:
        self._kept: dict[UUID, Snapshot] = {}

    def find(self, stream_id: UUID, schema: str) -> Snapshot | None:
        """See Snapshots."""
        found = self._kept.get(stream_id)
        return found if found and found.schema == schema else None

    def put(self, snapshot: Snapshot) -> None:
        """See Snapshots."""
        kept = self._kept.get(snapshot.stream_id)
        if kept is None or kept.schema != snapshot.schema or kept.version < snapshot.version:
            self._kept[snapshot.stream_id] = snapshot


class Strategy(Protocol):
    """When a snapshot is worth its keeping."""

    @property
    def shortest(self) -> int | None:
        """No stream of fewer events has a snapshot, so none is looked for; None: there are none at all."""
        ...

    def wants(self, replayed: int, took: timedelta) -> bool:
        """Whether to keep one, after so many events were replayed and that took so long."""
        ...


@dataclass(frozen=True, slots=True)
class EveryEvents:
    """One for each so many events. Shorter streams are read as if there were none, in one statement."""

    count: int

    @property
    def shortest(self) -> int:
        """See Strategy."""
        return self.count

    def wants(self, replayed: int, took: timedelta) -> bool:  # noqa: ARG002  the other strategy's measure
        """See Strategy."""
        return replayed >= self.count


@dataclass(frozen=True, slots=True)
class ByReplayTime:
    """One when a replay took longer than this."""

    longest: timedelta
    shortest: int = 1

    def wants(self, replayed: int, took: timedelta) -> bool:
        """See Strategy."""
        return replayed > 0 and took > self.longest


@dataclass(frozen=True, slots=True)
class Never:
    """None."""

    shortest: None = None

    def wants(self, replayed: int, took: timedelta) -> bool:  # noqa: ARG002  it never does
        """See Strategy."""
        return False


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """What a stream has made, at its last version; no state and version 0 if there is no stream."""

    state: S | None
    version: int


class Streams(Generic[S]):
    """States made of streams: the fold of their events, from the last snapshot on if there is one."""

    def __init__(
        self,
        store: EventStore,
        evolve: Callable[[S | None, StoredEvent], S],
        codec: DataclassCodec[S],
        snapshots: Snapshots,
        strategy: Strategy,
        *,
        revision: int = 1,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Raise the revision when `evolve` makes something else of the same events: no definition shows that."""
        self._store = store
        self._evolve = evolve
        self._codec = codec
        self._schema = f"{codec.fingerprint}.{revision}"
        self._snapshots = snapshots
        self._strategy = strategy
        self._stopwatch = stopwatch

    def load(self, stream_id: UUID) -> Loaded[S]:
        """What the stream has made. Keeps a snapshot of it if the strategy wants one."""
        began, head = self._stopwatch(), self._head(stream_id)
        start: Loaded[S] = Loaded(None, 0) if head is not None else self._snapshot(stream_id)
        events = self._store.read(stream_id, start.version) if head is None else head
        loaded = self._replayed(start, events)
        if self._strategy.wants(len(events), timedelta(seconds=self._stopwatch() - began)):
            self._keep(stream_id, loaded)
        return loaded

    def _head(self, stream_id: UUID) -> list[StoredEvent] | None:
        """The whole stream, if it is too short for snapshots; else None."""
        shortest = self._strategy.shortest
        if shortest is None:
            return self._store.read(stream_id)
        if shortest <= 1:
            return None
        head = self._store.read(stream_id, limit=shortest)
        return head if len(head) < shortest else None

    def _snapshot(self, stream_id: UUID) -> Loaded[S]:
        found = self._snapshots.find(stream_id, self._schema)
        return Loaded(self._codec.decode(found.state), found.version) if found else Loaded(None, 0)

    def _replayed(self, start: Loaded[S], events: list[StoredEvent]) -> Loaded[S]:
        state = start.state
        for each in events:
            state = self._evolve(state, each)
        return Loaded(state, events[-1].version if events else start.version)

    def _keep(self, stream_id: UUID, loaded: Loaded[S]) -> None:
        if loaded.state is not None:
            state = self._codec.encode(loaded.state)
            self._snapshots.put(Snapshot(stream_id, loaded.version, self._schema, state))
