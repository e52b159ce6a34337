"""The control socket, from the side of the supervisor, who answers."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from mercato.local.control import Message
from mercato.local.trouble import Trouble


async def serve(path: Path, handle: Callable[[Message], Awaitable[Message]]) -> asyncio.Server:
    """Answer questions at the socket. Only its owner may ask."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await handle(json.loads(await reader.readline()))
        except Trouble as trouble:
            answer = {"refused": trouble.sentence, "advice": trouble.advice}
        with suppress(ConnectionError):  # whoever asked may have gone
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    await asyncio.to_thread(path.unlink, missing_ok=True)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(converse, str(path))
    finally:
        os.umask(before)
