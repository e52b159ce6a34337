"""Migrations on a real PostgreSQL: once, in order, under a lock; and roles that see their own schema only."""

from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from mercato.migrate import BadMigration, migrate, pending, service_url
from mercato.postgres import Database
from mercato.testing import at_once
from tests.servers import SCHEMAS, FreshDatabase, PostgresServer

PASSWORDS = {"bread": "crumbs", "cheese": "holes"}


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.empty()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "chassis/0001_seen.sql", "create table seen (id int primary key);")
    write(tmp_path, "bread/0001_loaf.sql", "create table loaf (id int); insert into loaf values (1);")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def loaves(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from bread.loaf").fetchone()
        return row[0] if row else -1


def test_a_missing_database_is_made_and_each_file_runs_once(url: str, folder: Path) -> None:
    done = migrate(url, PASSWORDS, folder)
    assert [line for line in done if line.startswith(("bread", "cheese"))] == [
        "bread: chassis/0001_seen.sql",
        "bread: bread/0001_loaf.sql",
        "cheese: chassis/0001_seen.sql",
    ]
    assert migrate(url, PASSWORDS, folder) == []
    assert loaves(url) == 1


def test_a_new_file_runs_alone(url: str, folder: Path) -> None:
    migrate(url, PASSWORDS, folder)
    write(folder, "bread/0002_more.sql", "insert into loaf values (2);")
    assert migrate(url, PASSWORDS, folder) == ["bread: bread/0002_more.sql"]
    assert loaves(url) == 2


def test_two_who_migrate_at_once_do_it_once(url: str, folder: Path) -> None:
    outcomes = at_once(lambda: migrate(url, PASSWORDS, folder), times=3)
    assert sorted(outcomes, key=str)[1:] == [[], []]
    assert loaves(url) == 1


def test_an_applied_file_that_was_edited_is_refused_and_nothing_runs(url: str, folder: Path) -> None:
    migrate(url, PASSWORDS, folder)
    write(folder, "bread/0001_loaf.sql", "create table loaf (id int, crust text);")
    write(folder, "bread/0002_more.sql", "insert into loaf values (2);")
    with pytest.raises(BadMigration, match=r"bread/0001_loaf\.sql was edited after it was applied to bread"):
        migrate(url, PASSWORDS, folder)
    assert loaves(url) == 1


def test_a_file_that_comes_too_late_is_refused(url: str, folder: Path) -> None:
    write(folder, "bread/0003_late.sql", "insert into loaf values (3);")
    migrate(url, PASSWORDS, folder)
    write(folder, "bread/0002_more.sql", "insert into loaf values (2);")
    with pytest.raises(BadMigration, match=r"0002_more\.sql comes before 0003_late\.sql"):
        migrate(url, PASSWORDS, folder)


@pytest.mark.parametrize("name", ["bread/2_x.sql", "bread/0001_another.sql", "bread/0002-x.sql"])
def test_a_name_without_an_order_is_refused(url: str, folder: Path, name: str) -> None:
    write(folder, name, "select 1;")
    with pytest.raises(BadMigration):
        migrate(url, PASSWORDS, folder)


def test_a_file_that_fails_leaves_nothing_and_names_its_line(url: str, folder: Path) -> None:
    write(folder, "bread/0002_bad.sql", "insert into loaf values (2);\nselect nonsense;")
    with pytest.raises(BadMigration, match=r"bread/0002_bad\.sql failed in bread, line 2: column \"nonsense\""):
        migrate(url, PASSWORDS, folder)
    assert loaves(url) == 1
    write(folder, "bread/0002_bad.sql", "insert into loaf values (2);")
    assert "bread: bread/0002_bad.sql" in migrate(url, PASSWORDS, folder)
    assert loaves(url) == 2


def test_a_changed_password_is_the_one_that_opens(url: str, folder: Path) -> None:
    migrate(url, PASSWORDS, folder)
    migrate(url, PASSWORDS | {"bread": "new"}, folder)
    psycopg.connect(service_url(url, "bread", "new")).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(service_url(url, "bread", "crumbs"))


def test_a_migrator_needs_no_superuser(url: str, postgres: PostgresServer, folder: Path) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create role deployer login createrole createdb password 'deploy'")
    passwords = {"biscuit": "sweet"}
    write(folder, "biscuit/0001_tin.sql", "create table tin (id int);")
    deployer = url.replace(url[: url.rindex("@")], "postgresql://deployer:deploy")
    migrate(deployer, passwords, folder)
    assert migrate(deployer, passwords, folder) == []
    with psycopg.connect(service_url(url, "biscuit", "sweet")) as connection:
        connection.execute("insert into tin values (1)")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_service_can_read_no_other_schema(fresh_database: FreshDatabase, schema: str) -> None:
    with psycopg.connect(fresh_database.url_of(schema), autocommit=True) as connection:
        connection.execute("insert into idempotency (principal, rpc, key, fingerprint) values ('a', 'b', 'c', '')")
        for other in {*SCHEMAS} - {schema}:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"select from {other}.idempotency".encode())
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"set role mercato_{other}".encode())


@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (id int)",
        "create table public.mine (id int)",
        "drop table outbox",
        "alter table outbox add column mine int",
        "truncate outbox",
        "insert into migration (source, name, checksum) values ('chassis', '9999_x.sql', '')",
        "delete from migration",
    ],
)
def test_a_service_changes_rows_and_nothing_else(fresh_database: FreshDatabase, statement: str) -> None:
    with (
        psycopg.connect(fresh_database.url_of("inventory"), autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_a_service_is_held_to_short_statements_and_transactions(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.url_of("orders"), autocommit=True) as connection:
        settings = {
            name: connection.execute("select current_setting(%s)", [name]).fetchone()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path")
        }
    assert settings == {
        "statement_timeout": ("5s",),
        "lock_timeout": ("2s",),
        "idle_in_transaction_session_timeout": ("5s",),
        "search_path": ("orders",),
    }


def test_a_schema_that_lacks_a_migration_is_not_ready(url: str, folder: Path) -> None:
    migrate(url, PASSWORDS, folder)
    write(folder, "bread/0002_more.sql", "insert into loaf values (2);")
    with psycopg.connect(service_url(url, "bread", "crumbs"), autocommit=True) as connection:
        assert pending(connection, "bread", folder) == ["bread/0002_more.sql"]


def test_a_database_is_ready_when_it_has_what_the_code_knows(
    fresh_database: FreshDatabase, inventory_database: Database
) -> None:
    assert inventory_database.ready()
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute("update inventory.migration set name = '0000_older.sql' where name = '0001_stock.sql'")
        assert not inventory_database.ready()
        connection.execute("update inventory.migration set name = '0001_stock.sql' where name = '0000_older.sql'")
    assert inventory_database.ready()
