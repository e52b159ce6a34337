"""Reservations a second when everybody wants the same: one SKU, and real baskets, over gRPC on a real process.

    python -m benchmarks.hot_sku --buyers 64 --seconds 5

A PostgreSQL of its own (durable: every commit is flushed) and one inventory process for each design are started; buyers
are threads of this process that call ReserveStock as the order service does. The designs, measured one after the other:

    together      what the mesh does: calls that wait travel in one message, and are reserved as one set
    one set       every call travels alone; baskets that wait for each other in the service are reserved as one set
    statement     every call alone, each basket by the one conditional statement, in a transaction of its own
    for update    every call alone, each basket by SELECT … FOR UPDATE, a look, and the writes, in a transaction

Each writes the same rows: stock, ledger, reservation, event, and passes the same checks. The ratio to `for update` and
the microseconds of CPU for each reservation, by process, are steadier than the rates, which depend on what else the
machine does.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from benchmarks.meter import Reading, load
from mercato.api.inventory.v1 import inventory_pb2 as pb
from mercato.api.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.auth import Signer
from mercato.errors import MercatoError
from mercato.group_commit import Turn
from mercato.ids import uuid7
from mercato.keys import create_keys
from mercato.local.postgres import Postgres
from mercato.local.server import free_port, running, wrapped
from mercato.rpc import Principal
from mercato.rpc.channel import Channels
from mercato.runtime import Process, Stack, run
from services.inventory import messages
from services.inventory.config import InventoryConfig
from services.inventory.queries import StockQueries
from services.inventory.servicer import InventoryServicer
from services.inventory.store import CONSTRAINTS, InventoryWork
from services.inventory.usecases import Inventory
from shop.baskets import read
from tests.servers import PostgresServer

WAREHOUSES = ("north", "south")
MANY = 1_000_000
MOST_LINES = 8
DESIGNS = ("together", "one set", "statement", "for update")
ONE, REAL = "one SKU", "baskets of 1-8 lines"


class EachByStatement(InventoryServicer):
    """Reserves each basket as if it were alone."""

    together: Mapping[str, Any] = {}

    def ReserveStock(self, request: Any, context: Any) -> pb.Reservation:  # noqa: N802, ARG002  as the contract has it
        """One statement, one commit."""
        return messages.reservation_to_pb(self._inventory.reserve_stock(messages.basket(request)))


class EachForUpdate(InventoryServicer):
    """Reserves each basket by locking, looking and writing, as most shops do."""

    together: Mapping[str, Any] = {}

    def ReserveStock(self, request: Any, context: Any) -> pb.Reservation:  # noqa: N802, ARG002  as the contract has it
        """A set of one, which is just that."""
        [outcome] = self._inventory.reserve_together([Turn.of(messages.basket(request))])
        if isinstance(outcome, Exception):
            raise outcome
        return messages.reservation_to_pb(outcome)


SERVICERS = dict(zip(DESIGNS, (InventoryServicer, InventoryServicer, EachByStatement, EachForUpdate), strict=True))


def build(design: str, config: InventoryConfig, stack: Stack) -> Process:
    """The inventory service, with one of the designs."""
    database = stack.database("inventory", constraints=CONSTRAINTS)
    inventory = Inventory(lambda: InventoryWork(database, service="inventory"), config.hold)
    return Process(servicers=[SERVICERS[design](inventory, StockQueries(database), stack.page_tokens)])


@contextmanager
def serving(design: str, url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """A process with that design: where it listens, and its pid."""
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "MERCATO_NAME": "inventory",
        "MERCATO_ROLES": "serve",
        "MERCATO_DATABASE_URL": url,
        "MERCATO_KEYS": str(folder / "keys"),
        "MERCATO_GRPC_ADDRESS": address,
    }
    with (folder / "inventory.log").open("ab") as log:
        command = wrapped([sys.executable, "-m", "benchmarks.hot_sku", "--serve", design])
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(20)


def stock_up(stub: Any, skus: list[str]) -> None:
    """Two warehouses with plenty of everything."""
    for name in WAREHOUSES:
        stub.PutWarehouse(pb.PutWarehouseRequest(warehouse=pb.Warehouse(id=name, name=name)))
        for start in range(0, len(skus), 1000):
            lines = [pb.StockLine(sku=sku, quantity=MANY) for sku in skus[start : start + 1000]]
            stub.BatchReceiveStock(
                pb.BatchReceiveStockRequest(
                    warehouse_id=name, lines=lines, reference="benchmark", request_id=str(uuid7())
                ),
                timeout=30,
            )


def buyer(stub: Any, baskets: list[list[pb.StockLine]]) -> Callable[[], bool]:
    """Reserves the next basket."""
    upcoming = cycle(baskets)

    def buy() -> bool:
        request = pb.ReserveStockRequest(
            reservation_id=str(uuid7()), order_id=str(uuid7()), warehouse_ids=WAREHOUSES, lines=next(upcoming)
        )
        try:
            stub.ReserveStock(request)
        except MercatoError:
            return False
        return True

    return buy


def measure(design: str, options: argparse.Namespace, server: PostgresServer, folder: Path) -> dict[str, Reading]:
    """The readings of one design, by what is bought."""
    real = [
        [pb.StockLine(sku=sku, quantity=quantity) for sku, quantity in basket.lines]
        for basket in read().baskets[:20_000]
        if len(basket.lines) <= MOST_LINES
    ]
    skus = sorted({line.sku for lines in real for line in lines})
    bought = {ONE: [[pb.StockLine(sku="hot", quantity=1)]], REAL: real}
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    readings = {}
    with serving(design, server.fresh().url_of("inventory"), folder) as (address, pid):
        operator = Channels(Signer.load(folder / "keys", "operator"), {"inventory": f"ipv4:{address}"})
        signer, targets = Signer.load(folder / "keys", "order"), {"inventory": f"ipv4:{address}"}
        order = Channels(signer, targets, together=design == "together")
        stock_up(operator.stub(InventoryServiceStub, Principal()), ["hot", *skus])
        pids = {"service": pid, "postgres": postmaster, "buyers": os.getpid()}
        for name, baskets in bought.items():
            buy = buyer(order.stub(InventoryServiceStub, Principal()), baskets)
            readings[name] = load(buy, workers=options.buyers, seconds=options.seconds, warm_up=1.0, pids=pids)
        operator.close()
        order.close()
    return readings


def report(readings: Mapping[str, Mapping[str, Reading]], console: Console) -> None:
    """One table for each kind of basket."""
    for name in (ONE, REAL):
        table = Table(title=f"{name}", title_justify="left")
        for column in ("design", "reserved/s", "x for update", "p50 ms", "p99 ms", "refused"):
            table.add_column(column, justify="left" if column == "design" else "right", no_wrap=True)
        for column in ("service", "postgres", "buyers"):
            table.add_column(f"{column} µs", justify="right")
        naive = readings["for update"][name].rate if "for update" in readings else float("nan")
        for design, each in ((design, bought[name]) for design, bought in readings.items()):
            table.add_row(
                design,
                f"{each.rate:,.0f}",
                f"{each.rate / naive:.1f}",
                *(f"{each.latency(share) * 1000:.1f}" for share in (0.5, 0.99)),
                f"{each.refused:,}",
                *(f"{each.cpu_each(process):,.0f}" for process in ("service", "postgres", "buyers")),
            )
        console.print(table)
    console.print("µs: CPU for each reservation. buyers: this process, which makes the calls.")


def main() -> None:
    """Measure every design and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buyers", type=int, default=64, help="threads that buy without a pause (64)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement lasts (5)")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=DESIGNS, help="only these (all)")
    parser.add_argument("--serve", choices=DESIGNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run(lambda config, stack: build(options.serve, config, stack), InventoryConfig)
    console, began = Console(width=110), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hot-sku-")))
        folder.chmod(0o755)
        create_keys(folder / "keys", ("operator", "order", "inventory"))
        postgres = stack.enter_context(running(Postgres(folder / "postgres", free_port()), folder / "postgres.log"))
        server = PostgresServer(postgres.url)
        readings = {}
        for design in options.designs:
            with console.status(f"{options.buyers} buyers, {design}"):
                readings[design] = measure(design, options, server, folder)
    report(readings, console)
    console.print(f"{options.buyers} buyers, {os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
