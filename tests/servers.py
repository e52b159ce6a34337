"""Databases for tests: one PostgreSQL for the run, and in it a fresh copy of the whole schema when one is wanted."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlsplit

import psycopg

from mercato.errors import MercatoError
from mercato.migrate import migrate, service_url
from mercato.postgres import Database

SCHEMAS = ("catalog", "inventory", "orders", "payments", "delivery", "users")
PASSWORDS: Mapping[str, str] = {schema: f"password of {schema}" for schema in SCHEMAS}
AUDITOR = "password of auditor"
TEMPLATE = "template_mercato"


class FreshDatabase:
    """A database with every migration, which nobody else uses."""

    def __init__(self, url: str) -> None:
        self.url = url

    def url_of(self, schema: str) -> str:
        """The same, as the role of a schema."""
        return service_url(self.url, schema, PASSWORDS[schema])

    @property
    def url_of_auditor(self) -> str:
        """The same, as the auditor's role."""
        return service_url(self.url, "auditor", AUDITOR)

    @contextmanager
    def of(
        self, schema: str, *, size: int = 4, constraints: Mapping[str, Callable[[], MercatoError]] | None = None
    ) -> Iterator[Database]:
        """A pool for the role of a schema."""
        database = Database(self.url_of(schema), schema, size=size, constraints=constraints)
        try:
            yield database
        finally:
            database.close()


class PostgresServer:
    """The server of the run."""

    def __init__(self, url: str) -> None:
        """Make the template that fresh databases are copied from."""
        self.url = url
        self._names = (f"fresh_{number}" for number in count(1))
        migrate(self._named(TEMPLATE), PASSWORDS, auditor=AUDITOR)

    def empty(self) -> str:
        """The URL of a database, as its superuser, that is not there yet."""
        return self._named(next(self._names))

    def fresh(self) -> FreshDatabase:
        """A new database with every migration."""
        return self._copy_of(TEMPLATE)

    def copy_of(self, other: FreshDatabase) -> FreshDatabase:
        """A new database with all that another one holds, to which nobody is connected."""
        return self._copy_of(urlsplit(other.url).path.lstrip("/"))

    def _copy_of(self, template: str) -> FreshDatabase:
        name = next(self._names)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}".encode())
        return FreshDatabase(self._named(name))

    def _named(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()
