"""Whether relay, consumers and processes beside it cost a serving process latency: one process for all, or two.

    python -m benchmarks.roles --seconds 8

A mesh of its own is started and filled as for `benchmarks.checkout`; buyers place orders
without a pause. Measured with the order service as it comes (MERCATO_ROLES: serve, relay, consume, process in
one) and with two processes, of which one only serves and the other does the rest.
"""

import argparse
import os
import random
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from benchmarks.checkout import PAYS, Town, measure, pids_of
from benchmarks.meter import Reading
from benchmarks.own_mesh import own_mesh

WAYS: Mapping[str, Mapping[str, str]] = {
    "all in one": {"order": "serve,relay,consume,process"},
    "serve apart": {"order": "serve", "order-2": "relay,consume,process"},
}


def report(readings: Mapping[str, Reading], console: Console) -> None:
    """The table."""
    table = Table(title="PlaceOrder, cash on delivery", title_justify="left")
    for column in ("", "orders/s", "x one", "p50 ms", "p99 ms", "CPU of order ms", "of all ms"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    first = next(iter(readings.values()))
    for way, each in readings.items():
        own = sum(each.cpu_each(name) for name in each.cpu if name.startswith("order"))
        table.add_row(
            way,
            f"{each.rate:,.1f}",
            f"{each.rate / first.rate:.2f}" if first.rate else "",
            *(f"{each.latency(share) * 1000:.0f}" for share in (0.5, 0.99)),
            f"{own / 1000:.2f}",
            f"{(each.cpu_each() - each.cpu_each('buyers')) / 1000:.2f}",
        )
    console.print(table)


def main() -> None:
    """Measure both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buyers", type=int, default=12, help="threads that order (12)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each measurement lasts (8)")
    options, console, began = parser.parse_args(), Console(width=110), time.monotonic()
    environment = {"MERCATO_PORT": "0", "MERCATO_LOG_LEVEL": "warning", "MERCATO_COPIES": "order=2"}
    readings: dict[str, Reading] = {}
    with own_mesh("roles", environment) as mesh:
        town = Town(mesh)
        town.open()
        for part in ("gateway", "auditor", "order-2"):
            mesh.stop(part)

        def act(rnd: random.Random) -> bool:
            return town.order(rnd, PAYS["cash"], hot=False)

        for way, roles in WAYS.items():
            for name, held in roles.items():
                mesh.restart(name, {"MERCATO_ROLES": held})
            town.rest()
            pids = pids_of(mesh)
            readings[way] = measure(
                act, town.confirmed, buyers=options.buyers, rate=0.0, seconds=options.seconds, warm_up=2.0, pids=pids
            )
        town.close()
    report(readings, console)
    console.print(f"{options.buyers} buyers, {os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
