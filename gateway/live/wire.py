"""The two wires that streams go out on: server-sent events, and a WebSocket's messages.

The server below gives no word when a client has gone while we write (it drops or piles up what comes after): that is
told only to whoever asks for what the client sends. So somebody always asks, and pings are answered by the way.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Receive, Send

from gateway.live.frame import HEARTBEAT, Frame

KIND = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# A client has nothing to say here. What it says all the same is taken up to this size (bytes), in order to refuse it.
LONGEST = 4096
_RETRY, _BEAT = b"retry: 2000\n\n", b": still here\n\n"
_NO_CODE = 1005  # the end of a connection that nobody closed, or that broke the protocol


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ends: the close code and reason of a WebSocket, and whether it is worth coming back."""

    code: int
    reason: str
    again: bool = False


DONE = Ending(1000, "nothing more will happen")
LEAVING = Ending(1012, "this gateway leaves: come back", again=True)
REFUSED = Ending(1008, "the session has ended or may not see this any more", again=True)
SLOW = Ending(1008, "too slow", again=True)
_UNWANTED = Ending(1003, "this stream takes no messages")
_TOO_LARGE = Ending(1009, "this stream takes no messages")
_BROKEN = Ending(1002, "that was no WebSocket frame")


class Wire(Protocol):
    """What a stream tells by."""

    async def open(self) -> None:
        """Begin."""

    async def tell(self, frames: Sequence[Frame]) -> None:
        """Tell events."""

    async def beat(self) -> None:
        """Say that the stream lives."""

    async def end(self, ending: Ending) -> None:
        """Say why this is the end."""

    async def gone(self) -> None:
        """Return when nobody listens any more."""


class EventsWire:
    """Server-sent events in an answer that does not end."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def open(self) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        kind = (b"content-type", f"{KIND}; charset=utf-8".encode())
        await self._send({"type": "http.response.start", "status": 200, "headers": [kind, *headers]})
        await self._write(_RETRY)

    async def tell(self, frames: Sequence[Frame]) -> None:
        await self._write(b"".join(frame.event for frame in frames))

    async def beat(self) -> None:
        await self._write(_BEAT)

    async def end(self, ending: Ending) -> None:
        await self._write(b": goodbye, come back\nretry: %d\n\n" % _pause() if ending.again else b"", more=False)

    async def gone(self) -> None:
        size = 0
        while size <= LONGEST:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class SocketWire:
    """The messages of a WebSocket."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def open(self) -> None:
        await self._receive()  # "websocket.connect": the client waits
        await self._send({"type": "websocket.accept", "headers": []})

    async def tell(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self._send({"type": "websocket.send", "text": frame.message})

    async def beat(self) -> None:
        await self._send({"type": "websocket.send", "text": HEARTBEAT})

    async def end(self, ending: Ending) -> None:
        reason = f"{ending.reason}; retry: {_pause()}" if ending.again else ending.reason
        await self._send({"type": "websocket.close", "code": ending.code, "reason": reason})

    async def gone(self) -> None:
        message = await self._receive()
        if message["type"] == "websocket.receive":
            await self.end(_UNWANTED if _size(message) <= LONGEST else _TOO_LARGE)
        elif message.get("code") == _NO_CODE:
            # Who has gone does not hear it; who sent garbage does.
            with suppress(Exception):
                await self.end(_BROKEN)


def _size(message: object) -> int:
    assert isinstance(message, dict)
    return len(message.get("text") or message.get("bytes") or "")


def _pause() -> int:
    """After how many milliseconds to come back: not all at once."""
    return random.randint(250, 1500)  # noqa: S311 -- no secret
