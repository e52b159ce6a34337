"""What an open stream of live events costs: memory, CPU at rest, CPU for each event, time until everybody was told.

    python -m benchmarks.streams --streams 2000

A gateway (a process of its own, the real one, on granian) with Kafka and Valkey of its own, over an order and a user
service that this process plays: it answers from memory, so that the gateway's share is what is measured. For each wire
(server-sent events, WebSocket, and server-sent events of the naive design, where every stream asks the order service by
itself) so many clients follow an order each, and then:

    memory      PSS of the gateway for each open stream, beside what it had before
    open        CPU of the gateway to open one
    rest        CPU a second, and questions to the order service a second, while nothing happens
    event       every order changes at once: CPU of the gateway for each frame that a client got
    median, all how long after the change half of the clients, and all of them, had been told
    goodbye     how long after SIGTERM all were told to come back

It needs some 250 descriptors more than streams, here and in the gateway (`ulimit -Hn`).
"""

import argparse
import base64
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from benchmarks.meter import cpu_of
from mercato.api.order.v1 import order_pb2
from mercato.api.user.v1 import user_pb2
from mercato.auth import Verifier
from mercato.cache import connect
from mercato.config import surroundings
from mercato.ids import uuid7
from mercato.kafka import Kafka
from mercato.keys import create_keys
from mercato.local.kafka import Kafka as KafkaServer
from mercato.local.procfs import Memory
from mercato.local.server import free_port, running
from mercato.local.valkey import Valkey
from mercato.rpc.enforce import Enforced, Traffic
from mercato.rpc.server import Server
from mercato.topic import topic

EACH = 20  # streams of one customer
AT_ONCE = 50  # clients that come together
PATIENCE = 60.0
SSE, SOCKET, NAIVE = "server-sent events", "WebSocket", "server-sent events, naive"


@dataclass
class Orders:
    """The order service: what happened to some orders, in memory."""

    happened: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    contract = order_pb2.DESCRIPTOR.services_by_name["OrderService"]

    def __getattr__(self, name: str) -> Any:
        if name not in self.contract.methods_by_name:
            raise AttributeError(name)
        return lambda _request, _context: None

    def ListOrderEvents(self, request: Any, _context: Any) -> order_pb2.ListOrderEventsResponse:  # noqa: N802
        self.asked += 1
        versions = range(request.after_version + 1, self.happened[request.id] + 1)
        return order_pb2.ListOrderEventsResponse(events=[event(version) for version in versions])

    def BatchGetOrderVersions(self, request: Any, _context: Any) -> order_pb2.BatchGetOrderVersionsResponse:  # noqa: N802
        self.asked += 1
        versions = [order_pb2.OrderVersion(id=each, version=self.happened[each]) for each in request.ids]
        return order_pb2.BatchGetOrderVersionsResponse(versions=versions)


def event(version: int) -> order_pb2.OrderEvent:
    """What happens to an order."""
    kind, data = ("OrderPlaced", "OrderConfirmed")[version > 1], {"warehouseId": "north", "paymentId": str(version)}
    return order_pb2.OrderEvent(version=version, type=kind, text="Confirmed: the goods are secured.", data=data)


@dataclass
class Users:
    """The user service: every token is the session of the customer with that name, and copied to Valkey."""

    redis: Redis
    contract = user_pb2.DESCRIPTOR.services_by_name["UserService"]
    tokens: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name not in self.contract.methods_by_name:
            raise AttributeError(name)
        return lambda _request, _context: None

    def LookUpSession(self, request: Any, _context: Any) -> user_pb2.SessionIdentity:  # noqa: N802
        subject = self.tokens[request.token_hash]
        ends = "2100-01-01T00:00:00Z"
        copy = {"sessionId": subject, "subject": subject, "roles": ["customer"], "expireTime": ends}
        with suppress(RedisError):
            self.redis.set(f"session:{request.token_hash}", json.dumps(copy), ex=60)
        identity = user_pb2.SessionIdentity(session_id=subject, subject=subject, roles=["customer"])
        identity.expire_time.FromJsonString(ends)
        return identity

    def sign_in(self) -> str:
        """A customer, whose id is their token."""
        subject = str(uuid7())
        self.tokens[sha256(subject.encode()).hexdigest()] = subject
        return subject


