"""Migrations: plain SQL, forward only, each file once and in a transaction of its own, under one lock.

`migrations/<schema>/NNNN_name.sql` belong to a service; `migrations/chassis/NNNN_name.sql` are run in every schema,
before the service's own. What ran stands in `<schema>.migration` with a checksum: one that was edited is refused.

Each schema has one role, `mercato_<schema>`, that may read and write its tables and see no other schema. It owns
nothing: a migration takes from it what it must not do (`revoke update, delete on events from mercato_orders`). Beside
them there is `mercato_auditor`, which migrations grant what the auditor reads, and which may write nowhere.

The account that migrates needs CREATEROLE, and CREATE on the database; it need not be a superuser.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import Connection, errors, sql

from mercato import log

CHASSIS = "chassis"
AUDITOR = "auditor"
# Whoever migrates holds it; a second one waits. One lock for all schemas, for extensions and roles are common to them.
LOCK = 0x6D657263_61746F
FILE = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
# Backstops. A call's own deadline is shorter and is set by whoever makes the statement.
ROLE_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
}
AUDITOR_SETTINGS: Mapping[str, str] = {"statement_timeout": "120s", "default_transaction_read_only": "on"}
_log = log.get(__name__)


class BadMigration(Exception):
    """Files that cannot be applied to this database; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    source: str
    name: str
    text: str

    @property
    def label(self) -> str:
        """Its path in the folder."""
        return f"{self.source}/{self.name}"

    @property
    def checksum(self) -> str:
        """What changes with any of its bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(
    admin_url: str, passwords: Mapping[str, str], folder: Path | None = None, *, auditor: str = ""
) -> list[str]:
    """Bring the schemas named by `passwords` (schema → its role's password) up to date; what was done, line by line.

    Makes the database if it is missing. With a password for it, the auditor's role may sign in. BadMigration if a file
    was edited after it was applied, or came too late.
    """
    folder = folder or default_folder()
    done: list[str] = []
    with _connected(admin_url) as connection, _locked(connection):
        _close_public(connection)
        for schema, password in passwords.items():
            files = [*migrations(folder, CHASSIS), *migrations(folder, schema)]
            done += _prepare(connection, schema, password)
            done += _apply(connection, schema, files)
        if auditor:
            _admit_auditor(connection, auditor)
    return done


def pending(connection: Connection[Any], schema: str, folder: Path | None = None) -> list[str]:
    """The files that this code knows and the schema does not. Cheap enough to ask whenever readiness is asked for."""
    applied = {(source, name) for source, name, _ in connection.execute(_history(schema))}
    known = _known(folder or default_folder(), schema)
    return [f"{source}/{name}" for source, name in known if (source, name) not in applied]


def role(schema: str) -> str:
    """The role of a schema's service."""
    return f"mercato_{schema}"


def service_url(admin_url: str, schema: str, password: str) -> str:
    """The same database as the role of a schema sees it."""
    parts = urlsplit(admin_url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role(schema)}:{quote(password, safe='')}@{place}").geturl()


def default_folder() -> Path:
    """The project's migrations: beside this package, or within it where it was installed from a wheel."""
    packed = Path(__file__).with_name("migrations")
    return packed if packed.is_dir() else Path(__file__).parents[1] / "migrations"


def migrations(folder: Path, source: str) -> list[Migration]:
    """The files of a source, in their order. BadMigration for names that have none."""
    paths = sorted((folder / source).glob("*.sql"))
    for path in paths:
        if not FILE.fullmatch(path.name):
            raise BadMigration(f"{source}/{path.name} is not named like 0001_what_it_does.sql.")
    for earlier, later in pairwise(paths):
        if earlier.name[:4] == later.name[:4]:
            raise BadMigration(f"{source}/{earlier.name} and {later.name} have the same number.")
    return [Migration(source, path.name, path.read_text()) for path in paths]


@cache
def _known(folder: Path, schema: str) -> tuple[tuple[str, str], ...]:
    files = [*migrations(folder, CHASSIS), *migrations(folder, schema)]
    return tuple((each.source, each.name) for each in files)


def create_database(admin_url: str) -> bool:
    """Make the database that the URL names, unless it is there; whether it was made."""
    name = urlsplit(admin_url).path.lstrip("/")
    maintenance = urlsplit(admin_url)._replace(path="/postgres").geturl()
    with psycopg.connect(maintenance, autocommit=True, connect_timeout=5) as connection:
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except (errors.DuplicateDatabase, errors.UniqueViolation):  # somebody else is making it just now
            return False
    return True


@contextmanager
def _connected(admin_url: str) -> Iterator[Connection[Any]]:
    try:
        connection = psycopg.connect(admin_url, autocommit=True, connect_timeout=5, application_name="migrate")
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise
        create_database(admin_url)
        connection = psycopg.connect(admin_url, autocommit=True, connect_timeout=5, application_name="migrate")
    with connection:
        yield connection


@contextmanager
def _locked(connection: Connection[Any]) -> Iterator[None]:
    connection.execute("set statement_timeout = 0")
    connection.execute("set lock_timeout = 0")
    connection.execute("select pg_advisory_lock(%s)", [LOCK])
    try:
        yield
    finally:
        connection.execute("select pg_advisory_unlock(%s)", [LOCK])


def _close_public(connection: Connection[Any]) -> None:
    opened = connection.execute(
        "select has_schema_privilege('public', oid, 'usage') from pg_namespace where nspname = 'public'"
    ).fetchone()
    if opened and opened[0]:
        try:
            connection.execute("revoke all on schema public from public")
        except errors.InsufficientPrivilege:
            _log.warning("migrate.public_left_open")  # somebody else's database; ours have their own schemas


def _prepare(connection: Connection[Any], schema: str, password: str) -> list[str]:
    """The role with its password and settings; the schema with what the role may do there."""
    name, done = role(schema), []
    with connection.transaction():
        if not connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone():
            connection.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
            done.append(f"role {name}")
        _let_sign_in(connection, name, password)
        if not connection.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone():
            connection.execute(_text(CREATE_SCHEMA, schema))
            done.append(f"schema {schema}")
        _configure(connection, name, {**ROLE_SETTINGS, "search_path": schema})
    return done


def _admit_auditor(connection: Connection[Any], password: str) -> None:
    with connection.transaction():
        _let_sign_in(connection, role(AUDITOR), password)
        _configure(connection, role(AUDITOR), AUDITOR_SETTINGS)


def _let_sign_in(connection: Connection[Any], name: str, password: str) -> None:
    # As a verifier, so that the password itself stands in no log of the server.
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("alter role {} login password {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(verifier)))


def _configure(connection: Connection[Any], name: str, settings: Mapping[str, str]) -> None:
    found = connection.execute("select rolconfig from pg_roles where rolname = %s", [name]).fetchone()
    if found is not None and set(found[0] or ()) == {f"{setting}={value}" for setting, value in settings.items()}:
        return
    for setting, value in settings.items():
        statement = sql.SQL("alter role {} set {} = {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)))


# Rights come by default with every table that is made later, so that a migration may take some away for good.
CREATE_SCHEMA: LiteralString = """
    create schema {schema};
    grant usage on schema {schema} to {role};
    alter default privileges in schema {schema} grant select, insert, update, delete on tables to {role};
    alter default privileges in schema {schema} grant usage on sequences to {role};
    create table {schema}.migration (
        source text not null, name text not null, checksum text not null,
        apply_time timestamptz not null default now(), primary key (source, name)
    );
    revoke insert, update, delete on {schema}.migration from {role};
"""


def _text(template: LiteralString, schema: str) -> sql.Composed:
    return sql.SQL(template).format(schema=sql.Identifier(schema), role=sql.Identifier(role(schema)))


def _history(schema: str) -> sql.Composed:
    return _text("select source, name, checksum from {schema}.migration order by source, name", schema)


def _apply(connection: Connection[Any], schema: str, files: list[Migration]) -> list[str]:
    applied = {(source, name): checksum for source, name, checksum in connection.execute(_history(schema))}
    latest = dict(iter(applied))  # sorted by name: the last of each source stands
    done = []
    for each in files:
        if checksum := applied.get((each.source, each.name)):
            if checksum != each.checksum:
                raise BadMigration(
                    f"{each.label} was edited after it was applied to {schema}: undo the edit and write a new file."
                )
            continue
        if each.name < latest.get(each.source, ""):
            raise BadMigration(f"{each.label} comes before {latest[each.source]}, which {schema} has: renumber it.")
        _run(connection, schema, each)
        done.append(f"{schema}: {each.label}")
    return done


def _run(connection: Connection[Any], schema: str, each: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(_text("set local search_path = {schema}, pg_temp", schema))
            connection.execute(each.text.encode())
            connection.execute(
                _text("insert into {schema}.migration (source, name, checksum) values (%s, %s, %s)", schema),
                [each.source, each.name, each.checksum],
            )
    except psycopg.Error as error:
        at = error.diag.statement_position
        line = each.text[: int(at)].count("\n") + 1 if at else None
        where = f", line {line}" if line else ""
        raise BadMigration(f"{each.label} failed in {schema}{where}: {error.diag.message_primary or error}") from error
