"""Every process replaced under load: requests over REST to a whole mesh, of which none may fail.

    python -m benchmarks.rolling --requests 100000 --clients 12

A mesh of its own is started and filled. Clients are threads of this process, each a customer on a connection that is
kept: they read what is kept at the edge and what is not, write their carts and order, so that every service is asked
all the time. Meanwhile one process after the other is replaced (the new one starts before the old one drains), round
after round, until that many requests were made and each process was replaced at least once. A request failed when the
connection broke, or when it was not answered as it is on a quiet day. It exits with 1 where one did.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.checkout import PASSWORD, SERVICES, SKUS, Customer, Town, sku_of
from benchmarks.own_mesh import own_mesh
from mercato.ids import uuid7
from mercato.local.mesh import Mesh

REPLACED = (*SERVICES, "gateway")
SHOWN = 10
LINES = 100  # as a cart holds


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: how often it comes, and how it is answered on a quiet day."""

    title: str
    weight: int
    statuses: frozenset[int]
    personal: bool = True


KINDS = {
    kind.title: kind
    for kind in (
        Kind("GET /v1/products, kept", 40, frozenset({200}), personal=False),
        Kind("GET /v1/products", 8, frozenset({200})),
        Kind("GET /v1/availability", 8, frozenset({200})),
        Kind("GET /v1/slots", 8, frozenset({200})),
        Kind("GET /v1/users/me", 8, frozenset({200})),
        Kind("GET /v1/payments", 8, frozenset({200})),
        Kind("GET /v1/orders", 8, frozenset({200})),
        Kind("GET /v1/cart", 6, frozenset({200})),
        Kind("PUT /v1/cart/lines", 5, frozenset({200})),
        Kind("POST /v1/orders", 1, frozenset({201, 202})),
    )
}


@dataclass(slots=True)
class Log:
    """What was asked and answered."""

    wanted: int
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    asked: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: {title: [] for title in KINDS})
    failures: list[str] = field(default_factory=list)
    replaced: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)


class Client(threading.Thread):
    """A customer who asks without a pause."""

    def __init__(self, url: str, number: int, customer: Customer, log: Log) -> None:
        super().__init__()
        place = urlsplit(url)
        self._line = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=30)
        self._customer = customer
        self._log = log
        self._random = random.Random(number)  # noqa: S311  the same requests in every run
        status, session = self._send("POST", "/v1/sessions", {"email": _email(number), "password": PASSWORD}, {})
        if status != 201:
            raise SystemExit(f"buyer {number} could not sign in: {status} {session!r}")
        self._session = {"Authorization": f"Bearer {json.loads(session)['token']}"}

    def run(self) -> None:
        """Ask until it is over."""
        titles, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
        while not self._log.over.is_set():
            self._ask(KINDS[self._random.choices(titles, weights)[0]])
        self._line.close()

    def _ask(self, kind: Kind) -> None:
        method, path, body = self._request(kind.title)
        headers = dict(self._session) if kind.personal else {}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid7())
        began = time.perf_counter()
        try:
            status, answer = self._send(method, path, body, headers)
            failure = "" if status in kind.statuses else f"{status} {answer[:300]!r}"
        except (OSError, http.client.HTTPException) as broken:
            failure = repr(broken)
            self._line.close()
        self._log.seconds[kind.title].append(time.perf_counter() - began)
        self._log.asked = next(self._log.numbers)
        if failure:
            self._log.failures.append(f"{time.strftime('%X')} {method} {path}: {failure}")

    def _request(self, title: str) -> tuple[str, str, Any]:
        """Method, path with query, and body."""
        method, path = title.split()[:2]
        sku = sku_of(self._random.randrange(min(SKUS, LINES)))
        match method, path.rstrip(","):
            case "GET", "/v1/availability":
                return method, f"/v1/availability?skus={sku}", None
            case "GET", "/v1/slots":
                return method, f"/v1/slots?zoneId={self._customer.zone_id}", None
            case "PUT", _:
                return method, f"/v1/cart/lines/{sku}", {"quantity": self._random.randint(1, 9)}
            case "POST", _:
                return method, "/v1/orders", self._order(sku)
        return method, path.rstrip(","), None

    def _order(self, sku: str) -> Mapping[str, Any]:
        return {
            "lines": [{"sku": sku, "quantity": 1}],
            "addressId": self._customer.address_id,
            "slotId": self._random.choice(self._customer.slot_ids),
            "paymentMethod": "cash_on_delivery",
        }

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, bytes]:
        about = {"Content-Type": "application/json"} if body is not None else {}
        self._line.request(method, path, None if body is None else json.dumps(body), {**about, **headers})
        answer = self._line.getresponse()
        return answer.status, answer.read()


def _email(number: int) -> str:
    return f"buyer-{number}@mercato.example"


def replace_all(mesh: Mesh, log: Log, progress: Progress) -> None:
    """Replace one process after the other until enough was asked."""
    asking = progress.add_task("requests", total=log.wanted)
    while log.asked < log.wanted or any(not log.replaced[name] for name in REPLACED):
        for name in REPLACED:
            progress.update(asking, completed=min(log.asked, log.wanted), description=f"requests, replacing {name}")
            mesh.restart(name)
            log.replaced[name] += 1
    progress.update(asking, completed=log.wanted, description="requests")


def report(log: Log, console: Console) -> None:
    """The table."""
    table = Table(title="Requests while every process was replaced", title_justify="left")
    for column in ("", "requests", "p50 ms", "p99 ms", "longest ms"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for title, seconds in log.seconds.items():
        ordered = sorted(seconds) or [0.0]
        shares = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99, 1.0))
        table.add_row(title, f"{len(seconds):,}", *(f"{each * 1000:,.1f}" for each in shares))
    console.print(table)
    console.print("Replaced:", ", ".join(f"{name} {times} x" for name, times in log.replaced.items()))
    for failure in log.failures[:SHOWN]:
        console.print(failure, markup=False, style="red")
    console.print(f"{len(log.failures):,} failed of {sum(map(len, log.seconds.values())):,} requests.")


def run(mesh: Mesh, options: argparse.Namespace, console: Console) -> Log:
    """The load, and the replacing."""
    town, log = Town(mesh), Log(options.requests)
    town.open()
    buyers: Sequence[Customer] = town.customers[: options.clients]
    clients = [Client(mesh.url, number, buyer, log) for number, buyer in enumerate(buyers)]
    for client in clients:
        client.start()
    try:
        with Progress(console=console) as progress:
            replace_all(mesh, log, progress)
    finally:
        log.over.set()
        for client in clients:
            client.join()
        town.close()
    return log


def main() -> None:
    """Replace every process under load, and print what was not answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=12, help="customers who ask at once, at most 24 (12)")
    parser.add_argument("--requests", type=int, default=100_000, help="how many requests are made at least (100,000)")
    options, console = parser.parse_args(), Console(width=120)
    environment = {"MERCATO_PORT": "0", "MERCATO_LOG_LEVEL": "warning", "MERCATO_GATEWAY_RATE_FACTOR": "100000"}
    with own_mesh("rolling", environment) as mesh:
        log = run(mesh, options, console)
    report(log, console)
    sys.exit(1 if log.failures else 0)


if __name__ == "__main__":
    main()
