"""Uploads: rows that stream in as NDJSON or CSV, those that are none told by their lines, the others landing."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from gateway.limits import Limits
from mercato.api.product.v1 import product_pb2 as pb
from mercato.errors import Unavailable
from tests.component.gateway.conftest import CUSTOMER, STAFF, Mesh, Running, bearer
from tests.component.gateway.test_edge import problem

IMPORT = "/v1/products:import"
NDJSON, CSV = {"Content-Type": "application/x-ndjson"}, {"Content-Type": "text/csv"}
SKU = "sku,title,price.currencyCode,price.units,price.nanos,categoryPath,attributes.colour,state\n"


def taking(landed: list[pb.ImportRow]) -> Any:
    """A service that takes every row but those called `bad`."""

    def take(requests: Iterator[pb.ImportProductsRequest]) -> pb.ImportProductsResponse:
        report = pb.ImportProductsResponse()
        for request in requests:
            for row in request.rows:
                if row.sku == "bad":
                    report.failed += 1
                    report.errors.add(line=row.line, sku=row.sku, field="sku", reason="PATTERN", message="is bad")
                else:
                    report.created += 1
                    landed.append(row)
        return report

    return take


@pytest.fixture
def landed(mesh: Mesh) -> list[pb.ImportRow]:
    """The rows that the service took."""
    rows: list[pb.ImportRow] = []
    mesh.product.answers["ImportProducts"] = taking(rows)
    return rows


def send(client: httpx.Client, kind: dict[str, str], body: Any) -> dict[str, Any]:
    """What an upload was answered with, which must be a report."""
    answer = client.post(IMPORT, content=body, headers={**bearer(STAFF), **kind})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    report: dict[str, Any] = answer.json()
    return report


def told(report: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(int(error["line"]), error["field"], error["reason"]) for error in report["errors"]]


def test_rows_of_either_kind_become_the_same_messages(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    price = {"currencyCode": "USD", "units": "4", "nanos": 990000000}
    first = {"sku": "a", "title": 'Milk, "whole"', "price": price, "categoryPath": ["Dairy", "Milk"], "state": "ACTIVE"}
    lines = [first | {"attributes": {"colour": "white"}}, {"sku": "b", "title": "Žlutý 🥛"}]
    body = "\n".join(json.dumps(line) for line in lines)
    cells = 'a,"Milk, ""whole""",USD,4,990000000,Dairy|Milk,white,ACTIVE\r\nb,Žlutý 🥛,,,,,,\r\n'
    assert send(client, NDJSON, body.encode())["created"] == 2
    assert send(client, CSV, (SKU + cells).encode())["created"] == 2
    for row, line in zip(landed, (1, 2, 2, 3), strict=True):
        assert row.line == line
        row.line = 0
    assert landed[:2] == landed[2:]
    assert (landed[0].title, landed[0].price.nanos, landed[1].title) == ('Milk, "whole"', 990000000, "Žlutý 🥛")
    assert (list(landed[0].category_path), dict(landed[0].attributes)) == (["Dairy", "Milk"], {"colour": "white"})


BAD_LINES: list[tuple[bytes, str, str]] = [
    (b"{", "", "MALFORMED_JSON"),
    (b"[]", "", "WRONG_TYPE"),
    (b"null", "", "WRONG_TYPE"),
    (b'{"sku": "a"} {"sku": "b"}', "", "MALFORMED_JSON"),
    (b'{"sku": "a", "sku": "b"}', "sku", "DUPLICATE_KEY"),
    (b'{"sku": "a", "cost": 1}', "cost", "UNKNOWN_FIELD"),
    (b'{"sku": "a", "line": 1}', "line", "UNKNOWN_FIELD"),
    (b'{"sku": 5}', "sku", "WRONG_TYPE"),
    (b'{"sku": "a", "price": {"units": "ten"}}', "price.units", "WRONG_TYPE"),
    (b'{"sku": "a", "price": {"nanos": 1e400}}', "price.nanos", "OUT_OF_RANGE"),
    (b'{"sku": "a", "price": {"nanos": NaN}}', "price.nanos", "MALFORMED"),
    (b'{"sku": "\\ud800"}', "sku", "MALFORMED"),
    (b'{"sku": "\xff"}', "", "MALFORMED_JSON"),
    (b'{"sku": "' + b"x" * 70_000 + b'"}', "", "ROW_TOO_LARGE"),
    (b"[" * 1000, "", "MALFORMED_JSON"),
    (b"\x00", "", "MALFORMED_JSON"),
    (b'{"sku": "bad"}', "sku", "PATTERN"),  # one that the service refuses, between ours
    (b'{"sku": "a", "state": "SOLD"}', "state", "UNKNOWN_VALUE"),
]


