"""The live events of an order over a WebSocket: the same as the stream of server-sent events, and as well guarded."""

import gc
from collections.abc import Callable
from socket import SHUT_WR, create_connection
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from mercato.errors import NotFound
from tests.component.gateway.conftest import CUSTOMER, GUEST, OTHER, Mesh, Running, bearer
from tests.component.gateway.test_edge import problem
from tests.component.gateway.watching import ID, PATH, happened, read, refused, watching

COOKIE = {"Cookie": f"__Host-session={CUSTOMER}"}
# What a client may send, masked with zeros, and the code that it is told by.
UNWANTED = {
    "a text": (b"\x81\x82\0\0\0\0hi", 1003),
    "bytes": (b"\x82\x82\0\0\0\0hi", 1003),
    "a fragment": (b"\x01\x82\0\0\0\0hi" + b"\x80\x81\0\0\0\0!", 1003),
    "a large text": (b"\x81\xfe\x20\0\0\0\0\0" + b"x" * 0x2000, 1009),
    "a text that is none": (b"\x81\x82\0\0\0\0\xff\xfe", 1002),
    "an unmasked frame": (b"\x81\x02hi", 1002),
    "an unknown opcode": (b"\x83\x80\0\0\0\0", 1002),
    "a reserved bit": (b"\xf1\x80\0\0\0\0", 1002),
    "a control frame in parts": (b"\x09\x80\0\0\0\0", 1002),
    "a length of 2^63": (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
    "a continuation of nothing": (b"\x80\x80\0\0\0\0", 1002),
}


def test_a_socket_tells_what_a_stream_tells_and_ends_with_it(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    with watching(client, customer) as socket:
        entry = client.get(f"/v1/orders/{ID}/history", headers=customer).json()["events"][0]
        assert socket.next() == {"id": "1", "event": "OrderPlaced", "data": entry}
        history.add("OrderConfirmed")
        history.add("OrderDelivered")
        history.add("OrderReturnRequested")
        assert socket.told(2) == [("3", "OrderConfirmed"), ("5", "OrderDelivered")]
        assert socket.closed()[0] == 1000
    assert read(iter(client.get(PATH, headers=customer).text.splitlines()), lambda _: False)[-1][0] == "5"


def test_a_socket_says_what_the_documents_say(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced", "OrderCancelled")
    document = client.get("/openapi.json").json()
    answers = document["paths"]["/v1/orders/{id}/events"]["get"]["responses"]
    frames = {**answers["101"]["content"]["application/json"]["schema"], "components": document["components"]}
    check = Draft202012Validator(frames)
    with watching(client, customer) as socket:
        for _ in range(2):
            check.validate(socket.next())
    check.validate({"event": "heartbeat", "data": {}})
    assert not check.is_valid({"event": "heartbeat", "data": {"a": 1}})
    assert not check.is_valid({"id": "x", "event": "OrderPlaced", "data": {}})
    told = client.get("/asyncapi.json").json()
    assert told["channels"]["live"]["address"] == "/v1/orders/{id}/events"
    names = ("HistoryFrame", "PositionFrame", "HeartbeatFrame")
    assert [told["components"]["messages"][name]["payload"] for name in names] == frames["oneOf"]


@pytest.mark.parametrize("last", [{"by": "header"}, {"by": "query"}])
def test_whoever_comes_back_loses_nothing_and_hears_nothing_twice(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str], last: dict[str, str]
) -> None:
    history, heard = happened(mesh, "OrderPlaced"), [("1", "OrderPlaced")]
    for number, kind in enumerate(("OrderConfirmed", "OrderPickingStarted", "OrderReady", "OrderCancelled")):
        seen = heard[-1][0]
        headers = {**customer, **({"Last-Event-ID": seen} if last["by"] == "header" else {})}
        with watching(client, headers, f"?lastEventId={seen if last['by'] == 'query' else ''}") as socket:
            history.add(kind)
            heard += socket.told(1)
        assert heard[-1] == (str(3 + 2 * number), kind)
    assert len(heard) == len(set(heard)) == len(history.events)


def test_the_parameter_resumes_a_stream_of_events_too_and_the_header_is_newer(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    happened(mesh, "OrderPlaced", "OrderConfirmed", "OrderCancelled")
    for headers, told in (({}, ["3", "5"]), ({"Last-Event-ID": "3"}, ["5"])):
        stream = client.get(f"{PATH}?lastEventId=1", headers={**customer, **headers})
        assert [number for number, _ in read(iter(stream.text.splitlines()), lambda _: False)] == told


def test_whoever_names_an_id_that_is_none_yet_misses_nothing(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    with watching(client, customer, "?lastEventId=999") as socket:
        history.add("OrderConfirmed")
        assert socket.told(1) == [("3", "OrderConfirmed")]


def test_a_socket_that_was_read_to_its_end_is_over(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced", "OrderDelivered")
    with watching(client, customer, "?lastEventId=3") as socket:
        assert socket.closed()[0] == 1000


@pytest.mark.parametrize(
    ("headers", "query", "status", "reason"),
    [
        ({}, "", 401, "UNAUTHENTICATED"),
        (bearer("nobody's"), "", 401, "UNAUTHENTICATED"),
        (bearer(GUEST), "", 403, "FORBIDDEN"),
        (bearer(OTHER), "", 404, "NOT_FOUND"),
        (COOKIE, "", 403, "ORIGIN_REFUSED"),
        ({**COOKIE, "Origin": "https://evil.example"}, "", 403, "ORIGIN_REFUSED"),
        ({**COOKIE, "Origin": "null"}, "", 403, "ORIGIN_REFUSED"),
        (bearer(CUSTOMER), "?lastEventId=x", 400, "VALIDATION_FAILED"),
        (bearer(CUSTOMER), "?lastEventId=1&lastEventId=1", 400, "VALIDATION_FAILED"),
        (bearer(CUSTOMER), "?since=1", 400, "VALIDATION_FAILED"),
        (bearer(CUSTOMER), "?lastEventId=%ff", 400, "VALIDATION_FAILED"),
    ],
)
def test_who_may_not_watch_is_refused_before_the_socket_is_one(
    mesh: Mesh, client: httpx.Client, headers: dict[str, str], query: str, status: int, reason: str
) -> None:
    history = happened(mesh, "OrderPlaced")

    def own(request: Any) -> Any:
        if mesh.order.last.call.principal.subject.endswith("2"):
            raise NotFound
        return history(request)

    mesh.order.answers["ListOrderEvents"] = own
    problem(refused(client, headers, query), status, reason)


def test_a_page_of_our_own_opens_a_socket_by_its_cookie(mesh: Mesh, client: httpx.Client) -> None:
    happened(mesh, "OrderPlaced")
    with watching(client, {**COOKIE, "Origin": f"http://127.0.0.1:{client.base_url.port}"}) as socket:
        assert socket.told(1) == [("1", "OrderPlaced")]


def test_where_there_is_no_socket_the_request_is_answered_as_any_other(mesh: Mesh, client: httpx.Client) -> None:
    problem(refused(client, {}, path="/v1/nowhere"), 404, "ROUTE_NOT_FOUND")
    problem(refused(client, {}, path="/v1/cart"), 401, "UNAUTHENTICATED")
    assert refused(client, {}, path="/healthz").status_code == 200


@pytest.mark.parametrize("what", UNWANTED)
def test_what_a_client_says_ends_its_socket_and_nobody_elses(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str], what: str
) -> None:
    frame, code = UNWANTED[what]
    history = happened(mesh, "OrderPlaced")
    with watching(client, customer) as other, watching(client, customer) as socket:
        assert other.told(1) == socket.told(1)
        socket.connection.socket.sendall(frame)
        assert socket.closed()[0] == code
        history.add("OrderCancelled")
        assert other.told(1) == [("3", "OrderCancelled")]


def test_a_ping_is_answered(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced")
    with watching(client, customer) as socket:
        assert socket.connection.ping().wait(30)


def test_a_gateway_that_ends_says_so_to_its_sockets(
    mesh: Mesh, start: Callable[..., Running], customer: dict[str, str]
) -> None:
    happened(mesh, "OrderPlaced")
    running = start()
    with watching(running.client, customer) as socket:
        socket.told(1)
        running.stop()
        code, reason = socket.closed()
        assert (code, reason.partition(";")[0]) == (1012, "this gateway leaves: come back")
    assert running.ended(within=60)


@pytest.mark.parametrize(
    "who", ["", "Authorization: \r\n", "Authorization: Bearer x\r\n", f"Authorization: Bearer {GUEST}\r\n"]
)
def test_a_refused_socket_gives_its_connection_back_before_any_collector_comes(mesh: Mesh, port: int, who: str) -> None:
    happened(mesh, "OrderPlaced")
    upgrade = "Host: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += f"Sec-WebSocket-Key: 9DqtpCrXcb5fEpWbjadH7A==\r\n{who}\r\n"
    gc.disable()
    try:
        with create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(f"GET {PATH} HTTP/1.1\r\n{upgrade}".encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 40")
            connection.shutdown(SHUT_WR)
            while connection.recv(65_536):
                pass
    finally:
        gc.enable()
