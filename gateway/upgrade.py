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


def as_request(scope: Scope, send: Send) -> tuple[Scope, Receive, Send]:
    """The request that came, without a body, and a way to answer it. What is said to the socket itself passes."""
    scheme = "https" if scope["scheme"] == "wss" else "http"
    request = {**scope, "type": "http", "method": "GET", "scheme": scheme}

    async def receives() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def sends(message: Message) -> None:
        await send({**message, "type": _REFUSING.get(message["type"], message["type"])})

    return request, receives, sends
