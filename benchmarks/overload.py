"""Five times as much as a service can do: what is still answered, how soon, and how soon all is well again.

    python -m benchmarks.overload --times 5 --seconds 60

A mesh of its own is started and filled; the product service gets four threads, a short queue and a database that takes
its time over every answer. So it has enough to do long before the machine has: its threads wait, and neither it nor the
gateway nor this process is short of a processor. All the while some shoppers order, which needs the product service
too, and some look at products. Searches, the least critical of all, first come beside them from a few connections
without a pause: that is the peak. Then they come at even times, as many as are due, whatever becomes of those before:
at half the peak, at so many times the peak, and at eight tenths of it again.

    goodput      answers with 200 a second; the aim is nine tenths of the peak
    refused      503, at once: by the service, by the gateway's bound, or by its throttle
    CPU          of the service, of the gateway and of this process: seconds of each second
    back after   seconds of the last phase until every search of a second was answered
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.checkout import PASSWORD, Town, sku_of
from benchmarks.meter import cpu_of
from benchmarks.own_mesh import own_mesh
from chaos.proxy import Proxies, Toxic, Way
from mercato.ids import uuid7
from mercato.local.mesh import Mesh
from mercato.local.server import free_port
from mercato.local.table import mesh_parts

WORDS = ("biscuits 1", "biscuits 27", "bisc", "grocery", "biscuts", "biscuits 399")
QUIET = {"MERCATO_GATEWAY_RATE_FACTOR": "1000000", "MERCATO_LOG_LEVEL": "warning"}
CONNECTIONS = 256
ORDERS, LOOKS = 2.0, 10.0
"""Of these a second, in every phase."""
SETTLED = 2
"""Seconds without a refusal that count as being back."""


@dataclass(slots=True)
class Tally:
    """What became of one kind of request in one phase: by second, and how long answers and refusals took."""

    good: Counter[int] = field(default_factory=Counter)
    bad: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    def note(self, second: int, status: str, seconds: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        good = status in ("200", "201", "202")
        (self.good if good else self.bad)[second] += 1
        (self.latencies if good else self.refusals).append(seconds)


class Line:
    """A connection to the gateway that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """The status of an answer, and its body; what broke instead of a status."""
        kept = self._streams is not None
        status, body = await self._asked(request)
        # A connection on which nothing was said for a while is closed by the gateway, as it may be.
        return await self._asked(request) if kept and status == "IncompleteReadError" else (status, body)

    async def _asked(self, request: bytes) -> tuple[str, bytes]:
        try:
            self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = (
                int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]) if b"content-length: " in head else 0
            )
            return head[9:12].decode(), await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as broken:
            self.close()
            return type(broken).__name__, b""

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


Make = Callable[[], bytes]


class Crowd:
    """People who ask at even times, each on a connection that is free."""

    def __init__(self, port: int) -> None:
        self._free: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        self._lines = [Line(port) for _ in range(CONNECTIONS)]
        for line in self._lines:
            self._free.put_nowait(line)

    async def one(self, request: bytes) -> tuple[str, bytes]:
        """An answer."""
        line = await self._free.get()
        try:
            return await line.ask(request)
        finally:
            self._free.put_nowait(line)

    async def evenly(self, make: Make, rate: float, seconds: float) -> Tally:
        """So many requests a second; an answer's time counts from when its request was due."""
        tally, began, tasks = Tally(), time.perf_counter(), set[asyncio.Task[None]]()
        for number in itertools.count():
            due = began + number / rate
            if due >= began + seconds:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._timed(make(), tally, due, began))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return tally

    async def greedily(self, make: Make, connections: int, seconds: float) -> Tally:
        """From so many connections, without a pause."""
        tally, began = Tally(), time.perf_counter()

        async def ask() -> None:
            while (now := time.perf_counter()) < began + seconds:
                await self._timed(make(), tally, now, began)

        await asyncio.gather(*(ask() for _ in range(connections)))
        return tally

    async def _timed(self, request: bytes, tally: Tally, due: float, began: float) -> None:
        status, _ = await self.one(request)
        tally.note(int(due - began), status, time.perf_counter() - due)

    def close(self) -> None:
        """Hang up."""
        for line in self._lines:
            line.close()


