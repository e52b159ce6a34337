"""Requests that say two things, or nothing that HTTP knows: what a client sees on the wire, and what comes after."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.component.gateway.conftest import Mesh

WITHIN = 30.0
# Whoever is let in gets as far as this refusal, which tells that the body was read, and read as `{}`.
POST = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LENGTH, CHUNKED = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
# What comes behind on the same connection: answered where the connection lasts, never where it is closed.
NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UNREADABLE = (b"chunked, gzip", b"xchunked", b"identity", b"\x0bchunked")
BODY = b"2\r\n{}\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """What is sent, and the statuses that come; a reason where it is the edge that refuses, none where the server."""

    about: str
    sent: bytes
    statuses: tuple[int, ...]
    reason: str = ""


def bare(about: str, sent: bytes, status: int = 400) -> Case:
    """What the server below refuses in one line, before anything of ours sees it; the connection is closed."""
    return Case(about, sent, (status,))


def edge(about: str, sent: bytes, status: int, reason: str) -> Case:
    """What the edge refuses with a problem; the connection is closed."""
    return Case(about, sent, (status,), reason)


def read(about: str, sent: bytes) -> Case:
    """A body of which everybody knows the end: read, and the next request is answered."""
    return Case(about, sent, (400, 200), "VALIDATION_FAILED")


def lengths(*values: bytes) -> bytes:
    """A body of two bytes that says how long it is."""
    return POST + b"".join(b"Content-Length: %b\r\n" % value for value in values) + b"\r\n{}"


def codings(*values: bytes) -> bytes:
    """A body in chunks that says how it is coded."""
    return POST + b"".join(b"Transfer-Encoding: %b\r\n" % value for value in values) + b"\r\n" + BODY


def chunks(body: bytes) -> bytes:
    """A body in these chunks."""
    return POST + CHUNKED + b"\r\n" + body


CASES = (
    # Both: the length is thrown away by the server below, before we see it. The chunks are read, and as RFC 9112 wants
    # of whoever reads them, the connection is closed after the answer: what was smuggled in is never looked at.
    edge("a length, then chunks", POST + LENGTH + CHUNKED + b"\r\n" + BODY, 400, "VALIDATION_FAILED"),
    edge("chunks, then a length", POST + CHUNKED + LENGTH + b"\r\n" + BODY, 400, "VALIDATION_FAILED"),
    Case("both, and nobody there", GET + LENGTH + CHUNKED + b"\r\n0\r\n\r\n", (200,)),
    bare("two lengths", lengths(b"2", b"6")),
    read("the same length twice", lengths(b"2", b"2")),
    *(bare(f"the length {each!r}", lengths(each)) for each in (b"2, 2", b"+2", b"-1", b"0x2", b"9" * 23, b"", b"2 2")),
    edge("chunks twice", codings(b"chunked, chunked"), 400, "MALFORMED_REQUEST"),
    edge("packed and in chunks", codings(b"gzip, chunked"), 400, "MALFORMED_REQUEST"),
    *(bare(f"the coding {each!r}", codings(each)) for each in UNREADABLE),
    bare("two codings", codings(b"chunked", b"identity")),
    bare("a space before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n" + BODY),
    bare("chunks in HTTP/1.0", codings(b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0")),
    read("a chunk with an extension", chunks(b"2;a=b\r\n{}\r\n0\r\n\r\n")),
    read("a trailer, which is thrown away", chunks(b"2\r\n{}\r\n0\r\nHost: evil\r\nContent-Length: 9\r\n\r\n")),
    *(
        edge(f"the chunks {each[:12]!r}", chunks(each), 400, "MALFORMED_REQUEST")
        for each in (b"-2\r\n{}\r\n", b"f" * 18 + b"\r\n{}\r\n", b"0x2\r\n{}\r\n", b"2\r\n{}xx\r\n")
    ),
    bare("a header on two lines", POST + b"X-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\n{}"),
    bare("a first header that goes on", b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n"),
    Case("ends of lines without a return", GET.replace(b"\r", b"") + b"\n", (200, 200)),
    bare("a return without an end of line", b"GET /healthz HTTP/1.1\r\nHost: x\rX: 1\r\n\r\n"),
    bare("a NUL in a header", GET + b"X: a\0b\r\n\r\n"),
    bare("a header without a colon", GET + b"nothing\r\n\r\n"),
    bare("a header without a name", GET + b": x\r\n\r\n"),
    bare("two spaces", b"GET  /healthz  HTTP/1.1\r\nHost: x\r\n\r\n"),
    bare("a control character in the address", b"GET /health\x01z HTTP/1.1\r\nHost: x\r\n\r\n"),
    *(bare(f"the version {each!r}", b"GET /healthz%b\r\n\r\n" % each) for each in (b"", b" HTTP/1.2", b" HTTP/3.0")),
    # The bounds: ours have a problem; what is far above them is refused by the server below, in one line.
    Case("100 headers", GET + b"X: 1\r\n" * 99 + b"\r\n", (200, 200)),
    bare("101 headers", GET + b"X: 1\r\n" * 100 + b"\r\n", 431),
    Case("an address of 60 KB", GET.replace(b"z", b"z?" + b"x" * 60_000) + b"\r\n", (414, 200), "URL_TOO_LONG"),
    Case("headers of 60 KB", GET + b"X: " + b"x" * 60_000 + b"\r\n\r\n", (431, 200), "HEADERS_TOO_LARGE"),
    bare("an address of 66 KB", GET.replace(b"z", b"z?" + b"x" * 66_000) + b"\r\n", 414),
)  # fmt: skip


def heard(port: int, sent: bytes) -> bytes:
    """All that is answered until the connection is closed, which it is."""
    found = b""
    with closing(socket.create_connection(("127.0.0.1", port), WITHIN)) as connection:
        connection.sendall(sent)
        try:
            while part := connection.recv(65536):
                found += part
        except ConnectionResetError:
            return found
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_no_two_readers_of_a_request_would_differ_about_where_it_ends(port: int, mesh: Mesh, case: Case) -> None:
    told = heard(port, case.sent + NEXT)
    first = told.partition(b"HTTP/1.1 200 ")[0] if len(case.statuses) == 2 else told
    assert tuple(int(each) for each in re.findall(rb"HTTP/1\.[01] (\d+) ", told)) == case.statuses, told[:500]
    reasons = re.findall(rb'"status":\d+,.*?"reason":"([A-Z_]+)","requestId"', first)
    assert reasons == ([case.reason.encode()] if case.reason else []), told[:500]
    assert not mesh.user.asked
