"""What a request to the gateway costs: requests a second, latency, and CPU by process, beside the naive design.

    python -m benchmarks.edge --seconds 3 --cases cached-product product

A mesh of its own is started and filled with 2,000 groceries; its logs are of level warning. A crowd of 64 connections
(`benchmarks.crowd`, a process of its own that is not counted) asks without a pause:

    bare              granian and a callable that says hello: what no design here can be cheaper than
    cached-product    GET /v1/products/{id} of 100 products, kept by the gateway
    cached-list       GET /v1/products, 20 of them, kept by the gateway
    product           GET /v1/products/{id} of 1,000 products, through gateway, service and PostgreSQL
    list              GET /v1/products of 20, through all of them
    search            GET /v1/products:search for some words
    sign-in           POST /v1/sessions: a password is hashed; from 4 connections
    checkout          POST /v1/orders, cash on delivery; from 16 connections

Each is measured with the design and with the naive one: JSON by `json_format`, no reply kept, every call alone
(MERCATO_GATEWAY_CACHE_BYTES=0, MERCATO_TOGETHER=off). Of the rows without `cached`, the design's gateway keeps nothing
either. Services that a case does not need are stopped, for what they do at rest costs PostgreSQL something; and what
all use at rest, which is measured before each case, is not counted as that of requests.
`Go` is what a good Go stack costs (Gin; grpc-gateway, grpc-go, pgx and a Redis cache; wrk with 64 connections): the
figures to beat.

Why they are not beaten, on two hardware threads of one core: a callable that says hello costs 59 us below granian, five
times Gin's, and what is kept adds 26. Of a product that is not kept (380 to 480 us) the gateway takes two thirds: 130
are the server and the event loop's turns for it, 60 the JSON, 60 the journeys that calls make together (25 of them
gRPC's Python, the rest packing and waking), the rest reading the request and writing the head. The service takes 145,
nearly all of it to tell calls apart, to check and to log each (PostgreSQL 20). Of a list of twenty (960 to 1,050) the
gateway takes 760, of which 400 make JSON of messages, 20 for each product: Go's whole list costs 285.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bare import free_port
from benchmarks.checkout import PASSWORD, SERVICES, Town, sku_of
from benchmarks.crowd import MARK, Task
from benchmarks.meter import Reading, cpu_of
from benchmarks.own_mesh import own_mesh
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.auth import Signer
from mercato.config import surroundings
from mercato.ids import uuid7
from mercato.local.mesh import Mesh
from mercato.local.part import State, answers_http
from mercato.local.table import Table as Parts
from mercato.rpc.channel import Channels
from shop.catalogue import Catalogue
from shop.seed import import_row

GROCERIES = 2_000
WORDS = ("milk", "orange juice", "choclate", "bread", "chees", "ice cream", "apple", "coffee")
NAIVE = {"MERCATO_GATEWAY_CACHE_BYTES": "0", "MERCATO_TOGETHER": "off"}
QUIET = {"MERCATO_GATEWAY_RATE_FACTOR": "1000000", "MERCATO_LOG_LEVEL": "warning"}
KEEPS_NOTHING = {"MERCATO_GATEWAY_CACHE_BYTES": "0"}
GO = {"bare": 11, "cached-product": 30, "cached-list": 25, "product": 76, "list": 285}
"""Microseconds of CPU a request over all server processes, measured on two cores."""
COUNTED = ("gateway", "services", "postgres", "valkey")


@dataclass(frozen=True, slots=True)
class Case:
    """Something to ask."""

    name: str
    requests: Callable[["Shop"], list[str]]
    services: tuple[str, ...] = ("product",)
    kept: bool = False
    connections: int = 64


@dataclass(frozen=True, slots=True)
class Gate:
    """A process that answers HTTP."""

    port: int
    pid: int


class Shop:
    """What there is to ask for."""

    def __init__(self, town: Town, gate: Gate) -> None:
        self._town = town
        self._gate = gate
        self._tokens: list[str] = []
        orders = ("name", "price", "price+desc")
        pages = [self._answer(get(f"/v1/products?pageSize=200&orderBy={each}"))["products"] for each in orders]
        self._ids = list({each["id"]: None for page in pages for each in page})

    def products(self, number: int) -> list[str]:
        """Requests for so many products."""
        return [get(f"/v1/products/{each}") for each in self._ids[:number]]

    def sign_in(self) -> list[str]:
        """Requests by everybody for a session."""
        names = [f"buyer-{number}@mercato.example" for number, _ in enumerate(self._town.customers)]
        return [post("/v1/sessions", {"email": name, "password": PASSWORD}) for name in names]

    def checkout(self) -> list[str]:
        """Requests by everybody for an order."""
        self._tokens = self._tokens or [self._answer(each)["token"] for each in self.sign_in()]
        return [post("/v1/orders", self._basket(number), token) for number, token in enumerate(self._tokens)]

    def _basket(self, number: int) -> dict[str, Any]:
        customer = self._town.customers[number]
        return {
            "lines": [{"sku": sku_of(number * 7 + line), "quantity": 1} for line in range(number % 4 + 1)],
            "addressId": customer.address_id,
            "slotId": customer.slot_ids[number % len(customer.slot_ids)],
            "paymentMethod": "cash_on_delivery",
        }

    def _answer(self, request: str) -> Any:
        head, _, body = request.partition("\r\n\r\n")
        method, path, _ = head.split(" ", 2)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self._gate.port}{path}",
            body.encode() or None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310  the address of our own gateway
            return json.load(answer)


def get(path: str) -> str:
    """A request for an address."""
    return f"GET {path} HTTP/1.1\r\nhost: shop\r\naccept: */*\r\n\r\n"


def post(path: str, body: Mapping[str, Any], token: str = "") -> str:
    """A request to do something, each time another one."""
    text = json.dumps(body)
    known = f"authorization: Bearer {token}\r\nidempotency-key: {MARK.decode()}-{uuid7()}\r\n" if token else ""
    kind = "content-type: application/json"
    return f"POST {path} HTTP/1.1\r\nhost: shop\r\n{kind}\r\n{known}content-length: {len(text)}\r\n\r\n{text}"


CASES = (
    Case("bare", lambda _: [get("/")], services=()),
    Case("cached-product", lambda shop: shop.products(100), kept=True),
    Case("cached-list", lambda _: [get("/v1/products?pageSize=20")], kept=True),
    Case("product", lambda shop: shop.products(500)),
    Case("list", lambda _: [get("/v1/products?pageSize=20")]),
    Case("search", lambda _: [get(f"/v1/products:search?q={each.replace(' ', '+')}") for each in WORDS]),
    Case("sign-in", Shop.sign_in, services=("user",), connections=4),
    Case("checkout", Shop.checkout, services=SERVICES, connections=16),
)


def at_rest(pids: Mapping[str, int], seconds: float = 1.5) -> dict[str, float]:
    """Seconds of CPU that processes use in a second without requests."""
    before = {name: cpu_of(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_of(pid) - before[name]) / seconds for name, pid in pids.items()}


def measure(case: Case, requests: list[str], gate: Gate, pids: Mapping[str, int], seconds: float) -> Reading:
    """What a crowd gets, and what it costs whom."""
    rest = at_rest(pids)
    task = Task(gate.port, requests, case.connections, 1.0, seconds)
    command = [sys.executable, "-m", "benchmarks.crowd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdin
        assert crowd.stdout
        crowd.stdin.write(json.dumps(asdict(task)) + "\n")
        crowd.stdin.flush()
        crowd.stdout.readline()
        before = {name: cpu_of(pid) for name, pid in pids.items()}
        result = json.loads(crowd.stdout.readline())
    after = {name: cpu_of(pid) for name, pid in pids.items()}
    resting = {name: rest[name] * result["seconds"] for name in pids}
    good = sum(number for status, number in result["statuses"].items() if status.startswith("2"))
    cpu = {name: max(0.0, after[name] - before[name] - resting[name]) for name in pids}
    return Reading(good, len(result["latencies"]) - good, result["seconds"], result["latencies"], cpu)


class Stage:
    """The mesh, and what answers HTTP in front of it."""

    def __init__(self, mesh: Mesh, town: Town, stack: ExitStack) -> None:
        self._mesh = mesh
        self._stack = stack
        environment = Parts(mesh.home, mesh.settings).gateway().slots[0].environment
        self._environment = {**surroundings(), **environment, **QUIET}
        self._log = mesh.home.folder / "gates.log"
        self._bare = self._started("benchmarks.bare", {}, "0")
        self._design = {kept: self._gateway("gateway", {} if kept else KEEPS_NOTHING) for kept in (True, False)}
        self._naive = self._gateway("benchmarks.naive_gateway", NAIVE)
        self.shop = Shop(town, self._naive)

    def gate(self, case: Case, naive: bool) -> Gate:
        """Whom a case asks."""
        if not case.services:
            return self._bare
        return self._naive if naive else self._design[case.kept]

    def pids(self, gate: Gate) -> dict[str, int]:
        """The processes that a request costs something."""
        known = {each.name: each.pid for each in self._mesh.reports() if each.pid and each.state is State.READY}
        return {"gateway": gate.pid, **{name: pid for name, pid in known.items() if pid and name != "gateway"}}

    def call(self, services: Sequence[str]) -> None:
        """Have these services run, and no others."""
        running = {each.name for each in self._mesh.reports() if each.state is State.READY}
        for name in (*SERVICES, "simulator"):
            wanted = name in services
            if wanted != (name in running):
                (self._mesh.start if wanted else self._mesh.stop)(name)

    def alone(self, naive: bool) -> None:
        """Have services' calls travel together, or each alone."""
        self._mesh.restart("order", {"MERCATO_TOGETHER": "off"} if naive else {})

    def _gateway(self, module: str, settings: Mapping[str, str]) -> Gate:
        port = free_port()
        own = {
            "MERCATO_GATEWAY_ADDRESS": f"127.0.0.1:{port}",
            "MERCATO_GATEWAY_LISTENER": "-1",
            "MERCATO_HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
            "MERCATO_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            **settings,
        }
        return self._started(module, own, "", port)

    def _started(self, module: str, environment: Mapping[str, str], argument: str, port: int = 0) -> Gate:
        port = port or free_port()
        command = [sys.executable, "-m", module, *([str(port)] if argument else [])]
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                command, env={**self._environment, **environment}, stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        while not answers_http(f"127.0.0.1:{port}", "/readyz"):
            if process.poll() is not None:
                raise SystemExit(f"{module} has ended: see {self._log}")
            time.sleep(0.05)
        return Gate(port, process.pid)