class People:
    """What they ask for."""

    def __init__(self, town: Town, port: int) -> None:
        self._town = town
        self._crowd = Crowd(port)
        self._random = random.Random(1)  # noqa: S311  the same requests in every run
        self._tokens: list[str] = []
        self._ids: list[str] = []

    async def __aenter__(self) -> "Crowd":
        for number in range(8):
            who = {"email": f"buyer-{number}@mercato.example", "password": PASSWORD}
            status, session = await self._crowd.one(_request("POST", "/v1/sessions", who))
            if status != "201":
                raise SystemExit(f"buyer {number} could not sign in: {status} {session!r}")
            self._tokens.append(json.loads(session)["token"])
        _, page = await self._crowd.one(_request("GET", "/v1/products?pageSize=100"))
        self._ids = [each["id"] for each in json.loads(page)["products"]]
        return self._crowd

    async def __aexit__(self, *_: object) -> None:
        self._crowd.close()

    def search(self) -> bytes:
        """Somebody with a session searches: nothing is kept."""
        words = quote(self._random.choice(WORDS))
        return _request("GET", f"/v1/products:search?q={words}", token=self._random.choice(self._tokens))

    def look(self) -> bytes:
        """Somebody with a session looks at a product."""
        return _request(
            "GET", f"/v1/products/{self._random.choice(self._ids)}", token=self._random.choice(self._tokens)
        )

    def order(self) -> bytes:
        """Somebody orders."""
        number = self._random.randrange(len(self._tokens))
        customer = self._town.customers[number]
        order = {
            "lines": [{"sku": sku_of(self._random.randrange(400)), "quantity": 1}],
            "addressId": customer.address_id,
            "slotId": self._random.choice(customer.slot_ids),
            "paymentMethod": "cash_on_delivery",
        }
        return _request("POST", "/v1/orders", order, self._tokens[number])


def _request(method: str, path: str, body: object = None, token: str = "") -> bytes:
    text = json.dumps(body) if body is not None else ""
    head = [f"{method} {path} HTTP/1.1", "host: shop", f"content-length: {len(text)}", f"idempotency-key: {uuid7()}"]
    head += ["content-type: application/json"] if text else []
    head += [f"authorization: Bearer {token}"] if token else []
    return "\r\n".join([*head, "", text]).encode()


@dataclass(frozen=True, slots=True)
class Phase:
    """What came of some seconds."""

    title: str
    seconds: float
    rate: float
    searches: Tally
    looks: Tally
    orders: Tally
    cpu: Sequence[float]

    @property
    def goodput(self) -> float:
        """Searches answered a second."""
        return sum(self.searches.good.values()) / self.seconds


@contextmanager
def slow_database(mesh: Mesh, delay: float) -> Iterator[Mapping[str, str]]:
    """What the product service is told, so that its database takes so many seconds longer over each answer."""
    product = next(part for part in mesh_parts(mesh.home, mesh.settings) if part.name == "product")
    url = urlsplit(product.slots[0].environment["MERCATO_DATABASE_URL"])
    port = free_port()
    with Proxies({"database": {port: url.port or 5432}}) as proxies:
        proxies.spoil("database", Toxic(delay=delay), Way.REPLIES)
        place = f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
        yield {"MERCATO_DATABASE_URL": url._replace(netloc=place).geturl()}


async def phase(crowd: Crowd, people: People, pids: Sequence[int], title: str, rate: float, seconds: float) -> Phase:
    """Searches at a rate, or without a pause, and some orders and looks beside them."""
    before = [cpu_of(pid) for pid in pids]
    kinds: Sequence[Awaitable[Tally]] = [
        crowd.evenly(people.search, rate, seconds) if rate else crowd.greedily(people.search, 8, seconds),
        crowd.evenly(people.look, LOOKS, seconds),
        crowd.evenly(people.order, ORDERS, seconds),
    ]
    searches, looks, orders = await asyncio.gather(*kinds)
    cpu = [(cpu_of(pid) - was) / seconds for pid, was in zip(pids, before, strict=True)]
    return Phase(title, seconds, rate, searches, looks, orders, cpu)


