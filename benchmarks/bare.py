"""The least that a reply can cost here: granian and an ASGI callable that always says the same. `-m benchmarks.bare 0`.

It says the port that it listens at, and ends with its standard input.
"""

import asyncio
import socket
import sys

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.types import Receive, Scope, Send

_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"15")]


async def reply(scope: Scope, _receive: Receive, send: Send) -> None:
    """Say hello."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b'{"say":"hello"}'})


async def main(port: int) -> None:
    """Serve until nobody reads what we say."""
    server = Server(reply, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.stop()  # type: ignore[no-untyped-call]  # granian types half of it
    await serving


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) or free_port()))