@dataclass(frozen=True, slots=True)
class Row:
    """A case, measured with the design and with the naive one."""

    case: Case
    design: Reading
    naive: Reading


def rows(stage: Stage, cases: Iterable[Case], seconds: float, console: Console) -> Iterable[Row]:
    """Every case, one after the other."""
    for case in cases:
        stage.call(case.services)
        requests = case.requests(stage.shop)
        readings = []
        for naive in (False, True):
            if naive and "order" in case.services:
                stage.alone(naive)
            gate = stage.gate(case, naive)
            readings.append(measure(case, requests, gate, stage.pids(gate), seconds))
        console.print(f"{case.name} done", style="dim")
        yield Row(case, *readings)


def report(found: Sequence[Row], console: Console) -> None:
    """The table."""
    table = Table(title="Requests to the gateway, CPU in µs a request", title_justify="left")
    for column in ("", "requests/s", "p50 ms", "p99 ms", *COUNTED, "all", "x", "Go", "refused"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in found:
        table.add_row(
            row.case.name, *_cells(row.design), _ratio(row), str(GO.get(row.case.name, "")), _refused(row.design)
        )
        if row.case.services:
            table.add_row("  naive", *_cells(row.naive), "", "", _refused(row.naive), style="dim", end_section=True)
    console.print(table)
    console.print(
        "`all` is the CPU of gateway, services, PostgreSQL and Valkey; `x` how many times as much the naive takes."
    )


def _cells(reading: Reading) -> list[str]:
    latencies = (f"{reading.latency(share) * 1000:.1f}" for share in (0.5, 0.99))
    parts = by_part(reading)
    return [f"{reading.rate:,.0f}", *latencies, *(f"{parts[each]:,.0f}" for each in COUNTED), f"{total(reading):,.0f}"]


def by_part(reading: Reading) -> dict[str, float]:
    """Microseconds of CPU for each request, by what is counted."""
    parts = dict.fromkeys(COUNTED, 0.0)
    for name in reading.cpu:
        if (part := "services" if name in SERVICES else name) in parts:
            parts[part] += reading.cpu_each(name)
    return parts


def total(reading: Reading) -> float:
    """Microseconds of CPU for each request."""
    return sum(by_part(reading).values())


def _ratio(row: Row) -> str:
    return f"{total(row.naive) / total(row.design):.1f}" if row.case.services and total(row.design) else ""


def _refused(reading: Reading) -> str:
    return f"{reading.refused:,}" if reading.refused else ""


def fill(mesh: Mesh, town: Town) -> None:
    """Put the groceries on the shelves, beside what a town has."""
    town.open()
    channels = Channels(Signer.load(mesh.home.keys, "operator"), mesh.targets)
    rows = map(import_row, islice((each for each in Catalogue() if each.active), GROCERIES))
    message = product_pb2.ImportProductsRequest
    channels.stub(product_pb2_grpc.ProductServiceStub).ImportProducts(
        iter([message(rows=chunk) for chunk in chunks(rows)])
    )
    channels.close()


def chunks(rows: Iterator[product_pb2.ImportRow], size: int = 200) -> Iterator[list[product_pb2.ImportRow]]:
    """Rows, some at a time."""
    while chunk := list(islice(rows, size)):
        yield chunk


def main() -> None:
    """Measure the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement lasts (3)")
    parser.add_argument("--cases", nargs="+", choices=[each.name for each in CASES], help="those to measure (all)")
    options, console, began = parser.parse_args(), Console(width=140), time.monotonic()
    environment = {"MERCATO_PORT": "0", "MERCATO_LOG_LEVEL": "warning", "MERCATO_MAXIMUM_CALLS": "512"}
    with own_mesh("edge", environment) as mesh, ExitStack() as stack:
        town = Town(mesh)
        stack.callback(town.close)
        fill(mesh, town)
        for part in ("gateway", "auditor"):
            mesh.stop(part)
        stage = Stage(mesh, town, stack)
        chosen = [each for each in CASES if not options.cases or each.name in options.cases]
        found = list(rows(stage, chosen, options.seconds, console))
    report(found, console)
    console.print(f"{os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