def back_after(last: Phase) -> int | None:
    """Seconds until searches were all answered, and stayed so; None if that never came."""
    for second in range(int(last.seconds) - SETTLED):
        if not any(last.searches.bad[each] for each in range(second, second + SETTLED)):
            return second
    return None


async def run(town: Town, options: argparse.Namespace, console: Console) -> tuple[float, list[Phase]]:
    """All phases, one after the other."""
    people = People(town, urlsplit(town.mesh.url).port or 80)
    pids = [*(town.mesh.report(name).pid or 0 for name in ("product", "gateway")), os.getpid()]
    with Progress(console=console) as progress:
        task = progress.add_task("the peak", total=5)
        async with people as crowd:
            await crowd.greedily(people.search, 8, 3)
            phases = [await phase(crowd, people, pids, "without a pause", 0.0, options.calibrate)]
            peak = phases[0].goodput
            for title, rate, seconds in (
                ("half the peak", peak / 2, 10.0),
                (f"{options.times:g} times the peak", peak * options.times, options.seconds),
                ("eight tenths of the peak", peak * 0.8, 15.0),
            ):
                progress.update(task, advance=1, description=title)
                phases.append(await phase(crowd, people, pids, title, rate, seconds))
            progress.update(task, completed=5)
    return peak, phases


def report(peak: float, phases: Sequence[Phase], console: Console) -> None:
    """The table."""
    table = Table(title=f"Searches; the peak is {peak:,.0f} a second", title_justify="left")
    columns = (
        "",
        "came/s",
        "goodput/s",
        "of peak",
        "p50 ms",
        "p99 ms",
        "refused",
        "its p50 ms",
        "looks",
        "orders",
        "CPU",
    )
    for column in columns:
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for each in phases:
        good, refused = sum(each.searches.good.values()), sum(each.searches.bad.values())
        table.add_row(
            each.title,
            f"{(good + refused) / each.seconds:,.0f}",
            f"{each.goodput:,.0f}",
            f"{each.goodput / peak:.0%}",
            *(f"{_quantile(each.searches.latencies, share) * 1000:,.0f}" for share in (0.5, 0.99)),
            f"{refused / (good + refused):.0%}",
            f"{_quantile(each.searches.refusals, 0.5) * 1000:,.1f}",
            _share(each.looks),
            _share(each.orders),
            " ".join(f"{seconds:.2f}" for seconds in each.cpu),
        )
    console.print(table)
    flood = phases[2].searches
    by_five = [
        sum(flood.good[second + each] for each in range(5)) / 5 for second in range(0, int(phases[2].seconds), 5)
    ]
    console.print("Goodput while too many came, by five seconds:", " ".join(f"{each:,.0f}" for each in by_five))
    after = back_after(phases[-1])
    console.print("Back after:", f"{after} s" if after is not None else "never")
    for title, tally in (("searches", flood), ("looks", phases[2].looks), ("orders", phases[2].orders)):
        console.print(f"Statuses of {title} while too many came:", dict(tally.statuses))


def _share(tally: Tally) -> str:
    good, bad = sum(tally.good.values()), sum(tally.bad.values())
    return f"{good} of {good + bad}"


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0


def main() -> None:
    """Overload a service, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=5.0, help="how many times the peak comes (5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (60)")
    parser.add_argument("--threads", type=int, default=4, help="threads of the product service (4)")
    parser.add_argument("--delay", type=float, default=50.0, help="ms that its database takes longer (50)")
    parser.add_argument("--calibrate", type=float, default=8.0, help="how long the peak is measured, seconds (8)")
    options, console = parser.parse_args(), Console(width=150)
    with own_mesh("overload", {"MERCATO_PORT": "0", **QUIET}) as mesh:
        town = Town(mesh)
        town.open()
        mesh.stop("auditor")
        with slow_database(mesh, options.delay / 1000) as slow:
            few = {"MERCATO_THREADS": str(options.threads), "MERCATO_MAXIMUM_CALLS": "32"}
            mesh.restart("product", {**few, **slow})
            peak, phases = asyncio.run(run(town, options, console))
            mesh.restart("product")
        town.close()
    report(peak, phases, console)


if __name__ == "__main__":
    main()