class Crowd:
    """Clients that follow an order each, on one thread; they count what they are told."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket] = []
        self._pending: dict[socket.socket, bytes] = {}
        self._last: dict[socket.socket, bytes] = {}
        self._ends = Counter[bytes]()

    def follow(self, port: int, order_id: str, token: str, *, upgrade: bool) -> None:
        """Another client."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        head = [f"GET /v1/orders/{order_id}/events HTTP/1.1", "Host: x", f"Authorization: Bearer {token}"]
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall("\r\n".join([*head, *(lines if upgrade else []), "", ""]).encode())
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ)
        self._open.append(client)

    def hear(self, word: bytes, number: int) -> list[float]:
        """When each of so many clients heard a word, once each; TimeoutError if they do not."""
        heard: dict[socket.socket, float] = {}
        deadline = time.perf_counter() + PATIENCE
        while len(heard) < number:
            if time.perf_counter() > deadline:
                ends = ", ".join(f"{times} after {end!r}" for end, times in self._ends.most_common(5)) or "none"
                only = f"only {len(heard)} of {number} clients heard {word.decode()}"
                raise TimeoutError(f"{only}; connections that were closed, by what they heard last: {ends}")
            for key, _ in self._selector.select(0.5):
                client: Any = key.fileobj
                if self._heard(client, word):
                    heard.setdefault(client, time.perf_counter())
        return sorted(heard.values())

    def _heard(self, client: socket.socket, word: bytes) -> bool:
        try:
            told = client.recv(65536)
        except OSError:
            told = b""
        if not told:
            self._selector.unregister(client)
            self._ends[self._last.get(client, b"")] += 1
            return False
        text = self._pending.get(client, b"") + told
        self._pending[client] = text[-len(word) :]
        self._last[client] = told[-80:]
        return word in text

    def leave(self) -> None:
        """Go away, all of them."""
        for client in self._open:
            client.close()
        self._selector.close()


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on one wire."""

    memory: float  # bytes a stream
    opened: float  # microseconds of CPU
    rest: float  # milliseconds of CPU a second
    asked: float  # a second
    event: float  # microseconds of CPU
    median: float  # seconds
    everybody: float
    goodbye: float | None


@dataclass
class Stage:
    """The servers, and the services that this process plays."""

    folder: Path
    orders: Orders
    users: Users
    kafka: Kafka
    environment: Mapping[str, str]
    order_port: int

    def tell(self, order_ids: list[str]) -> None:
        """Something happens to all of these orders, and Kafka tells of it."""
        for order_id in order_ids:
            self.orders.happened[order_id] += 1
        producer = self.kafka.producer()
        for order_id in order_ids:
            producer.produce(topic("order"), key=order_id, value=b"x")
            producer.poll(0)
        producer.flush(30)


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Kafka, Valkey and the two services."""
    with ExitStack() as stack:
        broker = stack.enter_context(running(KafkaServer(folder / "kafka", free_port()), folder / "kafka.log"))
        valkey = stack.enter_context(running(Valkey(folder / "valkey", free_port()), folder / "valkey.log"))
        kafka, redis = Kafka(broker.url), stack.enter_context(connect(valkey.url, size=64))
        kafka.warm_up()
        create_keys(folder / "keys", ["gateway"])
        orders, users, environment = Orders(), Users(redis), {}
        for name, service in (("order", orders), ("user", users)):
            doors = [Enforced(service, Verifier(folder / "keys", name), Traffic())]
            server = Server(doors, address="127.0.0.1:0", waiting=4096)
            server.start()
            stack.callback(server.stop, 0)
            environment[f"MERCATO_TARGET_{name.upper()}"] = f"ipv4:127.0.0.1:{server.port}"
        environment |= {
            "MERCATO_NAME": "gateway",
            "MERCATO_KEYS": str(folder / "keys"),
            "MERCATO_KAFKA_BOOTSTRAP": broker.url,
            "MERCATO_REDIS_URL": valkey.url,
            "MERCATO_LEAVE_FIRST": "0ms",
            "MERCATO_GATEWAY_DEADLINE": "30s",  # a busy machine is no reason to refuse anybody
            "MERCATO_LOG_LEVEL": "warning",
        }
        order_port = int(environment["MERCATO_TARGET_ORDER"].rpartition(":")[2])
        yield Stage(folder, orders, users, kafka, environment, order_port)


