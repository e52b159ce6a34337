"""How long an audit takes: every rule over a shop with a past, the first time and again, beside the naive way.

Fills a PostgreSQL of its own with consistent orders in every schema (past.py), audits it through the role that may only
read, and once more, as the auditor does that is always on. The naive way measured beside it asks for each order, one
after the other, what belongs to it, and compares in Python: on a sample, for it takes that long.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from rich.console import Console
from rich.table import Table

from auditor.mesh import SCHEMAS, Auditor
from auditor.provider import ProviderLog
from benchmarks.meter import cpu_of
from benchmarks.past import fill
from mercato.api.order.v1 import order_pb2
from mercato.audit import Report
from mercato.local.postgres import Postgres
from mercato.local.server import free_port, running
from mercato.migrate import migrate, service_url

PASSWORD = "benchmark"  # noqa: S105  of a server that is gone in a minute
NAIVE = 500
OF_ONE: tuple[LiteralString, ...] = (
    "select state, version, document from orders.order_view where order_id = %s",
    "select version, type from orders.events where stream_id = %s order by version",
    "select kind from orders.process where order_id = %s",
    "select id, state, skus, quantities from inventory.reservation where order_id = %s",
    "select id, state, authorized, captured, refunded from payments.payment where order_id = %s",
    """select l.account, l.side, l.amount from payments.ledger_entry l join payments.payment p on p.id = l.payment_id
    where p.order_id = %s""",
    "select state from delivery.hold where order_id = %s",
    "select state from delivery.shipment where order_id = %s",
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one way took: seconds, and seconds of CPU in the database and here."""

    seconds: float
    database: float
    here: float


def main() -> None:
    """Fill, audit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100_000, help="how many orders the shop has (default 100,000)")
    parser.add_argument("--rules", type=int, default=8, help="how many of the slowest rules are named")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        server = Postgres(Path(folder) / "data", free_port(), durable=False)
        with running(server, Path(folder) / "log") as postgres:
            clean = measure(console, postgres.url, given.orders, given.rules)
    sys.exit(0 if clean else 1)


def measure(console: Console, server_url: str, orders: int, named: int) -> bool:
    """All of it on one server; whether nothing was found, as must be."""
    url = urlsplit(server_url)._replace(path="/shop").geturl()
    migrate(url, dict.fromkeys(SCHEMAS, PASSWORD), auditor=PASSWORD)
    console.print(f"filling {orders:,} orders …")
    lines = fill(url, orders)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        row = connection.execute("select pg_backend_pid()").fetchone()
    leader = _leader(int(row[0]) if row else 0)
    reports: list[Report] = []
    with closing(
        Auditor(
            service_url(url, "auditor", PASSWORD), ProviderLog(lambda after: iter(lines[after:])), timedelta(seconds=30)
        )
    ) as auditor:
        first, again = (taken(leader, lambda: reports.append(auditor.audit())) for _ in range(2))
    naive = taken(leader, lambda: one_by_one(url))
    console.print(_shown(orders, first, again, naive))
    slowest = sorted(reports[0].verdicts, key=lambda verdict: -verdict.seconds)[:named]
    console.print("slowest: " + ", ".join(f"{each.schema}/{each.rule} {each.seconds:.1f} s" for each in slowest))
    console.print(f"{len(reports[0].verdicts)} rules, {reports[0].count} findings, {dict(reports[0].audited)}")
    return all(report.clean for report in reports)


def taken(leader: int, act: Callable[[], Any]) -> Taken:
    """What something took."""
    began, database, here = time.monotonic(), cpu_of(leader), _cpu()
    act()
    return Taken(time.monotonic() - began, cpu_of(leader) - database, _cpu() - here)


def one_by_one(url: str) -> None:
    """Fetch what belongs to each of some orders, as one would who compares in a program."""
    with psycopg.connect(url, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute("select order_id from orders.order_view limit %s", [NAIVE])]
        for order_id in ids:
            (_, _, document), *_ = connection.execute(OF_ONE[0], [order_id]).fetchall()
            order_pb2.Order.FromString(document)
            for statement in OF_ONE[1:]:
                connection.execute(statement, [order_id]).fetchall()


def _leader(backend: int) -> int:
    """The server's first process, whose child a backend is."""
    return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1]) if backend else 0


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _shown(orders: int, first: Taken, again: Taken, naive: Taken) -> Table:
    table = Table("way", "orders", "seconds", "µs an order", "CPU database", "CPU here", "ratio", box=None)
    each = naive.seconds / min(NAIVE, orders)
    for name, way, number in (
        ("audit, first", first, orders),
        ("audit, again", again, orders),
        ("one by one", naive, NAIVE),
    ):
        own = way.seconds / number
        cpu = (f"{part / number * 1e6:.0f} µs" for part in (way.database, way.here))
        table.add_row(name, f"{number:,}", f"{way.seconds:.1f}", f"{own * 1e6:.0f}", *cpu, f"{each / own:.1f} x")
    return table


if __name__ == "__main__":
    main()
