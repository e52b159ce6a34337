"""Those who take their time or never end: they are refused, and nobody else notices."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import takewhile
from threading import Thread

import httpx
import pytest

from mercato.api.product.v1 import product_pb2
from tests.component.gateway.conftest import Mesh, Running

HEAD = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PRODUCT = "/v1/products/0190a6e0-0000-7000-8000-000000000007"
SLOW = 60
WITHIN = 30.0


@pytest.fixture
def product(mesh: Mesh) -> None:
    """A product that everybody may look at."""
    mesh.product.answers["GetProduct"] = lambda request: product_pb2.Product(id=request.id)


@pytest.fixture
def strict(start: Callable[..., Running], product: None) -> Running:
    """A gateway with little patience."""
    return start(MERCATO_GATEWAY_BODY_TIMEOUT="300ms", MERCATO_GATEWAY_RATE_FACTOR="1000")


@contextmanager
def caller(port: int, *sent: bytes) -> Iterator[socket.socket]:
    """A connection over which something was sent."""
    with closing(socket.create_connection(("127.0.0.1", port), WITHIN)) as connection:
        for part in sent:
            connection.sendall(part)
        yield connection


def heard(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        return found or b"(reset)"
    return found


def answer(connection: socket.socket) -> bytes:
    """One answer, whose length it tells."""
    with connection.makefile("rb") as found:
        head = b"".join(takewhile(lambda line: line != b"\r\n", iter(found.readline, b"")))
        assert head, "the connection was closed"
        (length,) = (line.split()[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + found.read(int(length))


def test_bodies_that_come_too_slowly_are_given_up_and_nobody_else_notices(strict: Running) -> None:
    with ExitStack() as stack:
        begun = [caller(strict.port, HEAD + b"Content-Length: 9\r\n\r\n{") for _ in range(SLOW)]
        heads = [caller(strict.port, HEAD[:-9]) for _ in range(SLOW)]
        slow, unfinished = ([stack.enter_context(each) for each in every] for every in (begun, heads))
        answers = [strict.client.get(PRODUCT) for _ in range(50)]
        assert {answer.status_code for answer in answers} == {200}
        for connection in slow:
            told = heard(connection)
            assert told.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in told.lower()
        for connection in unfinished:
            assert not heard(connection).startswith(b"HTTP/1.1 2")
    # Not on the connection of before: it has been idle for so long that it is about to be closed.
    assert httpx.get(f"{strict.client.base_url}{PRODUCT}").status_code == 200


@pytest.mark.parametrize(
    ("address", "status"), [(b"/v1/orders", b"401"), (b"/v1/nowhere", b"404"), (b"/v1/sessions:none", b"404")]
)
def test_who_is_refused_before_the_body_came_may_ask_again_on_the_same_connection(
    port: int, address: bytes, status: bytes
) -> None:
    with caller(port, b"POST " + address + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n") as connection:
        assert answer(connection).startswith(b"HTTP/1.1 " + status)
        connection.sendall(b"{}")
        connection.sendall(b"  GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_what_is_left_of_a_refused_body_is_taken_within_bounds(port: int, product: None) -> None:
    head = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with caller(port, head) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 401 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall((b"1000\r\n" + b"x" * 4096 + b"\r\n") * 10_000)


def test_bodies_and_heads_without_an_end_are_cut_off_and_nobody_else_notices(
    port: int, client: httpx.Client, product: None
) -> None:
    def flood(first: bytes, more: bytes, told: list[bytes]) -> None:
        with caller(port, first) as connection:
            try:
                for _ in range(2_000):
                    connection.sendall(more)
                told.append(heard(connection))
            except (BrokenPipeError, ConnectionResetError):
                told.append(b"(cut)")

    told = list[bytes]()
    endless = [
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        (HEAD, b"X-Header: " + b"x" * 4000 + b"\r\n"),
        (b"GET /" + b"x" * 4000, b"x" * 4096),
    ]
    floods = [Thread(target=flood, args=(*each, told)) for each in endless]
    for each in floods:
        each.start()
    answers = [client.get(PRODUCT) for _ in range(50)]
    for each in floods:
        each.join(WITHIN)
    assert {answer.status_code for answer in answers} == {200}
    assert len(told) == len(endless)
    assert not [answer for answer in told if answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET {PRODUCT} HTTP/1.1\r\n", b"400"),
        (f"GET {PRODUCT} HTTP/1.1\r\nHost:\r\n", b"400"),
        ("GET /healthz HTTP/1.1\r\n", b"400"),
        ("GET /healthz HTTP/1.0\r\n", b"200"),
    ],
)
def test_only_http_1_0_names_no_host(port: int, head: str, status: bytes, product: None) -> None:
    with caller(port, f"{head}Connection: close\r\n\r\n".encode()) as connection:
        assert heard(connection).split(b" ")[1] == status


@pytest.mark.parametrize("target", [PRODUCT, f"http://evil.example{PRODUCT}"])
def test_no_answer_repeats_whom_a_request_says_to_be_for(port: int, target: str, product: None) -> None:
    asked = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    with caller(port, asked.encode()) as connection:
        told = heard(connection)
    assert b"evil.example" not in told
    assert not told.startswith(b"HTTP/1.1 5")


def test_a_request_without_a_host_or_with_two_is_refused(port: int) -> None:
    for hosts in (b"", b"Host: a\r\nHost: b\r\n"):
        with caller(port, b"GET /v1/products/7 HTTP/1.1\r\n" + hosts + b"\r\n") as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_who_reads_nothing_of_the_answer_keeps_nobody_else_waiting(
    port: int, client: httpx.Client, product: None
) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(caller(port, asked * 10))
        found: list[httpx.Response] = [client.get(PRODUCT) for _ in range(20)]
    assert {answer.status_code for answer in found} == {200}
