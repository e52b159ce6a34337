"""The live events of an order, as server-sent events.

`id` is the order's version, `event` the type, `data` the entry of the order's history; `Last-Event-ID` resumes. The
history itself is read from the order service by version: a stream that breaks anywhere loses and doubles nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.calls import Visit
from gateway.contract import Operation
from gateway.dispatch import Handler, problem_of
from gateway.endpoint import Mesh
from gateway.limits import check_accepts
from gateway.openapi import event_stream
from gateway.problems import Problem
from gateway.wakeups import Wakeups
from gateway.writer import dumps, writer
from mercato.errors import FieldViolation, MercatoError
from mercato.telemetry import Gauge

ADDRESS, HISTORY = "/v1/orders/{id}/events", "ListOrderEvents"
LAST = frozenset({"OrderDelivered", "OrderRejected", "OrderCancelled"})
_KIND = "text/event-stream"
_MOST_DIGITS = 18
# Browsers come back after this many milliseconds; after a goodbye, sooner.
_RETRY, _RETRY_SOON = "retry: 2000\n\n", ": goodbye, come back\nretry: 250\n\n"
_BEAT = ": still here\n\n"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a quiet stream says that it lives, and looks for news that nobody hinted at; seconds."""

    beat: float = 15.0
    look: float = 2.0


class OrderEvents:
    """Streams what happens to an order to whoever may see it."""

    def __init__(self, mesh: Mesh, wakeups: Wakeups, history: Operation | None, pace: Pace | None = None) -> None:
        self._mesh = mesh
        self._wakeups = wakeups
        self._history = history
        self._pace = pace or Pace()
        self._ending = False
        Gauge("gateway_streams", "Open event streams.", read=lambda: wakeups.waiting)

    def routes(self) -> Mapping[str, Handler]:
        """The address of the streams, where the contracts have a history to stream."""
        return {ADDRESS: self.stream} if self._history else {}

    def paths(self) -> Mapping[str, Any]:
        """What the OpenAPI document says of it."""
        return {ADDRESS: {"get": event_stream(self._history)}} if self._history else {}

    def end(self) -> None:
        """Have every stream say goodbye."""
        self._ending = True
        self._wakeups.wake_all()

    async def stream(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """The events of one order from the one after Last-Event-ID on."""
        check_accepts(request.headers.get("accept", ""), _KIND)
        look = _Look(self, request, variables["id"], visit)
        after = _last_event_id(request.headers.get("last-event-id", ""))
        # From one before, so that a client that has seen the end is told so, instead of waiting for ever.
        entries = await look.entries(max(after - 1, 0))
        if any(entry.type in LAST for entry in entries if entry.version <= after):
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        fresh = [entry for entry in entries if entry.version > after]
        return StreamingResponse(self._frames(look, after, fresh), headers=headers, media_type=_KIND)

    async def _frames(self, look: "_Look", after: int, entries: Sequence[Any]) -> AsyncIterator[str]:
        yield _RETRY
        with self._wakeups.of(look.order_id) as news:
            spoke = time.monotonic()
            while True:
                for entry in entries:
                    yield _frame(entry)
                    if entry.type in LAST:
                        return
                    after, spoke = entry.version, time.monotonic()
                if self._ending:
                    yield _RETRY_SOON
                    return
                if time.monotonic() - spoke >= self._pace.beat:
                    yield _BEAT
                    spoke = time.monotonic()
                # The first look comes at once: something may have happened before we listened.
                news.clear()
                found = await look.news(after)
                if found is None:
                    yield _RETRY_SOON
                    return
                entries = found
                if not entries:
                    await self._quiet(news)

    async def _quiet(self, news: asyncio.Event) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), min(self._pace.look, self._pace.beat))

    async def read(self, request: Request, order_id: str, after: int, visit: Visit) -> Sequence[Any]:
        """What happened to the order after a version, if this visitor may see it."""
        assert self._history
        principal = await self._mesh.access.admit(self._history, request.method, request.headers)
        message: Any = self._history.request()
        message.id, message.after_version = order_id, after
        try:
            reply = await self._mesh.caller.call(self._history.rpc, message, visit, principal)
        except grpc.aio.AioRpcError as failed:
            raise Problem.of_call(failed) from None
        entries: Sequence[Any] = reply.message.events
        return entries


class _Look:
    """Looking for one visitor at one order, again and again: a session that ends, ends its streams."""

    def __init__(self, events: OrderEvents, request: Request, order_id: str, visit: Visit) -> None:
        self.order_id = order_id
        self._events = events
        self._request = request
        self._visit = visit

    async def entries(self, after: int) -> Sequence[Any]:
        """What happened after a version."""
        visit = replace(self._visit, began=time.monotonic())
        return await self._events.read(self._request, self.order_id, after, visit)

    async def news(self, after: int) -> Sequence[Any] | None:
        """The same in the midst of a stream: nothing while the service is away, None when the visitor must go."""
        try:
            return await self.entries(after)
        except (Problem, MercatoError) as refusal:
            return () if problem_of(refusal).status >= 500 else None


def _frame(entry: Any) -> str:
    data = dumps(writer(entry.DESCRIPTOR)(entry)).decode()
    return f"id: {entry.version}\nevent: {entry.type}\ndata: {data}\n\n"


def _last_event_id(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise Problem.invalid(FieldViolation("Last-Event-ID", "MALFORMED", "must be the id of an event"))
    return int(text)
