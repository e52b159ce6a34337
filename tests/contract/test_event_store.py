"""One suite for every event store."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from mercato.event_store import (
    ANY,
    NEW,
    Append,
    Checkpoint,
    EpochChanged,
    EventStore,
    MemoryEventStore,
    NewEvent,
    PostgresEventStore,
    PostgresSnapshots,
    Snapshot,
    WrongExpectedVersion,
    in_chunks,
)
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import all_at_once, at_once
from services.order.domain import replay
from services.order.store import OrderWork
from tests.histories import followers, happen, history_of
from tests.servers import FreshDatabase

Opened = Callable[[], AbstractContextManager[EventStore]]


@pytest.fixture(params=["memory", "postgres"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens the store for one transaction; the same store every time."""
    if request.param == "memory":
        return in_memory()
    return in_postgres(request.getfixturevalue("order_database"))


def in_memory() -> Opened:
    store = MemoryEventStore()

    @contextmanager
    def opened() -> Iterator[EventStore]:
        yield store

    return opened


def in_postgres(database: Database) -> Opened:
    @contextmanager
    def opened() -> Iterator[EventStore]:
        with database.transaction() as connection:
            yield PostgresEventStore(connection, "events")

    return opened


def event(type: str = "Opened", payload: bytes = b"\x00\xff", id: UUID | None = None) -> NewEvent:  # noqa: A002
    return NewEvent(id or uuid7(), type, 1, payload)


def append(opened: Opened, stream: UUID, *events: NewEvent, expected: int) -> int:
    with opened() as store:
        return store.append(stream, events, expected)


def types(opened: Opened, stream: UUID, after: int = 0) -> list[tuple[int, str]]:
    with opened() as store:
        return [(each.version, each.type) for each in store.read(stream, after)]


def test_what_was_appended_is_read_in_order(opened: Opened) -> None:
    stream, first = uuid7(), event("Opened")
    assert append(opened, stream, first, event("Filled"), expected=NEW) == 2
    assert append(opened, stream, event("Closed"), expected=2) == 3
    assert types(opened, stream) == [(1, "Opened"), (2, "Filled"), (3, "Closed")]
    assert types(opened, stream, after=2) == [(3, "Closed")]
    with opened() as store:
        read = store.read(stream)[0]
    assert (read.stream_id, read.id, read.schema, read.payload) == (stream, first.id, 1, b"\x00\xff")
    assert read.time.tzinfo is not None


def test_a_stream_that_is_not_there_is_empty(opened: Opened) -> None:
    assert types(opened, uuid7()) == []


@pytest.mark.parametrize("expected", [NEW, 2, 7])
def test_who_expects_another_version_appends_nothing(opened: Opened, expected: int) -> None:
    stream = uuid7()
    append(opened, stream, event(), expected=NEW)
    with pytest.raises(WrongExpectedVersion):
        append(opened, stream, event(), event(), expected=expected)
    assert types(opened, stream) == [(1, "Opened")]


def test_a_stream_cannot_begin_later_than_at_its_beginning(opened: Opened) -> None:
    with pytest.raises(WrongExpectedVersion):
        append(opened, uuid7(), event(), expected=1)


def test_who_expects_nothing_appends_after_whatever_is_there(opened: Opened) -> None:
    stream = uuid7()
    assert append(opened, stream, event(), expected=ANY) == 1
    assert append(opened, stream, event(), expected=ANY) == 2


def test_the_same_append_twice_is_one_append(opened: Opened) -> None:
    stream, events = uuid7(), [event(), event("Filled")]
    assert append(opened, stream, *events, expected=NEW) == 2
    append(opened, stream, event("Closed"), expected=2)
    assert append(opened, stream, *events, expected=NEW) == 2
    assert append(opened, stream, *events, expected=ANY) == 2
    assert len(types(opened, stream)) == 3


def test_an_event_id_is_in_one_stream_only(opened: Opened) -> None:
    known = event()
    append(opened, uuid7(), known, expected=NEW)
    stream = uuid7()
    with pytest.raises(WrongExpectedVersion):
        append(opened, stream, known, expected=NEW)
    assert types(opened, stream) == []


def test_nothing_to_append_is_a_mistake(opened: Opened) -> None:
    with pytest.raises(ValueError, match="nothing to append"):
        append(opened, uuid7(), expected=NEW)


