"""Snapshots change how long a replay takes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.event_store import (
    ANY,
    ByReplayTime,
    DataclassCodec,
    EveryEvents,
    MemoryEventStore,
    MemorySnapshots,
    Never,
    NewEvent,
    Snapshot,
    StoredEvent,
    Strategy,
    Streams,
    fingerprint,
)
from mercato.ids import uuid7
from services.order.domain import Order, evolve, replay
from services.order.events import Event
from services.order.stored import decode, encode
from tests.histories import histories, history_of

STREAM = UUID(int=7)
ORDER = DataclassCodec(Order)


class Ticking:
    """A stopwatch by which every look takes a millisecond."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 0.001
        return self.time


class Watched(MemoryEventStore):
    """A store that counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.read_events = 0

    def read(self, stream_id: UUID, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        found = super().read(stream_id, after, limit)
        self.read_events += len(found)
        return found


class WatchedSnapshots(MemorySnapshots):
    """Snapshots, and how often they were looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.looked, self.kept = 0, list[Snapshot]()

    def find(self, stream_id: UUID, schema: str) -> Snapshot | None:
        self.looked += 1
        return super().find(stream_id, schema)

    def put(self, snapshot: Snapshot) -> None:
        self.kept.append(snapshot)
        super().put(snapshot)


def evolved(order: Order | None, stored: StoredEvent) -> Order:
    return evolve(order, decode(stored.type, stored.schema, stored.payload))


def append(store: MemoryEventStore, events: Sequence[Event]) -> None:
    if events:
        store.append(STREAM, [NewEvent(uuid7(), *encode(each)) for each in events], ANY)


def streams(store: MemoryEventStore, snapshots: MemorySnapshots, strategy: Strategy) -> Streams[Order]:
    return Streams(store, evolved, ORDER, snapshots, strategy, stopwatch=Ticking())


STRATEGIES = st.one_of(
    st.builds(EveryEvents, st.integers(1, 12)),
    st.builds(ByReplayTime, st.sampled_from([timedelta(0), timedelta(milliseconds=1), timedelta(seconds=1)])),
    st.just(Never()),
)


@given(histories(60), st.lists(st.tuples(st.integers(1, 20), STRATEGIES), max_size=8), STRATEGIES)
def test_state_from_snapshot_and_tail_is_the_full_replay(
    events: list[Event], loads: list[tuple[int, Strategy]], last: Strategy
) -> None:
    store, snapshots = MemoryEventStore(), MemorySnapshots()
    rest = list(events)
    for count, strategy in loads:  # somebody loads now and then, each with a strategy of their own
        append(store, rest[:count])
        rest = rest[count:]
        streams(store, snapshots, strategy).load(STREAM)
    append(store, rest)
    loaded = streams(store, snapshots, last).load(STREAM)
    assert loaded.state == replay(events)
    assert loaded.version == len(events)
    assert streams(store, snapshots, last).load(STREAM) == loaded


@given(histories())
def test_a_state_is_read_back_as_it_was_written(events: list[Event]) -> None:
    order = replay(events)
    assert order is not None
    assert ORDER.decode(ORDER.encode(order)) == order


def test_every_so_many_events_the_rest_alone_is_read() -> None:
    store, snapshots = Watched(), WatchedSnapshots()
    loading = streams(store, snapshots, EveryEvents(10))
    append(store, history_of(STREAM, [6] * 24))
    loading.load(STREAM)
    assert [each.version for each in snapshots.kept] == [25]
    append(store, history_of(STREAM, [6] * 3)[1:])
    store.read_events = 0
    assert loading.load(STREAM).version == 28
    assert store.read_events == 10 + 3  # a look whether it is long enough, and the rest
    assert len(snapshots.kept) == 1


def test_for_a_short_stream_no_snapshot_is_looked_for() -> None:
    store, snapshots = Watched(), WatchedSnapshots()
    append(store, history_of(STREAM, [6] * 8))
    assert streams(store, snapshots, EveryEvents(10)).load(STREAM).version == 9
    assert (store.read_events, snapshots.looked, snapshots.kept) == (9, 0, [])


