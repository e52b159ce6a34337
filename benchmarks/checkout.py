"""Orders a second, and what one costs: PlaceOrder over gRPC to a whole mesh, durable, beside itself without company.

    python -m benchmarks.checkout --seconds 4 --buyers 24

A mesh of its own is started (PostgreSQL, Valkey, Kafka, the provider's simulator and all services; the gateway and the
auditor are stopped again) and filled. Buyers are threads of this process that place orders of 1 to 4 lines as the
gateway does. Measured are full load (buyers without a pause) and half of that (orders that are due at even times; an
order's latency counts from when it was due; orders count when they are CONFIRMED), for

    spread, hot          many SKUs, or everybody the same one
    cash, card           cash_on_delivery, or the provider (the simulator: a process of its own, whose log is flushed)
    together, alone      calls travel together and are done as sets, or each goes by itself (MERCATO_TOGETHER=off)

`--profile order` writes where that service's CPU goes, line by line, instead of measuring half load.

Where it goes: of an order of some 26 ms (24 buyers, cash, many SKUs, on two busy hardware threads of one core; 45 to 53
before orders went side by side), order takes 8.3, delivery 2.6, inventory 1.7, user 1.3, product 1.2, payment 1.0,
PostgreSQL 6.3 (for orders 2.9, delivery 1.0, the others 0.5 to 0.7 each), Kafka 3.3. The figure to beat is 1.6 ms, and
it is far away for these reasons, the greatest first:

    an order is 10 calls, 8 events, and 45 rows that are inserted, 16 updated and 11 deleted in 5 schemas, most of them
    those of queues, journals, marks and read models: 21 statements, 5.6 commits and 2.2 flushes of the log, though 7 to
    9 orders share each (51, 15.4 and 5.0 before). The figure to beat is that of a shop without events and slots.
    a round costs what it costs: a reservation takes 1,833 us alone and 167 us among 48. With 24 buyers a round has 8.
    of the CPU of order and delivery, 40 to 45 % is psycopg: statements and their round trips, and getting hold of the
    interpreter again after each. Another 20 to 35 % are threads that wait for their turn and are woken, some 14 times
    an order; 10 to 20 % gRPC's Python. What an order itself asks for (decisions, events, documents, messages) is 5 %,
    Kafka's client 3 to 9 %, signatures 1 %.
    the readers of events (projections, relays, consumers) go round four times a second each, whatever there is: a
    quarter of order's CPU at 20 orders a second, less with more. The three projections read the same events thrice.
"""

import argparse
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import LiteralString

import psycopg
from google.type import latlng_pb2
from rich.console import Console
from rich.table import Table

from benchmarks.meter import Reading, cpu_of
from benchmarks.own_mesh import own_mesh
from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.order.v1 import order_pb2, order_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.auth import Signer
from mercato.errors import MercatoError
from mercato.ids import uuid7
from mercato.local.mesh import Mesh
from mercato.local.part import State
from mercato.money import Money
from mercato.rpc import on_behalf_of
from mercato.rpc.channel import Channels
from mercato.wire import money_to_pb
from shop import city

