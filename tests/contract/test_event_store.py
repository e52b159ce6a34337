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
    EventStore,
    MemoryEventStore,
    NewEvent,
    PostgresEventStore,
    WrongExpectedVersion,
)
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import all_at_once, at_once
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


# What only a database can show.


def test_of_eight_who_append_the_same_version_at_once_one_does(order_database: Database) -> None:
    opened, stream = in_postgres(order_database), uuid7()
    append(opened, stream, event(), expected=NEW)
    outcomes = at_once(lambda: append(opened, stream, event(), event(), expected=1), times=8)
    assert sorted(map(str, map(type, outcomes)))[:2] == ["<class 'int'>", str(WrongExpectedVersion)]
    assert [each for each in outcomes if isinstance(each, int)] == [3]
    assert [version for version, _ in types(opened, stream)] == [1, 2, 3]


def test_streams_do_not_wait_for_each_other(order_database: Database) -> None:
    opened = in_postgres(order_database)
    with opened() as store:
        store.append(uuid7(), [event()], NEW)
        outcomes = all_at_once([lambda: append(opened, uuid7(), event(), expected=NEW)] * 4)
    assert outcomes == [1, 1, 1, 1]


@pytest.mark.parametrize("statement", ["update events set type = 'X'", "delete from events", "truncate events"])
def test_a_service_cannot_change_its_history(fresh_database: FreshDatabase, statement: str) -> None:
    with (
        psycopg.connect(fresh_database.url_of("orders"), autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())
