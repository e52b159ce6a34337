"""Appends, loads and rebuilds a second of the event store, beside what one would write first.

    python -m benchmarks.event_store --seconds 3 --streams 1000 1000000

A PostgreSQL of its own (durable: every commit is flushed) is started, with the orders' schema. Measured on one
connection, as the role of the service:

    append    one statement in a transaction, beside SELECT max(version), INSERT for each event, a savepoint around them
    load      an order of so many events, decoded and folded, from its snapshot if it has one (the order service keeps
              one for each 100 events), beside the whole replay
    size      append and load with so many streams in the table: flat, if the store does what it should
    rebuild   each projection of orders, from the first event to the swap, beside reading, making and upserting rows in
              turn on one connection; and its verification

CPU is that of this process and of the server together, for each append, load or event. It is steadier than the rates,
which depend on what else the machine does.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import Connection
from rich.console import Console
from rich.table import Table

from benchmarks.meter import cpu_of
from mercato import log
from mercato.event_store import ANY, Never, NewEvent, PostgresEventStore, PostgresSnapshots, Streams
from mercato.event_store.snapshot import Strategy
from mercato.ids import derive, uuid7
from mercato.local.postgres import Postgres
from mercato.local.server import free_port, running
from mercato.money import Money
from mercato.postgres import Database
from mercato.projection import Projection
from mercato.projection.rebuild import CHUNK
from mercato.projection.streams import StreamReader
from mercato.projection.table import ProjectionTable
from services.order.domain import Order
from services.order.events import OrderPickingStarted, PaymentNoted
from services.order.projections import ORDER_BOARD, ORDER_HISTORY, ORDER_LIST, projections
from services.order.store import ORDER, SNAPSHOTS, evolved
from tests.histories import GOOD_WAY, history_of, new_events, placed
from tests.servers import FreshDatabase, PostgresServer

NAIVE = 1_000_000  # a generation that nobody reads
LENGTHS = (10, 100, 1_000, 10_000)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FILL: LiteralString = """
    insert into events (stream_id, version, event_id, type, schema, payload)
    select md5('stream ' || n)::uuid, 1, gen_random_uuid(), 'OrderPickingStarted', 1, '\\x'
    from generate_series(%s::int, %s::int) n
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What came of doing something again and again."""

    rate: float
    p50: float  # milliseconds
    cpu: float  # microseconds each


class Meter:
    """Measures, with the CPU of this process and of the server."""

    def __init__(self, seconds: float, server: int) -> None:
        self._seconds = seconds
        self._pids = (os.getpid(), server)

    def measure(self, act: Callable[[], object]) -> Figure:
        """Do it again and again."""
        for _ in range(8):  # by then the statements are prepared
            act()
        took, cpu, began = list[float](), self._cpu(), time.perf_counter()
        while time.perf_counter() - began < self._seconds:
            start = time.perf_counter()
            act()
            took.append(time.perf_counter() - start)
        lasted = time.perf_counter() - began
        used = (self._cpu() - cpu) / len(took) * 1e6
        return Figure(len(took) / lasted, sorted(took)[len(took) // 2] * 1e3, used)

    def _cpu(self) -> float:
        return sum(map(cpu_of, self._pids))


def naive_append(connection: Connection[Any], stream_id: UUID, events: Sequence[NewEvent]) -> None:
    """What one would write first: look, and insert one by one, prepared for a lost race."""
    with connection.transaction():
        row = connection.execute("select coalesce(max(version), 0) from events where stream_id = %s", [stream_id])
        version = int((row.fetchone() or (0,))[0])
        with connection.transaction():
            for number, each in enumerate(events, start=1):
                connection.execute(
                    "insert into events (stream_id, version, event_id, type, schema, payload) "
                    "values (%s, %s, %s, %s, %s, %s)",
                    [stream_id, version + number, each.id, each.type, each.schema, each.payload],
                )


def append(connection: Connection[Any], stream_id: UUID, events: Sequence[NewEvent], expected: int) -> None:
    """What the store does."""
    with connection.transaction():
        PostgresEventStore(connection, "events").append(stream_id, events, expected)


def appends(meter: Meter, connection: Connection[Any]) -> Iterable[tuple[str, Figure, Figure]]:
    """One event, and several at once, to streams that begin with them."""
    for count in (1, 3):

        def some(count: int = count) -> list[NewEvent]:
            return new_events(history_of(uuid7(), GOOD_WAY)[:count])

        ours = meter.measure(lambda: append(connection, uuid7(), some(), 0))
        naive = meter.measure(lambda: naive_append(connection, uuid7(), some()))
        yield f"append {count}", ours, naive


def loads(meter: Meter, connection: Connection[Any], lengths: Iterable[int]) -> Iterable[tuple[str, Figure, Figure]]:
    """Orders of so many events: placed, and then paid for in very small coin."""
    for length in lengths:
        order_id = uuid7()
        payment_id = derive(order_id, "payment")
        noted = [PaymentNoted(payment_id, Money(n, "USD"), Money(0, "USD")) for n in range(length + 4)]
        append(connection, order_id, new_events([placed(order_id), *noted[: length - 1]]), 0)
        by_snapshot, whole = _streams(connection, SNAPSHOTS), _streams(connection, Never())
        if by_snapshot.load(order_id) != whole.load(order_id):
            raise SystemExit(f"an order of {length} events is not what its snapshot says")
        append(connection, order_id, new_events(noted[-5:]), length)  # the tail
        ours = meter.measure(lambda order_id=order_id, of=by_snapshot: of.load(order_id))  # type: ignore[misc]
        naive = meter.measure(lambda order_id=order_id, of=whole: of.load(order_id))  # type: ignore[misc]
        yield f"load {length:,}", ours, naive


def _streams(connection: Connection[Any], strategy: Strategy) -> Streams[Order]:
    snapshots = PostgresSnapshots(connection, "snapshot")
    return Streams(PostgresEventStore(connection, "events"), evolved, ORDER, snapshots, strategy)


def sizes(meter: Meter, connection: Connection[Any], admin: Connection[Any], wanted: Sequence[int]) -> Table:
    """Append to and load from any stream, with so many in the table."""
    table = _table("streams", "append p50 ms", "CPU µs", "load p50 ms", "CPU µs", "to the smallest")
    dice, filled, first = random.Random(7), 0, None  # noqa: S311  which stream is no secret
    for size in wanted:
        admin.execute(FILL, [filled + 1, size])
        admin.execute("analyze events")
        filled = size

        def anyone(size: int = size) -> UUID:
            row = connection.execute("select md5('stream ' || %s)::uuid", [str(dice.randint(1, size))]).fetchone()
            return row[0] if row else UUID(int=0)

        appended = meter.measure(lambda: append(connection, anyone(), new_events([OrderPickingStarted()]), ANY))
        loaded = meter.measure(lambda: PostgresEventStore(connection, "events").read(anyone()))
        first = first or (appended.cpu, loaded.cpu)
        ratio = f"{appended.cpu / first[0]:.2f}, {loaded.cpu / first[1]:.2f}"
        figures = (f"{appended.p50:.2f}", f"{appended.cpu:.0f}", f"{loaded.p50:.2f}", f"{loaded.cpu:.0f}")
        table.add_row(f"{size:,}", *figures, ratio)
    return table


def rebuilds(fresh: FreshDatabase, orders: int, server: int) -> Table:
    """Every projection rebuilt and verified, over orders that were delivered; and by the naive design, in turn."""
    table = _table("projection", "events", "events/s", "CPU µs", "in turn: /s", "CPU µs", "ratio", "verify s", "equal")
    with fresh.of("orders") as database:
        _fill(database.dedicated(), orders)
        known = projections(database)
        for each in (ORDER_LIST, ORDER_BOARD, ORDER_HISTORY):
            naive, naive_cpu = _timed(partial(rebuild_in_turn, database, each), server)
            with database.dedicated() as connection:
                ProjectionTable(each, "events").sweep(connection, 1)
            seconds, cpu = _timed(partial(known.rebuild, each.name), server)
            verified = known.verify(each.name)
            events = verified.events
            rate, slow = events / seconds, events / naive
            figures = (f"{rate:,.0f}", f"{cpu / events * 1e6:.0f}", f"{slow:,.0f}", f"{naive_cpu / events * 1e6:.0f}")
            equal = "yes" if verified.equal else "NO"
            table.add_row(each.name, f"{events:,}", *figures, f"{rate / slow:.2f}", f"{verified.seconds:.1f}", equal)
    return table


def rebuild_in_turn(database: Database, projection: Projection) -> None:
    """The naive design: one connection reads, rows are made, and are written as if there could be some already."""
    table, reader = ProjectionTable(projection, "events"), StreamReader("events")
    with database.dedicated() as connection:
        connection.execute("set statement_timeout = 0")
        for streams in reader.all(connection, CHUNK):
            table.put(connection, NAIVE, streams)


def _timed(work: Callable[[], object], server: int) -> tuple[float, float]:
    """Seconds that some work took, and seconds of CPU, here and in the server."""
    began, before = time.perf_counter(), cpu_of(os.getpid()) + cpu_of(server)
    work()
    return time.perf_counter() - began, cpu_of(os.getpid()) + cpu_of(server) - before


def _fill(connection: Connection[Any], orders: int) -> None:
    columns = "stream_id, version, event_id, type, schema, payload"
    connection.execute("set statement_timeout = 0")
    with connection, connection.transaction():
        with connection.cursor().copy(f"copy events ({columns}) from stdin".encode()) as copy:
            for _ in range(orders):
                order_id = uuid7()
                for version, each in enumerate(new_events(history_of(order_id, GOOD_WAY)), start=1):
                    copy.write_row((order_id, version, each.id, each.type, each.schema, each.payload))
        connection.execute("analyze events")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    return table


def _compared(rows: Iterable[tuple[str, Figure, Figure]], naive: str) -> Table:
    table = _table("", "a second", "p50 ms", "CPU µs", f"{naive}: a second", "p50 ms", "CPU µs", "ratio", "CPU ratio")
    for name, ours, theirs in rows:
        shown = [
            text for each in (ours, theirs) for text in (f"{each.rate:,.0f}", f"{each.p50:.2f}", f"{each.cpu:,.0f}")
        ]
        table.add_row(name, *shown, f"{ours.rate / theirs.rate:.2f}", f"{theirs.cpu / ours.cpu:.2f}")
    return table


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default: %(default)s)")
    parser.add_argument("--streams", type=int, nargs="+", default=SIZES, help="sizes of the table, rising")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="events of the orders that are loaded")
    parser.add_argument("--orders", type=int, default=5_000, help="orders of 8 events that are rebuilt")
    wanted = parser.parse_args()
    log.configure("event_store", "error")
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    with (
        tempfile.TemporaryDirectory(prefix="event-store-") as folder,
        running(_server(Path(folder)), Path(folder) / "log") as server,
    ):
        fresh, other = (made := PostgresServer(server.url)).fresh(), made.fresh()
        pid = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
        meter = Meter(wanted.seconds, pid)
        with (
            psycopg.connect(fresh.url_of("orders"), autocommit=True) as connection,
            psycopg.connect(fresh.url, autocommit=True, options="-c search_path=orders") as admin,
        ):
            connection.execute("set statement_timeout = 0")
            console.print(_compared(appends(meter, connection), "one by one"), "")
            console.print(_compared(loads(meter, connection, wanted.lengths), "whole replay"), "")
            console.print(sizes(meter, connection, admin, wanted.streams), "")
        console.print(rebuilds(other, wanted.orders, pid))


def _server(folder: Path) -> Postgres:
    folder.chmod(0o755)  # the server runs as somebody else
    return Postgres(folder / "data", free_port())


if __name__ == "__main__":
    main()