@contextmanager
def door(stage: Stage, streams: int, *, naive: bool) -> Iterator[tuple[int, int]]:
    """A process that streams: its port and its pid."""
    port = free_port()
    most = {f"MERCATO_GATEWAY_STREAMS{name}": str(streams + 10) for name in ("", "_PER_ADDRESS", "_PER_PRINCIPAL")}
    environment = {**surroundings(), **stage.environment, **most, "MERCATO_GATEWAY_ADDRESS": f"127.0.0.1:{port}"}
    command = [sys.executable, "-m", "gateway"]
    if naive:
        target = f"127.0.0.1:{stage.order_port}"
        keys = str(stage.folder / "keys")
        command = [sys.executable, "-m", "benchmarks.naive_streams", "--port", str(port)]
        command += ["--target", target, "--keys", keys]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _await(lambda: _listens(port), "the gateway does not listen")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def measured(stage: Stage, wire: str, streams: int, seconds: float) -> Figures:
    """The figures of one wire."""
    with door(stage, streams, naive=wire == NAIVE) as (port, pid), ExitStack() as leaving:
        upgrade = wire == SOCKET
        _warm_up(stage, port, upgrade=upgrade)
        crowd, customers = Crowd(), [stage.users.sign_in() for _ in range(streams // EACH + 1)]
        leaving.callback(crowd.leave)
        order_ids = [str(uuid7()) for _ in range(streams)]
        stage.orders.happened.update(dict.fromkeys(order_ids, 1))
        memory, cpu = Memory.of_family(pid).pss, cpu_of(pid)
        for first in range(0, streams, AT_ONCE):
            for number, order_id in enumerate(order_ids[first : first + AT_ONCE], first):
                crowd.follow(port, order_id, customers[number // EACH], upgrade=upgrade)
            crowd.hear(b"OrderPlaced", min(AT_ONCE, streams - first))
        opened = (cpu_of(pid) - cpu) / streams * 1e6
        threading.Event().wait(3.0)
        memory = Memory.of_family(pid).pss - memory
        rest, asked = _rest(stage, pid, seconds)
        told, cpu = time.perf_counter(), cpu_of(pid)
        stage.tell(order_ids)
        heard = [each - told for each in crowd.hear(b"OrderConfirmed", streams)]
        each = (cpu_of(pid) - cpu) / streams * 1e6
        goodbye = None if wire == NAIVE else _goodbye(crowd, pid, streams)
        return Figures(memory / streams, opened, rest, asked, each, heard[streams // 2], heard[-1], goodbye)


def _warm_up(stage: Stage, port: int, *, upgrade: bool) -> None:
    crowd, order_id = Crowd(), str(uuid7())
    stage.orders.happened[order_id] = 1
    crowd.follow(port, order_id, stage.users.sign_in(), upgrade=upgrade)
    crowd.hear(b"OrderPlaced", 1)
    stage.tell([order_id])
    crowd.hear(b"OrderConfirmed", 1)
    crowd.leave()


def _rest(stage: Stage, pid: int, seconds: float) -> tuple[float, float]:
    asked, cpu = stage.orders.asked, cpu_of(pid)
    threading.Event().wait(seconds)
    return (cpu_of(pid) - cpu) / seconds * 1e3, (stage.orders.asked - asked) / seconds


def _goodbye(crowd: Crowd, pid: int, streams: int) -> float:
    began = time.perf_counter()
    os.kill(pid, signal.SIGTERM)
    return crowd.hear(b"come back", streams)[-1] - began


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise TimeoutError(otherwise)


def take_descriptors(streams: int) -> None:
    """Have room for as many connections, here and in processes that are started; SystemExit that says what to do."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + 300
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{streams} streams need {wanted} descriptors and this shell allows {hard}: ulimit -Hn, or --streams")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else hard, hard))


def table(found: Mapping[str, Figures], streams: int) -> Table:
    """The figures, and how often the naive design's they are."""
    shown = Table(title=f"{streams} open streams in one process")
    for column in ("wire", "memory", "open", "at rest", "asked/s", "event", "median", "all", "goodbye"):
        shown.add_column(column, justify="left" if column == "wire" else "right")
    for wire, figures in found.items():
        goodbye = "" if figures.goodbye is None else f"{figures.goodbye:.2f} s"
        shown.add_row(
            wire,
            f"{figures.memory / 1024:.0f} KiB",
            f"{figures.opened:.0f} µs",
            f"{figures.rest:.0f} ms/s",
            f"{figures.asked:.1f}",
            f"{figures.event:.0f} µs",
            f"{figures.median:.2f} s",
            f"{figures.everybody:.2f} s",
            goodbye,
        )
    if NAIVE in found and SSE in found:
        ours, naive = found[SSE], found[NAIVE]
        shown.caption = (
            f"of the naive design's: {ours.memory / naive.memory:.2f} of the memory, "
            f"{ours.rest / max(naive.rest, 0.01):.3f} of the CPU at rest, {ours.event / naive.event:.2f} an event, "
            f"{ours.median / naive.median:.2f} of the time until half were told"
        )
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000, help="clients, each with an order of its own (2000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for which nothing happens (5)")
    given = parser.parse_args()
    take_descriptors(given.streams)
    with tempfile.TemporaryDirectory(prefix="streams") as folder, staged(Path(folder)) as stage:
        found = {}
        for wire in (SSE, SOCKET, NAIVE):
            found[wire] = measured(stage, wire, given.streams, given.seconds)
            print(wire, found[wire], file=sys.stderr)
        Console(width=140).print(table(found, given.streams))


if __name__ == "__main__":
    main()