SERVICES = ("product", "inventory", "delivery", "payment", "user", "order")
PAYS = {"cash": "cash_on_delivery", "card": "pm_card_visa"}
SKUS = 400
PASSWORD = uuid7().hex
CUSTOMERS = 24
PLENTY = 1_000_000
MOST_OF_A_SLOT = 10_000
SAMPLER = Path(__file__).parent / "sampler"


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who orders."""

    id: str
    address_id: str
    slot_ids: tuple[str, ...]
    zone_id: str


class Town:
    """A mesh with goods, slots and customers in plenty, and the way to order there."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._operator = Channels(Signer.load(mesh.home.keys, "operator"), mesh.targets)
        self._gateway = Channels(Signer.load(mesh.home.keys, "gateway"), mesh.targets)
        self._orders = self._gateway.stub(order_pb2_grpc.OrderServiceStub)
        self.customers: list[Customer] = []

    def open(self) -> None:
        """Fill it."""
        products = self._operator.stub(product_pb2_grpc.ProductServiceStub)
        inventory = self._operator.stub(inventory_pb2_grpc.InventoryServiceStub)
        delivery = self._operator.stub(delivery_pb2_grpc.DeliveryServiceStub)
        rows = [_row(number) for number in range(SKUS)]
        products.ImportProducts(iter([product_pb2.ImportProductsRequest(rows=rows)]))
        lines = [inventory_pb2.StockLine(sku=row.sku, quantity=PLENTY) for row in rows]
        for house in city.WAREHOUSES:
            inventory.PutWarehouse(
                inventory_pb2.PutWarehouseRequest(warehouse=inventory_pb2.Warehouse(id=house.id, name=house.name))
            )
            inventory.BatchReceiveStock(
                inventory_pb2.BatchReceiveStockRequest(
                    warehouse_id=house.id, lines=lines, reference="benchmark", request_id=str(uuid7())
                ),
                timeout=30,
            )
        for zone in city.ZONES:
            delivery.PutZone(_zone(zone))
        self.customers = [self._customer(number) for number in range(CUSTOMERS)]

    def _customer(self, number: int) -> Customer:
        users = self._operator.stub(user_pb2_grpc.UserServiceStub)
        delivery = self._operator.stub(delivery_pb2_grpc.DeliveryServiceStub)
        account = user_pb2.PutAccountRequest(
            email=f"buyer-{number}@mercato.example",
            password=PASSWORD,
            display_name="B",
            roles=["customer"],
        )
        user, zone = users.PutAccount(account), city.ZONES[number % len(city.ZONES)]
        place = latlng_pb2.LatLng(latitude=zone.doorstep[0], longitude=zone.doorstep[1])
        address = user_pb2.Address(
            label="home",
            recipient="B",
            line1="1 Row",
            postal_code="45202",
            city="Cincinnati",
            country_code="US",
            location=place,
        )
        with on_behalf_of(user.id):
            kept = self._gateway.stub(user_pb2_grpc.UserServiceStub).CreateAddress(
                user_pb2.CreateAddressRequest(user_id=user.id, address=address)
            )
        slots = delivery.ListSlots(delivery_pb2.ListSlotsRequest(zone_id=zone.id)).slots
        return Customer(user.id, kept.id, tuple(slot.id for slot in list(slots)[-8:]), zone.id)

    def order(self, rnd: random.Random, method: str, *, hot: bool) -> bool:
        """Place an order; False if it was refused, or nobody knows."""
        customer = rnd.choice(self.customers)
        wanted = {sku_of(0)} if hot else {sku_of(rnd.randrange(SKUS)) for _ in range(rnd.randint(1, 4))}
        request = order_pb2.PlaceOrderRequest(
            lines=[order_pb2.LineQuantity(sku=sku, quantity=1) for sku in wanted],
            address_id=customer.address_id,
            slot_id=rnd.choice(customer.slot_ids),
            payment_method=method,
            request_id=str(uuid7()),
        )
        with on_behalf_of(customer.id):
            try:
                self._orders.PlaceOrder(request, timeout=10.0)
            except MercatoError as error:
                REFUSALS[f"{type(error).__name__}: {error}"[:90]] += 1
                return False
        return True

    def confirmed(self) -> int:
        """Orders that came through so far. The placing call may have ended before, with an order that is PENDING."""
        return self._count("select count(*) from orders.events where type = 'OrderConfirmed'")

    def rest(self) -> None:
        """Wait until nothing is left to do for the orders that were placed, at most half a minute."""
        deadline = time.monotonic() + 30
        while self._count("select count(*) from orders.process") and time.monotonic() < deadline:
            time.sleep(0.2)

    def _count(self, query: LiteralString) -> int:
        with psycopg.connect(self.mesh.setup_environment["MERCATO_DATABASE_URL"]) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Leave."""
        self._operator.close()
        self._gateway.close()


REFUSALS: Counter[str] = Counter()


def sku_of(number: int) -> str:
    """The SKU of one of the goods that a town has."""
    return f"bench-{number:04}"


def _row(number: int) -> product_pb2.ImportRow:
    price = money_to_pb(Money(500 + number, city.CURRENCY))
    path = ["Grocery", "Biscuits"]
    return product_pb2.ImportRow(
        line=number + 2, sku=sku_of(number), title=f"Biscuits {number}", category_path=path, price=price
    )


def _zone(zone: city.Zone) -> delivery_pb2.PutZoneRequest:
    corners = [latlng_pb2.LatLng(latitude=corner[0], longitude=corner[1]) for corner in zone.polygon]
    return delivery_pb2.PutZoneRequest(
        zone=delivery_pb2.Zone(
            id=zone.id,
            name=zone.name,
            time_zone=city.TIME_ZONE,
            polygon=corners,
            warehouse_ids=zone.warehouse_ids,
            delivery_fee=money_to_pb(Money(zone.delivery_fee, city.CURRENCY)),
            free_from=money_to_pb(Money(zone.free_from, city.CURRENCY)),
            minimum_total=money_to_pb(Money.zero(city.CURRENCY)),
        ),
        slot_capacity=MOST_OF_A_SLOT,
        first_hour=city.FIRST_HOUR,
        last_hour=city.LAST_HOUR,
    )


def measure(
    act: Callable[[random.Random], bool],
    done_so_far: Callable[[], int],
    *,
    buyers: int,
    rate: float,
    seconds: float,
    warm_up: float,
    pids: dict[str, int],
) -> Reading:
    """Load without a pause, or with so many orders a second due at even times. What came through counts."""
    numbers, began = count(), time.perf_counter()
    start, end = began + warm_up, began + warm_up + seconds
    latencies: list[float] = []
    refused: list[None] = []

    def buy(number: int) -> None:
        rnd = random.Random(number)  # noqa: S311  the same orders in every run
        while True:
            due = began + next(numbers) / rate if rate else time.perf_counter()
            time.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() > end:
                return
            good, done = act(rnd), time.perf_counter()
            if start <= done <= end:
                latencies.append(done - due)
                if not good:
                    refused.append(None)

    threads = [threading.Thread(target=buy, args=[number]) for number in range(buyers)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, start - time.perf_counter()))
    before, done_before = {name: cpu_of(pid) for name, pid in pids.items()}, done_so_far()
    time.sleep(max(0.0, end - time.perf_counter()))
    after, through = {name: cpu_of(pid) for name, pid in pids.items()}, done_so_far() - done_before
    for thread in threads:
        thread.join()
    cpu = {name: after[name] - before[name] for name in pids}
    return Reading(through, len(refused), seconds, sorted(latencies), cpu)


def pids_of(mesh: Mesh) -> dict[str, int]:
    """The processes that an order costs something."""
    pids = {report.name: report.pid for report in mesh.reports() if report.pid and report.state is State.READY}
    return {**{name: pid for name, pid in pids.items() if pid}, "buyers": os.getpid()}


Row = tuple[str, Reading]


def case(
    town: Town, title: str, options: argparse.Namespace, pids: dict[str, int], *, hot: bool, pays: str
) -> Iterable[Row]:
    """The readings at full load and at half of it."""

    def act(rnd: random.Random) -> bool:
        return town.order(rnd, PAYS[pays], hot=hot)

    full = measure(
        act, town.confirmed, buyers=options.buyers, rate=0.0, seconds=options.seconds, warm_up=2.0, pids=pids
    )
    yield f"{title}, full", full
    if not options.profile:
        town.rest()
        half = measure(
            act,
            town.confirmed,
            buyers=options.buyers,
            rate=max(full.rate / 2, 1.0),
            seconds=options.seconds,
            warm_up=1.0,
            pids=pids,
        )
        yield f"{title}, half", half


def report(rows: Sequence[Row], console: Console) -> None:
    """The tables: rates and latencies, and the CPU of an order by process."""
    table = Table(title="Orders", title_justify="left")
    for column in ("", "orders/s", "x alone", "p50 ms", "p95 ms", "p99 ms", "CPU ms/order", "failed"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    alone = {title.removeprefix("alone, "): each for title, each in rows if title.startswith("alone")}
    for title, each in rows:
        peer = alone.get(title.partition(", ")[2])
        table.add_row(
            title,
            f"{each.rate:,.0f}",
            f"{each.rate / peer.rate:.2f}" if peer and peer.rate else "",
            *(f"{each.latency(share) * 1000:.1f}" for share in (0.5, 0.95, 0.99)),
            f"{(each.cpu_each() - each.cpu_each('buyers')) / 1000:.2f}",
            f"{each.refused:,}",
        )
    console.print(table)
    parts = Table(title="CPU of an order by process, ms", title_justify="left")
    names = [name for name in rows[0][1].cpu if name not in ("gateway", "auditor")]
    for column in ("", *names):
        parts.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for title, each in rows:
        parts.add_row(title, *(f"{each.cpu_each(name) / 1000:.2f}" if name in each.cpu else "" for name in names))
    console.print(parts)
    console.print("`CPU ms/order` is that of all processes but the buyers'.")


def at_rest(town: Town, console: Console) -> None:
    """Print what the processes use while nobody orders: it is part of what an order costs when there are few."""
    reading = measure(
        lambda _: True, town.confirmed, buyers=0, rate=0.0, seconds=4.0, warm_up=2.0, pids=pids_of(town.mesh)
    )
    used = {name: seconds / reading.seconds * 1000 for name, seconds in reading.cpu.items()}
    console.print("At rest, ms of CPU a second:", ", ".join(f"{name} {ms:.0f}" for name, ms in used.items()))


def sampled(mesh: Mesh, name: str) -> None:
    """Have a service write where its CPU goes."""
    mesh.restart(name, {"PYTHONPATH": str(SAMPLER), "MERCATO_SAMPLES": str(mesh.home.folder / f"samples.{name}")})


def show_samples(mesh: Mesh, name: str, console: Console) -> None:
    """Print the lines and the functions that cost most."""
    pid = mesh.report(name).pid
    if pid is None:
        return
    os.kill(pid, signal.SIGUSR2)
    time.sleep(1.0)
    path = next(mesh.home.folder.glob(f"samples.{name}.{pid}"))
    own, within, total = Counter[str](), Counter[str](), 0
    for line in path.read_text().splitlines():
        stack, _, spent = line.rpartition(" ")
        frames = [frame.partition(":")[0] for frame in stack.split(";")]
        total += int(spent)
        own[stack.rpartition(";")[2]] += int(spent)
        within.update(dict.fromkeys(frames, int(spent)))
    for title, counted in (("by line", own), ("by function, with all that it calls", within)):
        table = Table(title=f"{name}, {title}: share of {total / 1e6:.1f} s", title_justify="left")
        for where, cost in counted.most_common(45):
            table.add_row(where, f"{cost / total:.1%}")
        console.print(table)


def main() -> None:
    """Measure every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buyers", type=int, default=24, help="threads that order (24)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement lasts (4)")
    parser.add_argument("--ways", nargs="+", choices=["together", "alone"], default=["together", "alone"])
    parser.add_argument("--pays", nargs="+", choices=list(PAYS), default=list(PAYS))
    parser.add_argument("--skus", nargs="+", choices=["spread", "hot"], default=["spread", "hot"])
    parser.add_argument("--profile", choices=SERVICES, help="where this service's CPU goes")
    options, console, began, rows = parser.parse_args(), Console(width=150), time.monotonic(), list[Row]()
    environment = {"MERCATO_PORT": "0", "MERCATO_LOG_LEVEL": "warning"}
    with own_mesh("checkout", environment) as mesh:
        town = Town(mesh)
        town.open()
        for part in ("gateway", "auditor"):
            mesh.stop(part)
        at_rest(town, console)
        for way in options.ways:
            if way == "alone":
                for name in SERVICES:
                    mesh.restart(name, {"MERCATO_TOGETHER": "off"})
            if options.profile:
                sampled(mesh, options.profile)
            for hot in (each == "hot" for each in options.skus):
                for pays in options.pays:
                    title = f"{way}, {'hot' if hot else 'spread'}, {pays}"
                    town.rest()
                    rows += case(town, title, options, pids_of(mesh), hot=hot, pays=pays)
                    if REFUSALS:
                        console.print(f"{title} refused: {dict(REFUSALS)}")
                    REFUSALS.clear()
        if options.profile:
            show_samples(mesh, options.profile, console)
        town.close()
    report(rows, console)
    console.print(f"{options.buyers} buyers, {os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
