"""Requests for a WebSocket, treated as the GET requests that they are until somebody accepts them.

They pass the same limits, routes and rules as any other request, and a refusal is the same problem. Whatever at the
address knows no WebSocket answers as if none had been asked for. Who does know finds the socket in the scope.
"""

from typing import NamedTuple

from starlette.types import Message, Receive, Scope, Send

SOCKET = "mercato.socket"
"""The key in the ASGI scope under which the socket is."""
_REFUSING = {
    "http.response.start": "websocket.http.response.start",
    "http.response.body": "websocket.http.response.body",
}


class Socket(NamedTuple):
    """A WebSocket that waits to be accepted."""

    receive: Receive
    send: Send


class Line:
    """What the server below gave us of a WebSocket, for as long as we answer.

    After an upgrade that was refused it does nothing more with the connection, and does not hear of its end, until that
    is forgotten. Problems and their tracebacks know the scope and are known by it: the collector would come too late.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """What the client says."""
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Say something to the client."""
        await self._send(message)

    def hang_up(self) -> None:
        """Forget the connection."""
        del self._receive, self._send


def as_request(scope: Scope, send: Send) -> tuple[Scope, Receive, Send]:
    """The request that came, without a body, and a way to answer it. What is said to the socket itself passes."""
    scheme = "https" if scope["scheme"] == "wss" else "http"
    request = {**scope, "type": "http", "method": "GET", "scheme": scheme}

    async def receives() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def sends(message: Message) -> None:
        await send({**message, "type": _REFUSING.get(message["type"], message["type"])})

    return request, receives, sends
