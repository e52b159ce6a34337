"""Many who watch, and what they may cost: places, sessions that end, slow readers, questions to the services."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET, socket
from typing import Any

import httpx
import pytest
from google.type.latlng_pb2 import LatLng
from redis import Redis

from mercato.api.delivery.v1 import delivery_pb2
from mercato.api.user.v1 import user_pb2
from mercato.cache import connect
from mercato.errors import NotFound
from tests.component.gateway.conftest import CUSTOMER, OTHER, STAFF, Mesh, Running, bearer
from tests.component.gateway.test_edge import problem
from tests.component.gateway.watching import PATH, Socket, happened, read, refused, watching
from tests.valkeys import PATIENCE

SHIPMENT = "0190a6e0-0000-7000-8000-0000000000aa"


def looked(mesh: Mesh, paths: Collection[str]) -> int:
    """How often the order service was asked what happened to orders."""
    return sum(asked.rpc == "ListOrderEvents" and path_of(asked.request.id) in paths for asked in mesh.order.asked)


def path_of(order_id: str) -> str:
    """Where one watches an order."""
    return f"/v1/orders/{order_id}/events"


def test_one_look_serves_all_who_watch_an_order(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    history = happened(mesh, "OrderPlaced")
    path = PATH.replace("00000a/", "0000c1/")  # nobody of another test is about to leave it
    with ExitStack() as stack:
        watchers = [stack.enter_context(watching(client, customer, path=path))]
        at_rest(mesh, history, [path], 1 + 1)  # who comes during such a look asks once more
        watchers += [stack.enter_context(watching(client, customer, path=path)) for _ in range(4)]
        assert [watcher.told(1) for watcher in watchers] == [[("1", "OrderPlaced")]] * 5
        at_rest(mesh, history, [path], 5 + 1)
        history.add("OrderCancelled")
        assert [watcher.told(1) for watcher in watchers] == [[("3", "OrderCancelled")]] * 5
        assert looked(mesh, [path]) == 5 + 1 + 1


def test_where_nothing_happens_one_question_names_all_orders(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    paths = [PATH.replace("00000a/", f"0000d{number:x}/") for number in range(8)]
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(watching(client, customer, path=path)).told(1)
        at_rest(mesh, history, paths, 2 * len(paths))
        for _ in range(5):
            with history.swept:
                assert history.swept.wait(30)
        assert looked(mesh, paths) == 2 * len(paths)
        question = [asked.request for asked in mesh.order.asked if asked.rpc == "BatchGetOrderVersions"][-1]
        assert {path_of(each) for each in question.ids} >= {*paths}  # others may be about to leave theirs


def at_rest(mesh: Mesh, history: Any, paths: Collection[str], looks: int) -> None:
    """Wait for so many looks: one for each who came, and one for each order, to know that nothing happened since."""
    with history.asked:
        assert history.asked.wait_for(lambda: looked(mesh, paths) == looks, 30)


def test_a_session_that_ends_ends_its_streams(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    history, known = happened(mesh, "OrderPlaced"), mesh.user.answers["LookUpSession"]
    with watching(client, bearer(STAFF)) as other, watching(client, customer) as watcher:
        with client.stream("GET", PATH, headers=customer) as stream:
            lines = stream.iter_lines()
            read(lines, lambda found: len(found) == 1)
            mesh.user.answers["LookUpSession"] = all_but("01", known)
            assert watcher.closed()[0] == 1008
            assert ": goodbye, come back" in list(lines)
        history.add("OrderCancelled")
        assert other.told(2) == [("1", "OrderPlaced"), ("3", "OrderCancelled")]
    problem(client.get(PATH, headers=customer), 401, "UNAUTHENTICATED")


def all_but(subject: str, known: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The sessions that are left."""

    def look_up(request: Any) -> user_pb2.SessionIdentity:
        found: user_pb2.SessionIdentity = known(request)
        if found.subject.endswith(subject):
            raise NotFound
        return found

    return look_up


def test_who_loses_the_role_to_read_it_watches_no_longer(mesh: Mesh, client: httpx.Client) -> None:
    happened(mesh, "OrderPlaced")
    known = mesh.user.answers["LookUpSession"]

    def demoted(request: Any) -> user_pb2.SessionIdentity:
        found: user_pb2.SessionIdentity = known(request)
        return user_pb2.SessionIdentity(subject=found.subject, session_id=found.session_id, roles=["courier"])

    with watching(client, bearer(STAFF)) as watcher:
        watcher.told(1)
        mesh.user.answers["LookUpSession"] = demoted
        assert watcher.closed()[0] == 1008


@pytest.mark.parametrize("status", [404, 503])
def test_a_look_that_is_refused_ends_the_stream_only_if_it_is_for_good(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str], status: int
) -> None:
    history = happened(mesh, "OrderPlaced")
    with watching(client, customer) as watcher:
        watcher.told(1)
        if status == 404:
            mesh.order.answers["ListOrderEvents"] = gone
        history.away = 3
        history.add("OrderCancelled")
        assert watcher.closed()[0] == (1008 if status == 404 else 1000)


def gone(_request: Any) -> None:
    raise NotFound


def test_so_many_streams_are_open_and_no_more(mesh: Mesh, start: Callable[..., Running]) -> None:
    happened(mesh, "OrderPlaced")
    limits = {"STREAMS": "4", "STREAMS_PER_ADDRESS": "3", "STREAMS_PER_PRINCIPAL": "2"}
    client = start(**{f"MERCATO_GATEWAY_{name}": value for name, value in limits.items()}).client
    with ExitStack() as stack:

        def opened(token: str) -> Socket:
            found = stack.enter_context(watching(client, bearer(token)))
            found.told(1)
            return found

        first = opened(CUSTOMER)
        opened(CUSTOMER)
        busy = problem(refused(client, bearer(CUSTOMER)), 429, "TOO_MANY_STREAMS")
        assert (busy["retryAfter"], client.get(PATH, headers=bearer(CUSTOMER)).headers["Retry-After"]) == (5, "5")
        opened(STAFF)
        problem(client.get(PATH, headers=bearer(STAFF)), 429, "TOO_MANY_STREAMS")
        first.connection.close()
        assert free(client, bearer(CUSTOMER), tries=600)