@pytest.mark.parametrize(("longest", "kept"), [(0, 1), (0.5, 1), (2, 0)])
def test_by_replay_time_what_took_longer_is_kept(longest: float, kept: int) -> None:
    store, snapshots = MemoryEventStore(), WatchedSnapshots()
    append(store, history_of(STREAM, [6] * 3))
    loading = streams(store, snapshots, ByReplayTime(timedelta(milliseconds=longest)))
    loading.load(STREAM)
    loading.load(STREAM)  # nothing was replayed: there is nothing new to keep
    assert len(snapshots.kept) == kept


def test_none_are_kept_or_looked_for() -> None:
    store, snapshots = MemoryEventStore(), WatchedSnapshots()
    append(store, history_of(STREAM, [6] * 300))
    assert streams(store, snapshots, Never()).load(STREAM).version == 301
    assert (snapshots.looked, snapshots.kept) == (0, [])


def test_no_stream_makes_no_state() -> None:
    for strategy in (EveryEvents(1), ByReplayTime(timedelta(0)), Never()):
        loaded = streams(MemoryEventStore(), snapshots := WatchedSnapshots(), strategy).load(STREAM)
        assert (loaded.state, loaded.version, snapshots.kept) == (None, 0, [])


def test_a_snapshot_by_another_definition_of_the_state_is_thrown_away() -> None:
    store, snapshots = MemoryEventStore(), WatchedSnapshots()
    append(store, events := history_of(STREAM, [0, 6, 7]))
    snapshots.put(Snapshot(STREAM, 9, "what an Order was once", b"nobody reads this"))
    loading = streams(store, snapshots, EveryEvents(2))
    assert loading.load(STREAM).state == replay(events)
    assert snapshots.kept[-1].version == 4  # it has taken the other's place, though of a lower version
    assert loading.load(STREAM).state == replay(events)


def test_a_snapshot_by_another_revision_of_what_makes_it_is_thrown_away() -> None:
    store, snapshots = MemoryEventStore(), MemorySnapshots()
    append(store, history_of(STREAM, [0, 6]))

    def otherwise(order: Order | None, stored: StoredEvent) -> Order:
        return replace(evolved(order, stored), warehouse_id="somewhere else")

    first = Streams(store, evolved, ORDER, snapshots, EveryEvents(1))
    second = Streams(store, otherwise, ORDER, snapshots, EveryEvents(1), revision=2)
    first.load(STREAM)
    loaded = second.load(STREAM).state
    assert loaded is not None
    assert loaded.warehouse_id == "somewhere else"
    assert first.load(STREAM).state == replay(history_of(STREAM, [0, 6]))


def test_an_older_snapshot_does_not_take_the_place_of_a_newer_one() -> None:
    snapshots = MemorySnapshots()
    snapshots.put(Snapshot(STREAM, 9, "s", b"newer"))
    snapshots.put(Snapshot(STREAM, 5, "s", b"older"))
    assert snapshots.find(STREAM, "s") == Snapshot(STREAM, 9, "s", b"newer")


class Colour(StrEnum):
    RED = "RED"


@dataclass(frozen=True)
class Part:
    name: str


@dataclass(frozen=True)
class Whole:
    id: UUID
    at: datetime
    parts: tuple[Part, ...] = ()
    colour: Colour | None = None


@dataclass(frozen=True)
class _Renamed:
    name_: str


def test_a_fingerprint_tells_definitions_apart_at_any_depth() -> None:
    @dataclass(frozen=True)
    class Part:
        name: str
        more: int = 0

    assert fingerprint(Whole) == fingerprint(Whole)
    assert len({fingerprint(each) for each in (Whole, Part, _Renamed)}) == 3
    assert fingerprint(Part) != DataclassCodec(globals()["Part"]).fingerprint


def test_what_no_snapshot_can_hold_is_refused_at_once() -> None:
    @dataclass(frozen=True)
    class Loose:
        anything: object

    with pytest.raises(TypeError, match="no dataclass"):
        DataclassCodec(Loose)


def test_what_old_bytes_do_not_name_has_its_default() -> None:
    whole = DataclassCodec(Whole)
    at = "2026-01-05T12:00:00+00:00"
    read = whole.decode(f'{{"id": "{STREAM}", "at": "{at}"}}'.encode())
    assert read == Whole(STREAM, datetime.fromisoformat(at))
    made = Whole(STREAM, datetime.fromisoformat(at), (Part("a"),), Colour.RED)
    assert whole.decode(whole.encode(made)) == made
