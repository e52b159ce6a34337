"""A small TCP proxy that can be told to spoil what passes: the set of toxiproxy, in one file of asyncio.

A link leads from ports of its own to those of a server. Each of its two directions may be slow, narrow, held up or cut
after some bytes; connections may be reset, half closed, or left half open. What is held up comes after all when it is
healed, as TCP sends again what a partition swallowed; a caller that did not wait has closed its end by then.

The proxies of a process run on one thread with an event loop of its own; every method of `Proxies` may be called from
any thread, and returns when what it asks for is so.
"""

from __future__ import annotations

import asyncio
import math
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

HOST = "127.0.0.1"
CHUNK = 64 * 1024
# Closing a socket that lingers for no time sends a reset instead of an orderly end.
RESET = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """A direction."""

    REQUESTS = "requests"  # from whoever connected
    REPLIES = "replies"


@dataclass(frozen=True, slots=True)
class Toxic:
    """What happens to the bytes of one direction."""

    delay: float = 0.0  # seconds, more or less the jitter
    jitter: float = 0.0
    rate: float = math.inf  # bytes a second
    held: bool = False  # nothing passes until this is over
    cut_after: int | None = None  # so many more bytes of a connection, then it is reset
    deaf: bool = False  # that one side has closed is not passed on

    def wait(self, size: int) -> float:
        """How long so many bytes take."""
        return max(0.0, self.delay + random.uniform(-self.jitter, self.jitter)) + size / self.rate  # noqa: S311


HARMLESS = Toxic()


@dataclass(slots=True, eq=False)
class Connection:
    """One connection through a link, and how many bytes it may still carry where that is limited."""

    writers: Mapping[Way, asyncio.StreamWriter]  # where the bytes of a direction go
    left: dict[Way, int] = field(default_factory=dict)
    ended: set[Way] = field(default_factory=set)  # directions that were told to be finished

    def reset(self) -> None:
        """End both sides at once, without a goodbye."""
        for writer in self.writers.values():
            if raw := writer.get_extra_info("socket"):
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def half_close(self, way: Way) -> None:
        """Send no more in this direction; the other one goes on."""
        if way not in self.ended:
            self.ended.add(way)
            with suppress(OSError):
                self.writers[way].write_eof()

    def close(self) -> None:
        """End it in an orderly way."""
        for writer in self.writers.values():
            writer.close()