def test_whoever_lost_a_race_may_decide_again_in_the_same_transaction(opened: Opened) -> None:
    stream = uuid7()
    append(opened, stream, event(), expected=NEW)
    with opened() as store:
        with pytest.raises(WrongExpectedVersion):
            store.append(stream, [event()], NEW)
        assert store.append(stream, [event()], 1) == 2
    assert len(types(opened, stream)) == 2


def test_events_that_go_together_are_appended_together_or_not_at_all(opened: Opened) -> None:
    stream, known = uuid7(), event("Known")
    append(opened, uuid7(), known, expected=NEW)
    with pytest.raises(WrongExpectedVersion):
        append(opened, stream, event(), known, expected=ANY)
    assert types(opened, stream) == []


def test_a_stream_is_read_forward_backward_and_in_chunks(opened: Opened) -> None:
    stream = uuid7()
    append(opened, stream, *(event(f"E{number}") for number in range(1, 8)), expected=NEW)
    with opened() as store:
        assert [each.version for each in store.read(stream, after=2, limit=3)] == [3, 4, 5]
        assert [each.version for each in store.read_backward(stream, limit=2)] == [7, 6]
        assert [each.version for each in store.read_backward(stream, before=3)] == [2, 1]
        chunks = list(in_chunks(store, stream, after=1, size=2))
        assert [[each.version for each in chunk] for chunk in chunks] == [[2, 3], [4, 5], [6, 7]]
        assert list(in_chunks(store, uuid7())) == []
        assert store.read_backward(uuid7()) == []


def test_all_streams_are_read_in_the_order_of_their_commits(opened: Opened) -> None:
    with opened() as store:
        start = store.frontier()
    first, second = uuid7(), uuid7()
    append(opened, first, event("A"), event("B"), expected=NEW)
    append(opened, second, event("C"), expected=NEW)
    append(opened, first, event("D"), expected=2)
    with opened() as store:
        found = store.read_all(start, limit=100)
        assert [(each.stream_id, each.version, each.type) for each in found] == [
            *((first, 1, "A"), (first, 2, "B"), (second, 1, "C"), (first, 3, "D"))
        ]
        rest = store.read_all(start.behind(found[1]), limit=1)
        assert [each.type for each in rest] == ["C"]
        assert store.read_all(start.behind(found[3]), limit=100) == []
        assert store.read_all(store.frontier(), limit=100) == []
        assert [each.type for each in store.read_all(store.beginning(), limit=10_000)][-4:] == ["A", "B", "C", "D"]


def test_many_streams_are_appended_to_by_one_statement(order_database: Database) -> None:
    old, new = uuid7(), uuid7()
    append(in_postgres(order_database), old, event(), expected=NEW)
    with order_database.transaction() as connection:
        store = PostgresEventStore(connection, "events")
        store.append_all([Append(old, [event("Filled")], 1), Append(new, [event(), event("Filled")], NEW)])
        assert [each.type for each in store.read(old)] == ["Opened", "Filled"]
        assert [(each.version, each.type) for each in store.read(new)] == [(1, "Opened"), (2, "Filled")]


@pytest.mark.parametrize("case", ["gone on", "twice"])
def test_of_many_streams_one_that_has_gone_on_is_named_and_not_touched(order_database: Database, case: str) -> None:
    gone_on, other = uuid7(), uuid7()
    append(
        in_postgres(order_database), gone_on, event(), *([event("Filled")] if case == "gone on" else []), expected=NEW
    )
    late = [Append(gone_on, [event("Late"), event("Later")], 1)] * (1 if case == "gone on" else 2)
    with (
        pytest.raises(WrongExpectedVersion, match=str(gone_on)),
        order_database.transaction() as connection,
    ):
        PostgresEventStore(connection, "events").append_all([Append(other, [event()], NEW), *late])
    assert "Late" not in [type_ for _, type_ in types(in_postgres(order_database), gone_on)]
    assert not types(in_postgres(order_database), other)


def test_a_checkpoint_of_another_epoch_is_refused(opened: Opened) -> None:
    with opened() as store, pytest.raises(EpochChanged):
        store.read_all(Checkpoint("a cluster that was restored from this one", 5, 5), limit=1)


# What only a database can show.


