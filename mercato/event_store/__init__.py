"""Event streams: append with an expected version, read in order, follow in the order of commits. Knows no meaning.

A stream is the history of one thing. Its events are numbered from 1 without gaps, and the primary key (stream_id,
version) is the optimistic lock: of two writers who saw the same version, one is told WrongExpectedVersion and decides
again. An event's id is unique in the store, so that the same append twice is one append. Events are never changed.

    with database.transaction() as connection:
        store = PostgresEventStore(connection, "events")
        store.append(stream_id, [NewEvent(uuid7(), "Opened", 1, payload)], expected=NEW)
        store.read(stream_id)                        # forward, all of it or so many
        store.read_backward(stream_id, limit=1)      # the newest first
        in_chunks(store, stream_id, size=500)        # a long one, some at a time
        store.append_all([Append(…), …])             # many streams by one statement, for who commits in groups

**Following all streams.** `read_all(after, limit)` gives events in the order of their commits, below what is still
being written: nothing is skipped when transactions commit out of the order of their numbers (see
`mercato.event_store.postgres`). The reader keeps `Checkpoint` in the transaction of its effect. A checkpoint names the
epoch of the database that it was made in; after a restore `read_all` raises EpochChanged, and whoever follows compares
versions, stream by stream, and goes on from `frontier()`. `mercato.projection` does all of that.

**Snapshots** spare replaying long streams (`Streams`, with a strategy: EveryEvents, ByReplayTime, Never). No result
depends on one: it belongs to a fingerprint of the state's own definition, and another definition does not find it.

**Evolution.** Stored bytes live for ever. A change of meaning raises the schema of a type, and an upcaster, keyed by
type and schema, brings older bytes one schema further (`Upcasters`). Bytes of every schema ever written lie in a golden
corpus that tests decode.

A table of events has these columns (`migrations/orders` has an example), and a trigger that refuses to change them:

    stream_id uuid, version bigint, event_id uuid unique, type text, schema int, payload bytea,
    time timestamptz default clock_timestamp(), xid xid8, position bigint identity, primary key (stream_id, version)
"""

from mercato.event_store.codec import DataclassCodec, fingerprint
from mercato.event_store.event import (
    ANY,
    NEW,
    Append,
    Checkpoint,
    EpochChanged,
    EventStore,
    LoggedEvent,
    NewEvent,
    StoredEvent,
    WrongExpectedVersion,
    in_chunks,
)
from mercato.event_store.memory import MemoryEventStore
from mercato.event_store.postgres import PostgresEventStore
from mercato.event_store.snapshot import (
    ByReplayTime,
    EveryEvents,
    MemorySnapshots,
    Never,
    PostgresSnapshots,
    Snapshot,
    Snapshots,
    Strategy,
    Streams,
)
from mercato.event_store.upcasting import Upcasters

__all__ = [
    "ANY",
    "NEW",
    "Append",
    "ByReplayTime",
    "Checkpoint",
    "DataclassCodec",
    "EpochChanged",
    "EventStore",
    "EveryEvents",
    "LoggedEvent",
    "MemoryEventStore",
    "MemorySnapshots",
    "Never",
    "NewEvent",
    "PostgresEventStore",
    "PostgresSnapshots",
    "Snapshot",
    "Snapshots",
    "StoredEvent",
    "Strategy",
    "Streams",
    "Upcasters",
    "WrongExpectedVersion",
    "fingerprint",
    "in_chunks",
]
