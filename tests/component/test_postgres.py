"""The unit of work and the pool on a real PostgreSQL."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from mercato.api.inventory.v1.inventory_events_pb2 import StockReleased
from mercato.errors import AlreadyExists, DeadlineExceeded, NulInText, Overloaded, Unavailable
from mercato.failpoint import FailpointReached, arm
from mercato.ids import uuid7
from mercato.log import bound
from mercato.postgres import Database, LostRace, Work, retried
from mercato.rpc.call import Call, calling
from mercato.testing import acting, all_at_once
from tests.servers import FreshDatabase

RELEASED = StockReleased(reservation_id="r", order_id="o", expired=True)


class NameTaken(AlreadyExists):
    """There is such a name."""


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("inventory", size=2, constraints={"warehouse_pkey": NameTaken}) as database:
        yield database


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("", development=True)


def add(work: Work | Any, name: str) -> None:
    work.connection.execute("insert into warehouse (id, name) values (%s, '')", [name])


def change(database: Database, name: str, *versions: int, fail: bool = False) -> None:
    """Add a warehouse and publish an event with each version."""
    with Work(database, "inventory") as work:
        add(work, name)
        for version in versions:
            work.publish(RELEASED, name, version)
        if fail:
            raise LookupError


def there(database: Database, name: str) -> bool:
    with database.reading() as connection:
        return connection.execute("select from warehouse where id = %s", [name]).rowcount == 1


def waiting(database: Database, aggregate_id: str) -> list[tuple[Any, ...]]:
    statement = "select topic, version, type, payload, headers from outbox where aggregate_id = %s order by id"
    with database.reading() as connection:
        return connection.execute(statement, [aggregate_id]).fetchall()


def test_a_change_and_its_events_are_committed_together(database: Database) -> None:
    name = str(uuid7())
    with bound(request_id="r1", order_id="o1"), Work(database, "inventory") as work:
        add(work, name)
        work.publish(RELEASED, name, 1)
        work.publish(RELEASED, name, 2)
        assert not waiting(database, name)
    assert there(database, name)
    rows = waiting(database, name)
    assert [row[:3] for row in rows] == [
        ("mercato.inventory.v1", 1, "mercato.api.inventory.v1.StockReleased"),
        ("mercato.inventory.v1", 2, "mercato.api.inventory.v1.StockReleased"),
    ]
    assert StockReleased.FromString(rows[0][3]) == RELEASED
    assert rows[0][4] == {"ce_source": "/mercato/inventory", "request_id": "r1", "order_id": "o1"}


def test_what_fails_leaves_neither_change_nor_event(database: Database) -> None:
    name = str(uuid7())
    with pytest.raises(LookupError):
        change(database, name, 1, fail=True)
    assert not there(database, name)
    assert not waiting(database, name)


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_handed_over_early_leaves_with_the_commit_or_not_at_all(database: Database, fails: bool) -> None:
    name, bell = f"early {fails}", database.published.listen()
    with contextlib.suppress(ZeroDivisionError), Work(database, service="inventory") as work:
        work.publish(RELEASED, name, 1)
        work.hand_over()
        assert waiting(database, name) == []
        assert not bell.is_set()
        assert 1 / (not fails)
    assert len(waiting(database, name)) == (not fails)
    assert bell.is_set() == (not fails)


def test_two_events_with_one_version_are_refused(database: Database) -> None:
    name = str(uuid7())
    with pytest.raises(psycopg.errors.UniqueViolation):
        change(database, name, 1, 1)
    assert not there(database, name)


@pytest.mark.parametrize(("place", "is_there"), [("before_commit", False), ("after_commit", True)])
def test_a_crash_on_either_side_of_the_commit_leaves_all_or_nothing(
    database: Database, place: str, is_there: bool
) -> None:
    name = str(uuid7())
    arm(f"{place}=raise", development=True)
    with pytest.raises(FailpointReached):
        change(database, name, 1)
    assert there(database, name) is is_there
    assert bool(waiting(database, name)) is is_there


def test_the_caller_is_told_what_was_written(database: Database) -> None:
    name = str(uuid7())
    with acting() as call, Work(database, "inventory") as work:
        work.publish(RELEASED, name, 1)
        work.publish(RELEASED, name, 2)
    assert call.written == {f"inventory/{name}": 2}


def test_a_violated_constraint_is_the_error_that_it_stands_for(database: Database) -> None:
    name = str(uuid7())
    with Work(database, "inventory") as work:
        add(work, name)
    with pytest.raises(NameTaken), Work(database, "inventory") as work:
        add(work, name)


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("select %s::text", "a\0b"),
        ("select %s::text[]", ["a\0b"]),
        ("select %s::jsonb", Jsonb("a\0b")),
    ],
)
def test_a_text_with_a_nul_is_a_mistake_of_the_caller_wherever_it_stands(
    database: Database, statement: LiteralString, value: object
) -> None:
    with pytest.raises(NulInText), Work(database, "inventory") as work:
        work.connection.execute(statement, [value])


def test_a_statement_ends_with_its_callers_deadline(database: Database) -> None:
    began = time.monotonic()
    with (
        calling(Call(ends=began + 0.2)),
        pytest.raises(DeadlineExceeded),
        database.transaction() as connection,
    ):
        connection.execute("select pg_sleep(60)")
    assert time.monotonic() - began < 30
    with database.reading() as connection:
        assert connection.execute("select current_setting('statement_timeout')").fetchone() == ("5s",)


def test_a_call_whose_time_is_over_does_not_begin(database: Database) -> None:
    with calling(Call(ends=time.monotonic() - 1)), pytest.raises(DeadlineExceeded), database.transaction():
        raise AssertionError


def test_who_finds_no_free_connection_hears_that_there_is_too_much_to_do(database: Database) -> None:
    with database.reading(), database.reading(), calling(Call(ends=time.monotonic() + 0.1)):  # noqa: SIM117
        with pytest.raises(Overloaded), database.reading():
            raise AssertionError


def test_a_deadlock_costs_one_of_the_two_a_second_try(database: Database) -> None:
    one, other, meet, through = str(uuid7()), str(uuid7()), threading.Barrier(2), threading.Event()
    with Work(database, "inventory") as work:
        add(work, one)
        add(work, other)

    def rename(first: str, second: str) -> int:
        tries = 0

        def attempt() -> int:
            nonlocal tries
            tries += 1
            # Whoever tries again could else be faster than the one that waited, and meet it once more.
            assert tries == 1 or through.wait(60)
            with database.transaction() as connection:
                connection.execute("update warehouse set name = 'x' where id = %s", [first])
                if tries == 1:
                    meet.wait(60)
                connection.execute("update warehouse set name = 'x' where id = %s", [second])
            through.set()
            return tries

        return retried(attempt)

    outcomes = all_at_once([lambda: rename(one, other), lambda: rename(other, one)])
    assert sorted(map(str, outcomes)) == ["1", "2"]


def test_a_race_that_is_always_lost_is_told_in_the_end() -> None:
    tries: list[int] = []

    def lose() -> None:
        tries.append(1)
        raise LostRace

    with pytest.raises(LostRace):
        retried(lose)
    assert len(tries) == 3


def test_a_pool_whose_connections_were_ended_serves_again(fresh_database: FreshDatabase) -> None:
    with fresh_database.of("delivery", size=2) as database:
        with database.reading() as one, database.reading() as other:
            ended = [one.info.backend_pid, other.info.backend_pid]
        with psycopg.connect(fresh_database.url, autocommit=True) as connection:
            for pid in ended:
                connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
        for _ in ended:  # handed out a moment ago, they are not looked at again; each fails once
            with pytest.raises(Unavailable), database.transaction():
                raise AssertionError
        with database.transaction() as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_connection_that_breaks_within_a_transaction_takes_it_back(
    fresh_database: FreshDatabase, database: Database
) -> None:
    name = str(uuid7())

    def broken() -> None:
        with Work(database, "inventory") as work:
            add(work, name)
            with psycopg.connect(fresh_database.url, autocommit=True) as connection:
                connection.execute("select pg_terminate_backend(%s, 5000)", [work.connection.info.backend_pid])
            add(work, str(uuid7()))

    with pytest.raises(Unavailable):
        broken()
    assert not there(database, name)