@contextmanager
def session(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that is open until it is committed by hand."""
    with database.dedicated() as connection:
        connection.execute("begin")
        yield connection


def naive(connection: psycopg.Connection[tuple[object, ...]], after: int) -> list[tuple[object, ...]]:
    """What a reader gets who remembers the last number."""
    return connection.execute(
        "select position, type from events where position > %s order by position", [after]
    ).fetchall()


def test_f26_a_number_that_commits_late_is_lost_to_a_cursor_by_number_and_not_to_ours(order_database: Database) -> None:
    with order_database.dedicated() as reader:
        store = PostgresEventStore(reader, "events")
        place = store.frontier()
        (last,) = reader.execute("select coalesce(max(position), 0) from events").fetchone() or (0,)
        with session(order_database) as slow, session(order_database) as quick:
            PostgresEventStore(slow, "events").append(uuid7(), [event("Slow")], NEW)  # draws its number first
            PostgresEventStore(quick, "events").append(uuid7(), [event("Quick")], NEW)
            quick.commit()
            by_number = naive(reader, int(str(last)))
            assert [kind for _, kind in by_number] == ["Quick"]
            assert store.read_all(place, limit=10) == []  # the oldest writer is waited for
            slow.commit()
        assert naive(reader, int(str(by_number[-1][0]))) == []  # and so the slow one is lost for ever
        assert [each.type for each in store.read_all(place, limit=10)] == ["Slow", "Quick"]


def test_f26_nothing_is_lost_where_the_older_transaction_holds_the_higher_number(order_database: Database) -> None:
    with order_database.dedicated() as reader:
        store = PostgresEventStore(reader, "events")
        place = store.frontier()
        with session(order_database) as older, session(order_database) as younger:
            older.execute("select pg_current_xact_id()")
            PostgresEventStore(younger, "events").append(uuid7(), [event("Younger")], NEW)
            PostgresEventStore(older, "events").append(uuid7(), [event("Older")], NEW)
            younger.commit()
            assert store.read_all(place, limit=10) == []
            older.commit()
        assert [each.type for each in store.read_all(place, limit=10)] == ["Older", "Younger"]


def test_versions_of_a_stream_are_read_in_order_though_an_older_transaction_wrote_the_later_one(
    order_database: Database,
) -> None:
    stream = uuid7()
    with order_database.dedicated() as reader:
        store = PostgresEventStore(reader, "events")
        place = store.frontier()
        with session(order_database) as older, session(order_database) as bystander, session(order_database) as younger:
            for each in (older, bystander, younger):
                each.execute("select pg_current_xact_id()")
            PostgresEventStore(younger, "events").append(stream, [event("First")], NEW)
            younger.commit()
            PostgresEventStore(older, "events").append(stream, [event("Second")], 1)
            older.commit()
            # The older one lies below the bystander, the younger above: by the writers' numbers alone, the second
            # version would be read now, and the first one afterwards.
            assert store.read_all(place, limit=10) == []
            bystander.commit()
        assert [each.type for each in store.read_all(place, limit=10)] == ["First", "Second"]


def test_a_reader_that_only_reads_holds_nobody_back(order_database: Database) -> None:
    with session(order_database) as idle, order_database.dedicated() as reader:
        idle.execute("select count(*) from events")
        place = PostgresEventStore(reader, "events").frontier()
        append(in_postgres(order_database), uuid7(), event("Seen"), expected=NEW)
        assert [each.type for each in PostgresEventStore(reader, "events").read_all(place, limit=10)] == ["Seen"]


def test_a_stream_restored_from_another_cluster_can_be_gone_on_with_and_followed(
    order_database: Database, fresh_database: FreshDatabase
) -> None:
    stream = uuid7()
    with psycopg.connect(fresh_database.url, autocommit=True) as admin:  # as a restore writes it: with its old number
        admin.execute(
            "insert into orders.events (stream_id, version, event_id, type, schema, payload, xid) "
            "values (%s, 1, %s, 'Restored', 1, '', '999999999999')",
            [stream, uuid7()],
        )
    with order_database.dedicated() as reader:
        store = PostgresEventStore(reader, "events")
        place = store.frontier()
        append(in_postgres(order_database), stream, event("After"), expected=1)
        assert [(each.version, each.type) for each in store.read_all(place, limit=10)] == [(2, "After")]


def test_i7_of_eight_who_append_the_same_version_at_once_one_does(order_database: Database) -> None:
    opened, stream = in_postgres(order_database), uuid7()
    append(opened, stream, event(), expected=NEW)
    outcomes = at_once(lambda: append(opened, stream, event(), event(), expected=1), times=8)
    assert sorted(map(str, map(type, outcomes)))[:2] == ["<class 'int'>", str(WrongExpectedVersion)]
    assert [each for each in outcomes if isinstance(each, int)] == [3]
    assert [version for version, _ in types(opened, stream)] == [1, 2, 3]


def test_who_lost_to_a_shorter_append_leaves_nothing_of_a_longer_one(order_database: Database) -> None:
    stream = uuid7()
    with session(order_database) as first, session(order_database) as second:
        PostgresEventStore(first, "events").append(stream, [event("First")], NEW)
        waiting = PostgresEventStore(second, "events")

        def lose() -> None:
            waiting.append(stream, [event("Lost"), event("Lost too")], NEW)

        def win() -> None:
            _await_lock(order_database, second.info.backend_pid)
            first.commit()

        outcome, _ = all_at_once([lose, win])
        assert isinstance(outcome, WrongExpectedVersion)
        assert waiting.append(stream, [event("Second")], 1) == 2
        second.commit()
    assert types(in_postgres(order_database), stream) == [(1, "First"), (2, "Second")]


def _await_lock(database: Database, backend: int) -> None:
    """Return when somebody waits for somebody else's lock."""
    with database.dedicated() as connection:
        while not connection.execute("select 1 where cardinality(pg_blocking_pids(%s)) > 0", [backend]).fetchone():
            pass


def test_of_eight_who_expect_nothing_all_append(order_database: Database) -> None:
    opened, stream = in_postgres(order_database), uuid7()
    outcomes = at_once(lambda: append(opened, stream, event(), event(), expected=ANY), times=8)
    assert sorted(outcomes, key=str) == sorted(range(2, 17, 2), key=str)
    assert [version for version, _ in types(opened, stream)] == list(range(1, 17))


def test_the_same_append_from_eight_at_once_is_one_append(order_database: Database) -> None:
    opened, stream, events = in_postgres(order_database), uuid7(), [event(), event("Filled")]
    assert at_once(lambda: append(opened, stream, *events, expected=NEW), times=8) == [2] * 8
    assert types(opened, stream) == [(1, "Opened"), (2, "Filled")]


def test_streams_do_not_wait_for_each_other(order_database: Database) -> None:
    opened = in_postgres(order_database)
    with opened() as store:
        store.append(uuid7(), [event()], NEW)
        outcomes = all_at_once([lambda: append(opened, uuid7(), event(), expected=NEW)] * 4)
    assert outcomes == [1, 1, 1, 1]


CHANGES = ["update events set type = 'X'", "delete from events", "truncate events cascade"]


@pytest.mark.parametrize("statement", CHANGES)
def test_i7_a_service_cannot_change_its_history(fresh_database: FreshDatabase, statement: str) -> None:
    with (
        psycopg.connect(fresh_database.url_of("orders"), autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege, match="permission denied"),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", CHANGES)
def test_i7_nor_can_whoever_owns_the_table(
    order_database: Database, fresh_database: FreshDatabase, statement: str
) -> None:
    append(in_postgres(order_database), uuid7(), event(), expected=NEW)
    with (
        psycopg.connect(fresh_database.url, autocommit=True, options="-c search_path=orders") as connection,
        pytest.raises(errors.InsufficientPrivilege, match="what happened is never changed"),
    ):
        connection.execute(statement.encode())


def test_snapshots_are_kept_in_the_table_the_last_of_each_stream(order_database: Database) -> None:
    stream = uuid7()
    with order_database.transaction() as connection:
        snapshots = PostgresSnapshots(connection, "snapshot")
        assert snapshots.find(stream, "s") is None
        snapshots.put(Snapshot(stream, 5, "s", b"\x00five"))
        snapshots.put(Snapshot(stream, 3, "s", b"three"))
        assert snapshots.find(stream, "s") == Snapshot(stream, 5, "s", b"\x00five")
        snapshots.put(Snapshot(stream, 4, "another", b"four"))
        assert snapshots.find(stream, "s") is None
        assert snapshots.find(stream, "another") == Snapshot(stream, 4, "another", b"four")


def test_a_long_order_is_loaded_from_its_snapshot_and_is_what_its_events_make(order_database: Database) -> None:
    order_id = uuid7()
    events = history_of(order_id, [*(0, 7, 8, 9), *[24] * 150])
    happen(order_database, events)
    with OrderWork(order_database, service="order") as work:
        assert work.streams.load(order_id) == replay(events)
        assert work.connection.execute("select version from snapshot where stream_id = %s", [order_id]).fetchall() == [
            (len(events),)
        ]
    happen(order_database, followers(order_id)[9:12], after=len(events), order_id=order_id)
    with OrderWork(order_database, service="order") as work:
        assert work.streams.load(order_id) == replay([*events, *followers(order_id)[9:12]])
