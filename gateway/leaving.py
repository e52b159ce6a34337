"""An end at which no request is lost: whoever is connected is asked to go, whoever comes finds another gateway.

A socket that was handed to us is shared with the process that takes over. As soon as we leave, we take no more
connections from it; those that we have are answered with `Connection: close`, and are gone when the server stops.
"""

import os
import socket
from collections.abc import Awaitable
from contextlib import closing
from typing import Any

from granian._granian import SocketHolder
from granian.server.embed import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.health import Health

_CLOSE = (b"connection", b"close")


class SharedServer(Server):
    """A server on a listening socket that somebody else keeps."""

    def __init__(self, *arguments: Any, listener: int, unheard: int, **settings: Any) -> None:
        """`listener` is the descriptor of the socket. Who takes nothing for `unheard` milliseconds is disconnected."""
        super().__init__(*arguments, **settings)
        os.set_blocking(listener, False)
        # Inherited by connections. We cannot break one from here, and what a client does not take lies in the kernel.
        with closing(socket.socket(fileno=os.dup(listener))) as door:
            door.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unheard)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # its stub knows no constructor
        self._ssp: Any = None
        self._shd: Any = holder(self._listener, False, self.backlog)

    def turn_away(self) -> None:
        """Take no more connections; those that we have go on.

        The descriptor is made one of a socket that nobody can reach: the server goes on asking it, and hears of nobody.
        """
        with socket.socket(socket.AF_UNIX) as nowhere:
            nowhere.bind("")  # a name that the kernel makes up
            nowhere.listen()
            nowhere.setblocking(False)
            os.dup2(nowhere.fileno(), self._listener)


class Leaving:
    """Asks every client of HTTP/1 to connect anew, from when the gateway drains."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        if self._health.draining and scope["type"] == "http" and scope["http_version"].startswith("1"):
            send = _closing(send)
        return self._app(scope, receive, send)


def _closing(send: Send) -> Send:
    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], _CLOSE]}
        await send(message)

    return sends