def test_bad_lines_are_told_and_harm_no_other(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    body = b'\xef\xbb\xbf{"sku": "good-0"}\n\n' + b"".join(
        line + b'\r\n{"sku": "good-%d"}\n' % number for number, (line, _, _) in enumerate(BAD_LINES, 1)
    )
    report = send(client, NDJSON, body)
    assert told(report) == [(2 * number + 1, *why) for number, (_, *why) in enumerate(BAD_LINES, 1)]
    assert (report["created"], report["failed"]) == (len(BAD_LINES) + 1, len(BAD_LINES))
    assert [row.sku for row in landed] == [f"good-{number}" for number in range(len(BAD_LINES) + 1)]
    assert report["errors"][5]["sku"] == "a"
    assert all(error["message"] for error in report["errors"])


BAD_RECORDS: list[tuple[bytes, str, str]] = [
    (b"a,b", "", "CELLS"),
    (b"a,b,c,d,e,f,g,h,i", "", "CELLS"),
    (b"a,t,USD,ten,,,,", "price.units", "WRONG_TYPE"),
    (b"a,t,USD,9223372036854775808,,,,", "price.units", "OUT_OF_RANGE"),
    (b"a,t,,,,,,SOLD", "state", "UNKNOWN_VALUE"),
    (b"a,\xff,,,,,,", "", "MALFORMED"),
    (b'a,5" nail,,,,,,', "", "QUOTES"),
    (b'a,"5" nail",,,,,,', "", "QUOTES"),
    (b'"a"b,t,,,,,,', "", "QUOTES"),
    (b"a," + b"x" * 70_000 + b",,,,,,", "", "ROW_TOO_LARGE"),
    (b"a,\x00,,,,,,", "title", "MALFORMED"),
    (b"bad,t,,,,,,", "sku", "PATTERN"),
]


def test_bad_records_are_told_and_harm_no_other(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    body = b"".join(
        record + b'\n"good-%d","on\ntwo lines",,,,,,\n\n' % number for number, (record, _, _) in enumerate(BAD_RECORDS)
    )
    report = send(client, CSV, b"\xef\xbb\xbf" + SKU.encode() + body)
    assert told(report) == [(4 * number + 2, *why) for number, (_, *why) in enumerate(BAD_RECORDS)]
    assert [row.sku for row in landed] == [f"good-{number}" for number in range(len(BAD_RECORDS))]
    assert {row.title for row in landed} == {"on\ntwo lines"}
    assert landed[0].line == 3


def test_a_quote_that_never_closes_costs_its_own_line_only(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    many = b"".join(b"g-%d,t,,,,,,\n" % number for number in range(9000))
    report = send(client, CSV, SKU.encode() + b'a,"open,,,,,,\n' + many + b'z,"open,,,,,,\nlast,t,,,,,,')
    assert told(report) == [(2, "", "QUOTES"), (9003, "", "QUOTES")]
    assert (report["created"], landed[-1].sku, landed[-1].line) == (9001, "last", 9004)


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", "", "MISSING_HEADER"),
        (b"\n\n", "", "MISSING_HEADER"),
        (b"milk,Milk\n", "milk", "UNKNOWN_COLUMN"),
        (b"sku,sku\n", "sku", "DUPLICATE_COLUMN"),
        (b"sku,line\n", "line", "UNKNOWN_COLUMN"),
        (b"sku,price\n", "price", "UNKNOWN_COLUMN"),
        (b"sku,price.cents\n", "price.cents", "UNKNOWN_COLUMN"),
        (b"sku,attributes\n", "attributes", "UNKNOWN_COLUMN"),
        (b'sku,"title\n', "", "QUOTES"),
        (b"sku,\xff\n", "", "MALFORMED"),
    ],
)
def test_columns_that_cannot_be_had_refuse_the_whole(
    client: httpx.Client, landed: list[pb.ImportRow], body: bytes, field: str, reason: str
) -> None:
    answer = client.post(IMPORT, content=body + b"a,b\n" * 3 if body.strip() else body, headers=bearer(STAFF) | CSV)
    errors = problem(answer, 400, "VALIDATION_FAILED")["errors"]
    assert (errors[0]["field"], errors[0]["reason"]) == (field, reason)
    assert landed == []


def test_the_first_hundred_of_all_bad_rows_are_listed(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    report = send(client, NDJSON, b"nonsense\n" * 90 + b'{"sku": "bad"}\n' * 90 + b"nonsense\n" * 90)
    assert (report["failed"], len(report["errors"])) == (270, 100)
    assert [line for line, *_ in told(report)] == list(range(1, 101))


def test_nothing_sent_is_nothing_done(client: httpx.Client, landed: list[pb.ImportRow]) -> None:
    assert send(client, NDJSON, b"") == {"created": 0, "updated": 0, "unchanged": 0, "failed": 0, "errors": []}


def test_more_than_any_other_body_may_hold_comes_in_messages_that_the_service_takes(
    client: httpx.Client, mesh: Mesh
) -> None:
    sizes: list[tuple[int, int]] = []

    def take(requests: Iterator[pb.ImportProductsRequest]) -> pb.ImportProductsResponse:
        sizes.extend((len(request.rows), request.ByteSize()) for request in requests)
        return pb.ImportProductsResponse(created=sum(rows for rows, _ in sizes))

    mesh.product.answers["ImportProducts"] = take
    small, large = json.dumps({"sku": "a"}) + "\n", json.dumps({"sku": "a", "description": "x" * 60_000}) + "\n"
    report = send(client, NDJSON, (each.encode() for each in [small] * 2500 + [large] * 20))
    assert report["created"] == 2520
    assert max(rows for rows, _ in sizes) == 1000
    assert 128_000 < max(size for _, size in sizes) < 200_000


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Content-Type": "application/json"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({**NDJSON, "Content-Encoding": "gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"Content-Type": "text/csv; charset=latin-1"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({**NDJSON, "Accept": "text/html"}, 406, "NOT_ACCEPTABLE"),
        ({**NDJSON, "Authorization": f"Bearer {CUSTOMER}"}, 403, "FORBIDDEN"),
        ({**NDJSON, "Authorization": ""}, 401, "UNAUTHENTICATED"),
        ({**NDJSON, "Idempotency-Key": "x" * 256}, 400, "VALIDATION_FAILED"),
    ],
)
def test_what_is_no_upload_reaches_no_service(
    client: httpx.Client, mesh: Mesh, landed: list[pb.ImportRow], headers: dict[str, str], status: int, reason: str
) -> None:
    problem(client.post(IMPORT, content=b"{}\n", headers={**bearer(STAFF), **headers}), status, reason)
    assert mesh.product.asked == []


