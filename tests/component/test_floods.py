"""A service under callers that misuse HTTP/2 itself, in frames written by hand: nobody else is kept out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest

from mercato.testing import Served, a_customer, serve
from tests.probe import Probe, ProbeServiceStub, Request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
REFUSED, TOO_MANY_PINGS = 7, 11
STREAMS = 10_000
PATH = b"/mercato.api.probe.v1.ProbeService/Read"
MESSAGE = b"\0\0\0\0\0"
WITHIN = 30.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


# POST, http, and the rest in full: HPACK without its tables.
HEAD = b"\x83\x86" + b"".join(
    _literal(*each)
    for each in ((b":path", PATH), (b":authority", b"x"), (b"content-type", b"application/grpc"), (b"te", b"trailers"))
)


def request(stream: int) -> bytes:
    """A call to the probe, whole."""
    return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, END_STREAM, stream, MESSAGE)


class Frames:
    """A connection that speaks HTTP/2 frame by frame, and counts what comes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def send(self, frames: bytes) -> None:
        """Send frames; whoever hangs up meanwhile has had enough of them."""
        try:
            self._connection.sendall(frames)
        except (BrokenPipeError, ConnectionResetError):
            return

    def come(self) -> Iterator[tuple[int, bytes]]:
        """What comes, until the other side hangs up: kind and payload."""
        while (head := self._take(9)) and (length := int.from_bytes(head[:3], "big")) >= 0:
            yield head[3], self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            try:
                part = self._connection.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                return b""
            self._rest += part
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


@contextmanager
def frames_to(served: Served) -> Iterator[Frames]:
    """A connection on which the preface and the settings were said."""
    with closing(socket.create_connection(("127.0.0.1", served.server.port), WITHIN)) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        yield Frames(connection)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A service that answers at once."""
    with serve(Probe(lambda request: request.text)) as served:
        yield served


def others_are_answered(served: Served) -> bool:
    """Whether somebody else, on a connection of their own, gets through."""
    stub = served.stub(ProbeServiceStub, a_customer())
    return all(stub.Read(Request(text=text), timeout=WITHIN).text == text for text in ("a", "b", "c"))


def test_who_pings_too_often_is_sent_away(served: Served) -> None:
    with frames_to(served) as frames:
        frames.send(frame(PING, 0, 0, b"12345678") * 50)
        goodbyes = [payload for kind, payload in frames.come() if kind == GOAWAY]
    assert {int.from_bytes(payload[4:8], "big") for payload in goodbyes} == {TOO_MANY_PINGS}
    assert others_are_answered(served)


def test_ten_thousand_streams_on_one_connection_keep_nobody_else_out(served: Served) -> None:
    with frames_to(served) as frames:
        opened = b"".join(request(stream) for stream in range(1, 2 * STREAMS, 2))
        sending = threading.Thread(target=frames.send, args=(opened,))
        sending.start()
        assert others_are_answered(served)
        answered = ended = 0
        for kind, payload in frames.come():
            ended += kind == GOAWAY
            answered += kind in (HEADERS, RESET) and bool(payload)
            if answered >= STREAMS or ended:
                break
        sending.join(WITHIN)
    assert answered >= STREAMS or ended
    assert others_are_answered(served)


def test_streams_that_are_reset_at_once_keep_nobody_else_out(served: Served) -> None:
    cancel = (8).to_bytes(4, "big")
    with frames_to(served) as frames:
        flood = b"".join(
            frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RESET, 0, stream, cancel)
            for stream in range(1, 2 * STREAMS, 2)
        )
        sending = threading.Thread(target=frames.send, args=(flood,))
        sending.start()
        assert others_are_answered(served)
        sending.join(WITHIN)
    assert others_are_answered(served)


def test_a_caller_who_leaves_does_not_keep_a_thread_or_a_connection() -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    def wait(request: Request) -> str:
        if request.text == "slow":
            entered.release()
            go_on.wait(WITHIN)
        return str(request.text)

    with serve(Probe(wait), threads=4) as served:
        channel = grpc.insecure_channel(served.address)
        token = f"Bearer {served.signer('gateway').token(served.name, a_customer())}"
        call: Any = channel.unary_unary(PATH.decode())
        slow = Request(text="slow").SerializeToString()
        calls = [call.future(slow, timeout=WITHIN, metadata=(("authorization", token),)) for _ in range(4)]
        assert all(entered.acquire(timeout=WITHIN) for _ in calls)
        for each in calls:
            each.cancel()
        go_on.set()
        assert others_are_answered(served)
        channel.close()