def test_a_full_gateway_says_so(mesh: Mesh, start: Callable[..., Running], customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced")
    client = start(MERCATO_GATEWAY_STREAMS="1").client
    with watching(client, customer) as watcher:
        watcher.told(1)
        refusal = client.get(PATH, headers=bearer(OTHER))
        problem(refusal, 503, "OVERLOADED")
        assert refusal.headers["Retry-After"] == "1"


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
def test_a_client_that_does_not_read_is_dropped_and_the_others_hear_everything(
    mesh: Mesh, start: Callable[..., Running], customer: dict[str, str], upgrade: str
) -> None:
    history = happened(mesh, "OrderPlaced")
    limits = {"STREAM_PATIENCE": "1s", "STREAMS_PER_PRINCIPAL": "1", "UNHEARD": "1500ms"}
    client = start(**{f"MERCATO_GATEWAY_{name}": value for name, value in limits.items()}).client
    with deaf(client, customer, upgrade) as dropped, watching(client, bearer(STAFF)) as other:
        other.told(1)
        while client.head(PATH, headers=customer).status_code == 429:
            for _ in range(30):
                history.add("OrderReady", text="x" * 50_000)
            assert len(other.told(30)) == 30
            free(client, customer, tries=20)
        history.add("OrderCancelled")
        assert other.told(1) == [(str(history.events[-1].version), "OrderCancelled")]
        assert broken(dropped)  # nor is what it never took kept for it


def free(client: httpx.Client, headers: dict[str, str], tries: int) -> bool:
    """Wait a little for a place that somebody may be about to leave; whether it was left."""
    pause = threading.Event()
    for _ in range(tries):
        if client.head(PATH, headers=headers).status_code == 200:
            return True
        pause.wait(0.05)
    return False


def broken(connection: socket) -> bool:
    """Wait until the other end has given up a connection. This end is not told: it takes nothing."""
    here, there = (f":{address[1]:04X}" for address in (connection.getsockname(), connection.getpeername()))
    pause = threading.Event()
    for _ in range(600):
        rows = [line.split()[1:3] for line in Path("/proc/net/tcp").read_text().splitlines()]
        if not any(local.endswith(there) and remote.endswith(here) for local, remote in rows):
            return True
        pause.wait(0.05)
    return False


@contextmanager
def deaf(client: httpx.Client, headers: dict[str, str], upgrade: str) -> Iterator[socket]:
    """Somebody who watches the order and reads nothing of it."""
    lines = {"Host": "x", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 22 + "==", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket() as connection:
        connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(f"GET {PATH} HTTP/1.1\r\n{head}{upgrade}\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 " + (b"101" if upgrade else b"200")
        yield connection


def test_a_quiet_stream_says_that_it_lives(mesh: Mesh, start: Callable[..., Running], customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced")
    client = start(MERCATO_GATEWAY_HEARTBEAT="20ms").client
    with watching(client, customer) as watcher, client.stream("GET", PATH, headers=customer) as stream:
        watcher.told(1)
        assert [watcher.next(), watcher.next()] == [{"event": "heartbeat", "data": {}}] * 2
        beats = (line for line in stream.iter_lines() if line == ": still here")
        assert [next(beats), next(beats)]


def test_asking_only_for_the_head_opens_nothing(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced")
    head = client.head(PATH, headers=customer)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert client.head(PATH).status_code == 401


@pytest.fixture(scope="module")
def redis(valkey_url: str) -> Iterator[Redis]:
    with connect(valkey_url, patience=PATIENCE) as redis:
        yield redis


def seen_at(redis: Redis, longitude: float) -> delivery_pb2.CourierPosition:
    """The courier tells where they are."""
    position = delivery_pb2.CourierPosition(shipment_id=SHIPMENT, position=LatLng(latitude=1, longitude=longitude))
    redis.set(f"position:{SHIPMENT}", position.SerializeToString(), ex=60)
    return position


def test_the_courier_is_seen_while_the_goods_are_under_way(
    mesh: Mesh, start: Callable[..., Running], customer: dict[str, str], redis: Redis, valkey_url: str
) -> None:
    history = happened(mesh, "OrderPlaced")
    client = start(MERCATO_REDIS_URL=valkey_url).client
    seen_at(redis, 1.0)
    with watching(client, customer) as watcher:
        watcher.told(1)
        history.add("OrderReady")
        assert watcher.told(1) == [("3", "OrderReady")]  # nobody is under way: what lies there is another's
        history.add("OrderOutForDelivery", shipmentId=SHIPMENT)
        assert watcher.told(2) == [("5", "OrderOutForDelivery"), ("", "CourierPosition")]
        seen_at(redis, 2.0)
        moved = watcher.next()
        assert moved["data"]["position"] == {"latitude": 1.0, "longitude": 2.0}
        assert "id" not in moved
        with client.stream("GET", f"{PATH}?lastEventId=5", headers=customer) as stream:
            assert read(stream.iter_lines(), lambda found: len(found) == 1) == [("", "CourierPosition")]
        history.add("OrderDeliveryFailed")
        assert watcher.told(1) == [("7", "OrderDeliveryFailed")]
        seen_at(redis, 3.0)
        history.add("OrderCancelled")
        assert watcher.told(1) == [("9", "OrderCancelled")]
