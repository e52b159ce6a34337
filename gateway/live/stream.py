"""One open stream: what its client was told, and what it is to be told next.

Nothing is queued for a client. What there is to tell is kept once for all who watch an order, and a stream only knows
how far its client is: a slow reader costs no memory, and one who does not read at all is dropped.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.calls import Visit
from gateway.live.frame import LAST, Frame
from gateway.live.wire import DONE, SLOW, Ending, Wire
from mercato.rpc.call import Principal
from mercato.telemetry import Counter

_FRAMES = Counter("gateway_stream_frames", "Events told by streams.")
_ENDED = Counter("gateway_streams_ended", "Streams that ended, by close code; 1006: the client left.", ("code",))
_LEFT = 1006
_AT_ONCE = 16  # frames, told within the patience for a client


@dataclass(slots=True)
class Visitor:
    """Who listens: by which session, and as whom."""

    token: str
    principal: Principal
    visit: Visit


class Source(Protocol):
    """The order that is watched."""

    position: Frame | None

    def after(self, version: int) -> Sequence[Frame]:
        """What is known of the time after a version."""


class Stream:
    """Tells one client what happens to one order."""

    def __init__(self, source: Source, visitor: Visitor, after: int, fresh: Sequence[Frame], patience: float) -> None:
        """`after`: the last version that the client knows; `fresh`: what has happened since. Seconds of patience."""
        self.visitor = visitor
        self.after = after
        self.spoke = time.monotonic()
        self._source = source
        self._fresh = fresh
        self._patience = patience
        self._position: Frame | None = None
        self._ending: Ending | None = None
        self._beat = False
        self._wire: Wire | None = None
        self._telling: asyncio.Task[None] | None = None
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None]

    async def live(self, wire: Wire) -> None:
        """Tell until nothing more is to be told, or nobody listens."""
        await wire.open()
        self._wire = wire
        self._gone = asyncio.ensure_future(wire.gone())
        self._gone.add_done_callback(self._left)
        self.poke()
        try:
            _ENDED.add(str(await self.over))
        finally:
            self._gone.cancel()
            if self._telling:
                self._telling.cancel()

    def poke(self) -> None:
        """There may be something to tell."""
        if self._wire and self._telling is None and not self.over.done():
            self._telling = asyncio.ensure_future(self._tell(self._wire))

    def beat(self) -> None:
        """Say that the stream lives."""
        self._beat = True
        self.poke()

    def end(self, ending: Ending) -> None:
        """Tell nothing more, but why."""
        self._ending = self._ending or ending
        self.poke()

    async def _tell(self, wire: Wire) -> None:
        try:
            more = True
            while more:
                async with asyncio.timeout(self._patience):
                    more = await self._next(wire)
        except TimeoutError:
            self._finish(SLOW.code)
        except Exception:  # noqa: BLE001 -- the connection broke under what we said: the client knows how far it is
            self._finish(_LEFT)
        finally:
            self._telling = None

    async def _next(self, wire: Wire) -> bool:
        """Tell what is due; False when that is nothing, or was the last."""
        if self._ending:
            await self._end(wire, self._ending)
            return False
        if frames := self._fresh or self._source.after(self.after):
            return await self._tell_frames(wire, frames[:_AT_ONCE])
        if (position := self._source.position) is not self._position:
            self._position = position
            await self._tell_position(wire, position)
            return True
        if self._beat:
            self._beat, self.spoke = False, time.monotonic()
            await wire.beat()
            return True
        return False

    async def _tell_position(self, wire: Wire, position: Frame | None) -> None:
        if position:
            await wire.tell([position])
            self.spoke = time.monotonic()

    async def _tell_frames(self, wire: Wire, frames: Sequence[Frame]) -> bool:
        await wire.tell(frames)
        _FRAMES.add(amount=len(frames))
        self._fresh, self.after, self.spoke = self._fresh[len(frames) :], frames[-1].version, time.monotonic()
        if frames[-1].type in LAST:
            await self._end(wire, DONE)
            return False
        return True

    async def _end(self, wire: Wire, ending: Ending) -> None:
        # A socket cannot be closed while somebody waits for what its client says.
        self._gone.cancel()
        await asyncio.wait({self._gone})
        await wire.end(ending)
        self._finish(ending.code)

    def _left(self, gone: "asyncio.Future[None]") -> None:
        if not gone.cancelled():
            gone.exception()  # however the connection broke, it did
            self._finish(_LEFT)

    def _finish(self, code: int) -> None:
        if not self.over.done():
            self.over.set_result(code)
