"""The proxy spoils exactly what it is told to, and nothing once it is healed."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from chaos.proxy import Proxies, Toxic, Way
from mercato.local.server import HOST, free_port

LINK = "echo"
SOON = 30.0
QUIET = 0.2


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, and says so when the other side has finished."""

    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)
            self.request.sendall(b"bye")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def port() -> Iterator[int]:
    """Where the echo answers through the proxy."""
    yield from _started()


def _started() -> Iterator[int]:
    with Server((HOST, 0), Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def own() -> int:
    """The port of the proxy."""
    return free_port()


@pytest.fixture
def proxies(port: int, own: int) -> Iterator[Proxies]:
    """A proxy before the echo."""
    with Proxies({LINK: {own: port}}) as proxies:
        yield proxies


def connect(own: int) -> socket.socket:
    return socket.create_connection((HOST, own), timeout=SOON)


def said(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


def hear(own: int) -> None:
    with closing(connect(own)) as connection:
        said(connection, 1)


def silent(connection: socket.socket) -> bool:
    connection.settimeout(QUIET)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(SOON)


def test_a_healthy_link_carries_everything_in_both_directions(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        sent = bytes(range(256)) * 4096
        threading.Thread(target=connection.sendall, args=(sent,)).start()
        assert said(connection, len(sent)) == sent
        connection.shutdown(socket.SHUT_WR)
        assert said(connection, 3) == b"bye"
        assert connection.recv(1) == b""
    assert proxies.accepted(LINK) == 1


def test_a_cut_resets_those_that_are_there_and_lets_new_ones_in(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        proxies.cut(LINK)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with closing(connect(own)) as another:
        another.sendall(b"b")
        assert said(another, 1) == b"b"


def test_a_link_that_refuses_resets_all_until_it_is_healed(proxies: Proxies, own: int) -> None:
    proxies.refuse(LINK)
    with pytest.raises(ConnectionResetError):
        hear(own)
    proxies.heal()
    with closing(connect(own)) as another:
        another.sendall(b"b")
        assert said(another, 1) == b"b"


def test_what_is_held_up_comes_when_the_link_is_healed(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        proxies.spoil(LINK, Toxic(held=True), Way.REPLIES)
        connection.sendall(b"b")
        assert silent(connection)
        proxies.heal(LINK)
        assert said(connection, 1) == b"b"


def test_a_delay_is_waited_for(proxies: Proxies, own: int) -> None:
    proxies.spoil(LINK, Toxic(delay=0.3), Way.REPLIES)
    with closing(connect(own)) as connection:
        began = time.monotonic()
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        assert time.monotonic() - began >= 0.3


def test_a_narrow_link_takes_its_time(proxies: Proxies, own: int) -> None:
    proxies.spoil(LINK, Toxic(rate=10_000), Way.REQUESTS)
    with closing(connect(own)) as connection:
        began = time.monotonic()
        connection.sendall(bytes(3_000))
        assert len(said(connection, 3_000)) == 3_000
        assert time.monotonic() - began >= 0.3


def test_a_connection_is_cut_in_the_middle_of_a_reply(proxies: Proxies, own: int) -> None:
    proxies.spoil(LINK, Toxic(cut_after=3), Way.REPLIES)
    with closing(connect(own)) as connection:
        connection.sendall(b"abcdef")
        with pytest.raises(ConnectionResetError):
            said(connection, 4)


def test_a_half_closed_connection_still_carries_the_other_direction(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        proxies.half_close(LINK, Way.REQUESTS)
        assert said(connection, 3) == b"bye"


def test_a_half_open_connection_does_not_end_until_it_is_healed(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        proxies.spoil(LINK, Toxic(deaf=True), Way.REPLIES)
        connection.shutdown(socket.SHUT_WR)
        assert said(connection, 3) == b"bye"
        connection.settimeout(QUIET)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(SOON)
        proxies.heal()
        assert connection.recv(1) == b""


def test_who_goes_on_speaking_after_the_end_of_its_half_is_cut_off(proxies: Proxies, own: int) -> None:
    with closing(connect(own)) as connection:
        connection.sendall(b"a")
        assert said(connection, 1) == b"a"
        proxies.half_close(LINK, Way.REQUESTS)
        assert said(connection, 3) == b"bye"
        with pytest.raises(ConnectionError):
            speak_on(connection)


def speak_on(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"b")