def test_what_the_service_refuses_is_its_problem(client: httpx.Client, mesh: Mesh) -> None:
    def refuse(requests: Iterator[Any]) -> Any:
        next(requests)
        raise Unavailable

    mesh.product.answers["ImportProducts"] = refuse
    rows = (b'{"sku": "a"}\n' * 1000 for _ in range(200))
    problem(client.post(IMPORT, content=rows, headers=bearer(STAFF) | NDJSON), 503, "UNAVAILABLE")


def head(port: int, *further: str) -> socket.socket:
    """A connection on which an upload has begun."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(30)
    fields = ("Host: x", f"Authorization: Bearer {STAFF}", "Content-Type: application/x-ndjson", *further)
    connection.sendall("\r\n".join((f"POST {IMPORT} HTTP/1.1", *fields, "", "")).encode())
    return connection


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Watched:
    """A service that tells what it took, and when the stream was over."""

    def __init__(self) -> None:
        self.rows = 0
        self.came, self.over, self.go_on = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, requests: Iterator[pb.ImportProductsRequest]) -> pb.ImportProductsResponse:
        try:
            for request in requests:
                self.rows += len(request.rows)
                self.came.set()
                self.go_on.wait(30)
        finally:
            self.over.set()
        return pb.ImportProductsResponse(created=self.rows)


@pytest.fixture
def watched(mesh: Mesh) -> Iterator[Watched]:
    service = Watched()
    mesh.product.answers["ImportProducts"] = service
    yield service
    service.go_on.set()


FULL = b'{"sku": "a"}\n' * 1000


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 1000000"])
def test_who_leaves_midway_leaves_nothing_behind(port: int, watched: Watched, framing: str) -> None:
    watched.go_on.set()
    with head(port, framing) as connection:
        connection.sendall(chunk(FULL) if "chunked" in framing else FULL)
        assert watched.came.wait(30)
    assert watched.over.wait(30)
    # Whether the stream broke or ended, gRPC tells a service only sometimes: its rows have landed either way.
    assert watched.rows == 1000


def test_a_body_that_stalls_is_given_up(start: Any, watched: Watched) -> None:
    running: Running = start(MERCATO_GATEWAY_BODY_TIMEOUT="1s")
    watched.go_on.set()
    with head(running.port, "Content-Length: 1000000") as connection:
        connection.sendall(FULL)
        refusal = b"".join(iter(lambda: connection.recv(65536), b""))
    assert refusal.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in refusal
    assert watched.over.wait(30)


def test_a_body_that_keeps_coming_may_take_longer_than_any_piece_of_it() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"piece", "more_body": next(left) > 0}

    async def read() -> int:
        limits, pieces = Limits(body_seconds=0.02), 0
        async for _ in limits.pieces(receive, {}):
            pieces += 1
            until = time.monotonic() + 0.01
            while time.monotonic() < until:
                pass
        return pieces

    left = iter(range(5, -1, -1))
    assert asyncio.run(read()) == 6


def test_an_upload_has_a_bound_of_its_own(port: int, watched: Watched) -> None:
    with head(port, f"Content-Length: {64 * 1024 * 1024 + 1}") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert not watched.came.is_set()


def test_whoever_sends_faster_than_the_service_takes_waits(port: int, watched: Watched) -> None:
    filler = chunk(b'{"sku": "a", "description": "%b"}\n' % (b"x" * 60_000) * 16)
    sent = 0
    with head(port, "Transfer-Encoding: chunked") as connection:
        connection.settimeout(1)
        with suppress(TimeoutError):  # which is what it comes to: nothing more is taken
            while sent < 60 * len(filler):
                sent += connection.send(filler)
        assert sent < 40 * len(filler), "the gateway takes whatever comes"
        assert watched.came.wait(30)