class Link:
    """The ports that lead to one server (port by port), and what happens on the way. Lives in the event loop."""

    def __init__(self, name: str, ports: Mapping[int, int]) -> None:
        self.name = name
        self.accepted = 0
        self._ports = ports
        self._toxics = dict.fromkeys(Way, HARMLESS)
        self._changed = asyncio.Event()
        self._refuses = False
        self._connections: set[Connection] = set()
        self._half_open: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Listen."""
        for port, target in self._ports.items():
            self._servers.append(await asyncio.start_server(self._accepts(target), HOST, port))

    async def close(self) -> None:
        """Stop listening, and end what is open."""
        for server in self._servers:
            server.close()
        for connection in [*self._connections]:
            connection.reset()

    # What it may be told.

    def spoil(self, ways: Iterable[Way], toxic: Toxic) -> None:
        """Treat these directions like this from now on, also of connections that are there."""
        for way in ways:
            self._toxics[way] = toxic
        for connection in self._connections:
            connection.left.clear()
        self._wake()

    def cut(self) -> None:
        """Reset every connection."""
        for connection in [*self._connections]:
            connection.reset()

    def refuse(self) -> None:
        """Reset every connection, and those that come."""
        self._refuses = True
        self.cut()

    def half_close(self, way: Way) -> None:
        """Tell one side of every connection that the other has finished."""
        for connection in self._connections:
            connection.half_close(way)

    def heal(self) -> None:
        """Let everything pass; what was left half open ends."""
        self._refuses = False
        for connection in [*self._half_open]:
            connection.close()
        self._half_open.clear()
        self.spoil(Way, HARMLESS)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # How.

    def _accepts(
        self, target: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            with suppress(OSError):
                if self._refuses:
                    raise ConnectionRefusedError
                upstream, downstream = await asyncio.open_connection(HOST, target)
                connection = Connection({Way.REQUESTS: downstream, Way.REPLIES: writer})
                await self._carry(connection, {Way.REQUESTS: reader, Way.REPLIES: upstream})
                return
            Connection({Way.REPLIES: writer}).reset()

        return accept

    async def _carry(self, connection: Connection, readers: Mapping[Way, asyncio.StreamReader]) -> None:
        self._connections.add(connection)
        try:
            await asyncio.gather(*(self._pump(connection, way, reader) for way, reader in readers.items()))
        except OSError:
            connection.reset()  # one side broke off: so does the other
        finally:
            self._connections.discard(connection)
            if connection not in self._half_open:
                connection.close()

    async def _pump(self, connection: Connection, way: Way, reader: asyncio.StreamReader) -> None:
        """Carry one direction until its end. What has piled up during a delay goes on as one piece."""
        while data := await reader.read(CHUNK):
            toxic = await self._passable(way)
            if wait := toxic.wait(len(data)):
                await asyncio.sleep(wait)
            toxic = await self._passable(way)
            await self._write(connection, way, data, toxic)
        if self._toxics[way].deaf:
            self._half_open.add(connection)
            return
        await self._passable(way)
        connection.half_close(way)

    async def _passable(self, way: Way) -> Toxic:
        while (toxic := self._toxics[way]).held:
            await self._changed.wait()
        return toxic

    async def _write(self, connection: Connection, way: Way, data: bytes, toxic: Toxic) -> None:
        if way in connection.ended:
            raise ConnectionResetError  # whoever still speaks here spoke to somebody who heard that it was over
        writer = connection.writers[way]
        if toxic.cut_after is not None:
            left = connection.left.setdefault(way, toxic.cut_after)
            connection.left[way] = left - len(data)
            if left <= len(data):
                writer.write(data[:left])
                await writer.drain()
                raise ConnectionResetError
        writer.write(data)
        await writer.drain()


class Proxies:
    """All links of a test or a nemesis, on a thread of their own."""

    def __init__(self, links: Mapping[str, Mapping[int, int]]) -> None:
        """Links by name: each one's own ports, and where they lead."""
        self._plan = links
        self._links: dict[str, Link] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait_for(self._open())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def names(self) -> list[str]:
        """The links there are."""
        return sorted(self._plan)

    def accepted(self, name: str) -> int:
        """How many connections a link has taken so far."""
        return self._links[name].accepted

    def spoil(self, name: str, toxic: Toxic, *ways: Way) -> None:
        """Treat the bytes of a link like this until it is healed: of both directions, or of those that are named."""
        self._do(lambda: self._links[name].spoil(ways or tuple(Way), toxic))

    def cut(self, name: str) -> None:
        """Reset every connection of a link."""
        self._do(self._links[name].cut)

    def refuse(self, name: str) -> None:
        """Reset every connection of a link, and all that come until it is healed."""
        self._do(self._links[name].refuse)

    def half_close(self, name: str, way: Way) -> None:
        """Tell one side of every connection of a link that the other has finished."""
        self._do(lambda: self._links[name].half_close(way))

    def heal(self, name: str = "") -> None:
        """Let everything pass again, of a link or of all."""
        for each in [name] if name else self.names:
            self._do(self._links[each].heal)

    def _do(self, act: Callable[[], object]) -> None:
        async def acted() -> None:
            act()

        self._wait_for(acted())

    def _wait_for(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)

    async def _open(self) -> None:
        self._links = {name: Link(name, ports) for name, ports in self._plan.items()}
        for link in self._links.values():
            await link.open()

    async def _close(self) -> None:
        for link in self._links.values():
            await link.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
