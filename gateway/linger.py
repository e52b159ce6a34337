"""What is left of a body whose request was answered before all of it had come.

The server closes a connection whose request it has not read to its end, and tells nobody: a client that sends head and
body apart would meet the broken connection with its next request. So the rest is taken and thrown away.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import Message, Receive

_MOST_BYTES = 1024 * 1024
_SECONDS = 2.0
_TOO_SLOW = 408


class Body:
    """A body as it comes, and whether its end has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    @staticmethod
    def announced(headers: Mapping[str, str]) -> bool:
        """Whether a body follows this head unasked."""
        return (headers.get("content-length", "0") != "0" or "transfer-encoding" in headers) and "expect" not in headers

    async def __call__(self) -> Message:
        """The next piece."""
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        return message

    async def pass_over(self, status: int) -> None:
        """Take the rest, as much of it as somebody sends who means well. `status` is what was answered."""
        if self._ended or status == _TOO_SLOW:
            return
        left = _MOST_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while left > 0 and (message := await self()).get("more_body", False):
                    left -= len(message["body"])
