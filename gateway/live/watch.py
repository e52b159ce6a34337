"""The orders that somebody watches, and looking what happened to them: once for all who watch the same.

A hint says only "look now"; one that is doubled or late costs a look and nothing else. A look asks for everything after
the place of the client that is furthest behind, so what it finds has no holes for any of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gateway.dispatch import problem_of
from gateway.live.frame import LAST, OUT, SHIPMENT, Frame
from gateway.live.stream import Stream, Visitor
from gateway.live.wire import REFUSED
from gateway.problems import Problem

# What happened to an order after a version, as somebody who may see it.
Read = Callable[[str, int, Visitor], Awaitable[Sequence[Any]]]
# At once, whatever happens to thousands of orders in a moment, or however many come back when another gateway leaves:
# the order service has others to serve, and would refuse them.
LOOKS_AT_ONCE = 16
_FOR_GOOD = frozenset({401, 403, 404})


class Watched:
    """One order: who watches it, and what they are to be told."""

    def __init__(self, order_id: str, read: Read, looks: asyncio.Semaphore) -> None:
        self.order_id = order_id
        self.streams: list[Stream] = []
        self.position: Frame | None = None
        self.shipment = ""  # under way: there is somebody to be seen
        self.hints = 0
        self.opening = 0
        self.seen = 0  # the version that was told of last, whether or not there was anything to tell
        self.stale = False
        self._read = read
        self._looks = looks
        self._frames: Sequence[Frame] = ()
        self._since = 0
        self._version = 0
        self._looking: asyncio.Task[None] | None = None

    def after(self, version: int) -> Sequence[Frame]:
        """What is known of the time after a version, up to the end of the order."""
        if version < self._since:
            return ()
        return until_the_end(frame for frame in self._frames if frame.version > version)

    def learn(self, entries: Sequence[Any]) -> None:
        """Know how the order stands by the end of its history."""
        if not entries or entries[-1].version < self._version:
            return
        last = entries[-1]
        self._version = last.version
        self.shipment = last.data.get(SHIPMENT, "") if last.type == OUT else ""
        if not self.shipment:
            self.position = None

    def hint(self) -> None:
        """Something may have happened."""
        self.hints += 1
        if self._looking is None and self.streams:
            self._looking = asyncio.ensure_future(self._look())

    def move(self, position: Frame | None) -> None:
        """The courier is there now."""
        self.position = position
        self._poke()

    async def _look(self) -> None:
        hints = -1
        try:
            while hints != self.hints and self.streams:
                async with self._looks:
                    hints = self.hints
                    await self._look_as(self.streams[0])
        finally:
            self._looking = None

    async def _look_as(self, stream: Stream) -> None:
        since = min(each.after for each in self.streams)
        try:
            entries = await self._read(self.order_id, since, stream.visitor)
        except Exception as refusal:  # noqa: BLE001 -- whatever it is, the streams go on
            self._refused(stream, problem_of(refusal))
            return
        self._frames, self._since, self.stale = [Frame.of(each) for each in entries], since, False
        self.learn(entries)
        self._poke()

    def _refused(self, stream: Stream, problem: Problem) -> None:
        """Look again later, if it is the service that cannot; as somebody else, if it is this one who may not."""
        if problem.status not in _FOR_GOOD:
            self.stale = True
            return
        stream.end(REFUSED)
        if stream in self.streams:
            self.streams.remove(stream)
        self.hints += 1

    def _poke(self) -> None:
        for stream in self.streams:
            stream.poke()


class Watch:
    """All watched orders."""

    def __init__(self) -> None:
        self._orders: dict[str, Watched] = {}
        self.looks = asyncio.Semaphore(LOOKS_AT_ONCE)

    @contextmanager
    def of(self, order_id: str, read: Read) -> Iterator[Watched]:
        """An order, watched for as long as the block lasts."""
        watched = self._orders.get(order_id)
        if watched is None:
            watched = self._orders[order_id] = Watched(order_id, read, self.looks)
        watched.opening += 1
        try:
            yield watched
        finally:
            watched.opening -= 1
            if not watched.opening:
                del self._orders[order_id]

    @property
    def orders(self) -> Sequence[Watched]:
        """The orders."""
        return list(self._orders.values())

    @property
    def streams(self) -> Sequence[Stream]:
        """Who watches them."""
        return [stream for watched in self._orders.values() for stream in watched.streams]

    def hint(self, order_ids: Iterable[str]) -> None:
        """Something happened to these."""
        for order_id in order_ids:
            if watched := self._orders.get(order_id):
                watched.hint()


def until_the_end(frames: Iterable[Frame]) -> Sequence[Frame]:
    """The frames up to the one after which a stream has nothing to tell."""
    found: list[Frame] = []
    for frame in frames:
        found.append(frame)
        if frame.type in LAST:
            break
    return found
