"""Housekeeping on a real PostgreSQL: what is old goes, what may still be wanted stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from mercato import housekeeping
from mercato.housekeeping import Housekeeping
from mercato.postgres import Database
from tests.servers import FreshDatabase

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
COUNT_DAYS = "select count(*) from pg_class where relname ~ '^outbox_journal_\\d'"


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("catalog") as database:
        yield database


@pytest.fixture
def owner(fresh_database: FreshDatabase) -> Iterator[psycopg.Connection]:
    """Somebody who may do what the service's role may not: make the past."""
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute("set search_path = catalog")
        yield connection


def days(owner: psycopg.Connection) -> list[str]:
    found = owner.execute("select relname from pg_class where relname ~ '^outbox_journal_\\d{8}$' and relkind = 'r'")
    return [row[0] for row in found]


def test_days_of_the_journal_are_made_ahead_and_dropped_when_they_are_old(
    database: Database, owner: psycopg.Connection
) -> None:
    for back in (31, 29):
        owner.execute(
            f"do $$ begin execute format('create table outbox_journal_%s partition of outbox_journal "
            f"for values from (%L) to (%L)', to_char(current_date - {back}, 'YYYYMMDD'), current_date - {back}, "
            f"current_date - {back - 1}); end $$".encode()
        )
    before = days(owner)
    Housekeeping(database).run_once(NOON)
    assert {*before} - {*days(owner)} == {min(before)}  # others may have come: a day may have begun since the migration


def test_the_journal_s_days_are_there_ahead(database: Database, owner: psycopg.Connection) -> None:
    owner.execute(
        b"do $$ begin execute 'drop table if exists outbox_journal_' || to_char(current_date + 7, 'YYYYMMDD'); end $$"
    )
    Housekeeping(database).run_once(NOON)
    ahead = owner.execute("select to_char(current_date + n, 'YYYYMMDD') from generate_series(0, 7) n")
    assert {f"outbox_journal_{row[0]}" for row in ahead} <= set(days(owner))


def test_what_had_no_day_of_its_own_goes_with_the_others(database: Database, owner: psycopg.Connection) -> None:
    owner.execute(
        "insert into outbox_journal_rest (bucket, id, topic, aggregate_id, version, event_id, type, payload, headers,"
        " create_time) values (0, 1, 't', 'a', 1, gen_random_uuid(), 't', '', '{}', now() - interval '40 days')"
    )
    Housekeeping(database).run_once(NOON)
    assert owner.execute("select count(*) from outbox_journal_rest").fetchone() == (0,)


def test_the_service_cannot_drop_what_is_young_nor_touch_the_tables_itself(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("select drop_journal_days(7)")
        before = connection.execute(COUNT_DAYS).fetchone()
        connection.execute("select drop_journal_days(0)")
        assert connection.execute(COUNT_DAYS).fetchone() == before
    with pytest.raises(psycopg.errors.InsufficientPrivilege), database.transaction() as connection:
        connection.execute("drop table outbox_journal_rest")


def test_marks_and_keys_are_forgotten_when_nothing_can_come_again(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("""
            insert into consumer_mark (consumer, topic, aggregate_id, version, day) values
                ('c', 't', 'old', 1, current_date - 91), ('c', 't', 'young', 1, current_date - 89),
                ('c', 't', 'parked', 1, current_date - 400);
            insert into parked_event (consumer, topic, topic_id, partition, record_offset, aggregate_id, version, type,
                payload, headers, reason) values ('c', 't', '', 0, 0, 'parked', 2, '', '', '{}', '');
            insert into idempotency (principal, rpc, key, fingerprint, create_time) values
                ('p', 'r', 'old', '', now() - interval '73 hours'), ('p', 'r', 'young', '', now() - interval '71 hours')
        """)
    Housekeeping(database).run_once(NOON)
    with database.reading() as connection:
        marks = connection.execute("select aggregate_id from consumer_mark order by 1").fetchall()
        keys = connection.execute("select key from idempotency").fetchall()
    assert (marks, keys) == ([("parked",), ("young",)], [("young",)])


def test_more_than_one_statement_may_remove_goes_in_several(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            "insert into idempotency (principal, rpc, key, fingerprint, create_time)"
            " select 'p', 'many', n::text, '', now() - interval '100 hours' from generate_series(1, %s) n",
            [housekeeping.BATCH + 5],
        )
    Housekeeping(database).run_once(NOON)
    with database.reading() as connection:
        assert connection.execute("select count(*) from idempotency where rpc = 'many'").fetchone() == (0,)


def test_house_is_kept_once_an_hour(database: Database) -> None:
    house = Housekeeping(database)

    def leave() -> int:
        with database.transaction() as connection:
            connection.execute(
                "insert into idempotency (principal, rpc, key, fingerprint, create_time)"
                " values ('p', 'again', 'k', '', now() - interval '100 hours') on conflict do nothing"
            )
            row = connection.execute("select count(*)::int from idempotency where rpc = 'again'").fetchone()
        return int(row[0]) if row else 0

    leave()
    assert not house.run_once(NOON)
    assert leave() == 1
    house.run_once(NOON + timedelta(minutes=59))
    assert leave() == 1
    house.run_once(NOON + timedelta(minutes=61))
    with database.reading() as connection:
        assert connection.execute("select count(*) from idempotency where rpc = 'again'").fetchone() == (0,)


def test_a_database_that_is_away_is_no_failure(fresh_database: FreshDatabase) -> None:
    with fresh_database.of("catalog") as gone:
        gone.close()
        assert not Housekeeping(gone).run_once(NOON)
