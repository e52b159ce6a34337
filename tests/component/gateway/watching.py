"""Orders to watch in tests, and those who watch them on either wire."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mercato.api.order.v1 import order_pb2
from mercato.errors import Unavailable
from tests.component.gateway.conftest import Mesh

ID = "0190a6e0-0000-7000-8000-00000000000a"
PATH = f"/v1/orders/{ID}/events"
PATIENCE = 30.0


class History:
    """What happened to an order so far."""

    def __init__(self, *types: str) -> None:
        self.events: list[order_pb2.OrderEvent] = []
        self.asked, self.swept = threading.Condition(), threading.Condition()
        self.away = 0
        for kind in types:
            self.add(kind)

    def add(self, kind: str, text: str = "It happened.", **data: str) -> None:
        """Something happens. Public versions have gaps."""
        version = 1 + 2 * len(self.events)
        self.events.append(order_pb2.OrderEvent(version=version, type=kind, text=text, data=data or {"a": "1"}))

    def __call__(self, request: Any) -> order_pb2.ListOrderEventsResponse:
        with self.asked:
            self.asked.notify_all()
        if self.away:
            self.away -= 1
            raise Unavailable
        found = [event for event in self.events if event.version > request.after_version]
        return order_pb2.ListOrderEventsResponse(events=found)

    def versions(self, request: Any) -> order_pb2.BatchGetOrderVersionsResponse:
        """How far each of some orders has come: as far as this one."""
        with self.swept:
            self.swept.notify_all()
        versions = [order_pb2.OrderVersion(id=each, version=self.events[-1].version) for each in request.ids]
        return order_pb2.BatchGetOrderVersionsResponse(versions=versions)


def happened(mesh: Mesh, *types: str) -> History:
    """What happened to the order, for the gateway to tell."""
    history = History(*types)
    mesh.order.answers.update(ListOrderEvents=history, BatchGetOrderVersions=history.versions)
    return history


def read(lines: Iterator[str], until: Callable[[list[tuple[str, str]]], bool]) -> list[tuple[str, str]]:
    """The (id, event) of what a stream says, until that is enough."""
    found: list[tuple[str, str]] = []
    number = ""
    for line in lines:
        if line.startswith("id: "):
            number = line.removeprefix("id: ")
        elif line.startswith("event: "):
            found.append((number, line.removeprefix("event: ")))
            if until(found):
                break
    return found


class Socket:
    """A WebSocket that watches the order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self) -> dict[str, Any]:
        """The next frame."""
        frame: dict[str, Any] = json.loads(self.connection.recv(timeout=PATIENCE))
        return frame

    def told(self, number: int) -> list[tuple[str, str]]:
        """The (id, event) of the next frames."""
        frames = [self.next() for _ in range(number)]
        return [(frame.get("id", ""), frame["event"]) for frame in frames]

    def closed(self) -> tuple[int, str]:
        """The code and the reason that the gateway closes it with, whatever is told before."""
        with suppress(ConnectionClosed):
            while True:
                self.connection.recv(timeout=PATIENCE)
        end = self.connection.protocol.close_rcvd
        assert end, "the connection broke off"
        return end.code, end.reason


@contextmanager
def watching(client: httpx.Client, headers: dict[str, str], query: str = "", path: str = PATH) -> Iterator[Socket]:
    """A WebSocket that watches the order, for as long as the block lasts."""
    address = f"ws://{client.base_url.host}:{client.base_url.port}{path}{query}"
    with connect(address, additional_headers=headers, proxy=None, open_timeout=PATIENCE, close_timeout=5) as connection:
        yield Socket(connection)


def refused(client: httpx.Client, headers: dict[str, str], query: str = "", path: str = PATH) -> httpx.Response:
    """The answer to whoever may not open a WebSocket."""
    try:
        with watching(client, headers, query, path) as socket:
            raise AssertionError(f"it was opened: {socket.connection.response}")
    except InvalidStatus as refusal:
        answer = refusal.response
        return httpx.Response(answer.status_code, headers=list(answer.headers.raw_items()), content=bytes(answer.body))
