"""What runs out: the database's disk, and its connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from mercato.api.inventory.v1.inventory_events_pb2 import StockReleased
from mercato.errors import Overloaded, Unavailable
from mercato.postgres import Database, Work
from tests.servers import FreshDatabase, PostgresServer

FULL = Path("/dev/full")
"""Every write to it fails as on a disk that has no space left."""


@pytest.fixture
def shop(postgres: PostgresServer) -> FreshDatabase:
    return postgres.fresh()


def change(database: Database, name: str) -> None:
    """A row, and an event of it."""
    with Work(database, "inventory") as work:
        work.connection.execute("insert into warehouse (id, name) values (%s, '')", [name])
        work.publish(StockReleased(reservation_id=name), name, 1)


def kept(shop: FreshDatabase) -> tuple[list[str], list[str]]:
    """The rows that are there, and the events."""
    with psycopg.connect(shop.url) as connection:
        rows = connection.execute("select id from inventory.warehouse order by id").fetchall()
        events = connection.execute("select aggregate_id from inventory.outbox order by id").fetchall()
    return [row[0] for row in rows], [row[0] for row in events]


@contextmanager
def no_space_for(shop: FreshDatabase, table: str) -> Iterator[None]:
    """Within the block, the disk that an empty table lies on is full."""
    with psycopg.connect(shop.url) as connection:
        where = "select current_setting('data_directory'), pg_relation_filepath(%s)"
        row = connection.execute(where, [table]).fetchone()
    assert row
    file = Path(*row)
    aside = file.with_name(f"{file.name}.aside")
    file.rename(aside)
    file.symlink_to(FULL)
    try:
        yield
    finally:
        aside.replace(file)


def test_f23_on_a_full_disk_nothing_is_half_written_and_with_space_all_goes_on(shop: FreshDatabase) -> None:
    with no_space_for(shop, "inventory.outbox"), shop.of("inventory") as database:
        with pytest.raises(Unavailable) as refused:
            change(database, "a")
        assert isinstance(refused.value.__cause__, psycopg.errors.DiskFull)
        with database.reading() as connection:
            assert connection.execute("select count(*) from warehouse").fetchone() == (0,)
    with shop.of("inventory") as database:
        change(database, "a")
    assert kept(shop) == (["a"], ["a"])


def test_f22_a_server_without_a_free_connection_is_too_busy_until_it_has_one(shop: FreshDatabase) -> None:
    name = shop.url.rpartition("/")[2]
    with psycopg.connect(shop.url, autocommit=True) as admin:
        admin.execute(f"alter database {name} connection limit 0".encode())
        with shop.of("inventory", size=1) as database:
            with pytest.raises(Overloaded):
                change(database, "a")
            assert not database.ready()
            admin.execute(f"alter database {name} connection limit -1".encode())
            ends = time.monotonic() + 30
            while not database.ready():
                assert time.monotonic() < ends, "it found no connection"
            change(database, "a")
    assert kept(shop) == (["a"], ["a"])
