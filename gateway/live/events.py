"""The address of an order's live events."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.calls import Visit
from gateway.comments import comments
from gateway.contract import Operation
from gateway.dispatch import Handler
from gateway.endpoint import Mesh
from gateway.limits import check_accepts
from gateway.live import document
from gateway.live.document import ADDRESS
from gateway.live.frame import LAST, Frame
from gateway.live.places import Places
from gateway.live.position import Positions
from gateway.live.stream import Stream, Visitor
from gateway.live.vigil import Pace, Vigil
from gateway.live.watch import Watch, Watched, until_the_end
from gateway.live.wire import DONE, HEADERS, KIND, LEAVING, EventsWire, SocketWire
from gateway.problems import Problem
from gateway.query import pairs
from gateway.rates import address
from gateway.sessions import Credential
from gateway.upgrade import SOCKET, Socket
from gateway.values import Refused
from mercato.api.order.v1 import order_pb2
from mercato.errors import FieldViolation
from mercato.telemetry import Gauge

HISTORY = "ListOrderEvents"
HEADER, PARAMETER = "Last-Event-ID", "lastEventId"
_VERSIONS = order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name["BatchGetOrderVersions"]
_MOST_DIGITS = 18
_FAREWELL = 5.0  # seconds
# A page of anybody's may open a socket with the cookie that the browser adds, and read what comes: for the check of
# Origin, opening one is like a change.
_OPENS = "CONNECT"


class OrderEvents:
    """Streams what happens to an order to whoever may see it."""

    def __init__(self, mesh: Mesh, history: Operation, positions: Positions, places: Places, pace: Pace) -> None:
        self._mesh = mesh
        self._history = history
        self._places = places
        self._pace = pace
        self._watch = Watch()
        sessions = mesh.access.sessions
        self._vigil = Vigil(self._watch, sessions, history.policy, positions, self._versions, pace)
        self._ending = False
        Gauge("gateway_streams", "Open event streams.", read=lambda: places.open)

    def routes(self) -> Mapping[str, Handler]:
        """The address of the streams."""
        return {ADDRESS: self.stream}

    def paths(self) -> Mapping[str, Any]:
        """What the OpenAPI document says of it."""
        return {ADDRESS: {"get": document.operation(self._history, comments())}}

    def hint(self, order_ids: Iterable[str]) -> None:
        """Something happened to these orders."""
        self._watch.hint(order_ids)

    def see(self, told: bool) -> None:
        """Hints come of all that happens, or they do not."""
        self._vigil.see(told)

    async def end(self) -> None:
        """Have every stream say goodbye: those who have ended before the server does, were heard."""
        self._ending = True
        streams = self._watch.streams
        for stream in streams:
            stream.end(LEAVING)
        if streams:
            await asyncio.wait({stream.over for stream in streams}, timeout=_FAREWELL)

    async def stream(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """The events of one order from the one after the last that the client saw."""
        socket: Socket | None = request.scope.get(SOCKET)
        if socket is None:
            check_accepts(request.headers.get("accept", ""), KIND)
        visitor = await self._admit(request, visit, socket)
        after = _last_seen(request)
        with ExitStack() as leaving:
            sender = address(request.scope, self._mesh.rates.trusted)
            leaving.enter_context(self._places.taken(visitor.principal.subject, sender))
            watched = leaving.enter_context(self._watch.of(_canonical(variables["id"]), self._read))
            async with self._watch.looks:
                hints = watched.hints
                entries = await self._read(variables["id"], 0, visitor)
            after = min(after, entries[-1].version) if entries else 0  # nothing later was ever told
            if _is_over(entries, after) and socket is None:
                return Response(status_code=204, headers={"Cache-Control": "no-store"})
            if request.method == "HEAD":
                return Response(headers=HEADERS, media_type=KIND)
            stream = self._opened(watched, entries, visitor, after)
            leaving.callback(_leave, watched, stream)
            if watched.hints != hints:
                watched.hint()  # something happened while we read
            return _Live(stream, leaving.pop_all(), socket)

    def _opened(self, watched: Watched, entries: Sequence[Any], visitor: Visitor, after: int) -> Stream:
        watched.learn(entries)
        fresh = until_the_end(Frame.of(each) for each in entries if each.version > after)
        stream = Stream(watched, visitor, after, fresh, self._pace.patience)
        watched.streams.append(stream)
        if self._ending:
            stream.end(LEAVING)
        elif _is_over(entries, after):
            stream.end(DONE)
        self._vigil.begin()
        return stream

    async def _admit(self, request: Request, visit: Visit, socket: Socket | None) -> Visitor:
        method = request.method if socket is None else _OPENS
        principal = await self._mesh.access.admit(self._history, method, request.headers)
        await self._mesh.rates.count(self._history, principal, request.scope)
        return Visitor(Credential.of(request.headers).token, principal, visit)

    async def _read(self, order_id: str, after: int, visitor: Visitor) -> Sequence[Any]:
        """What happened to an order after a version, if this visitor may see it."""
        message: Any = self._history.request()
        message.id, message.after_version = order_id, after
        reply = await self._call(self._history.rpc, message, visitor.visit, visitor)
        entries: Sequence[Any] = reply.events
        return entries

    async def _versions(self, order_ids: Sequence[str]) -> Mapping[str, int]:
        """The versions that some orders have now."""
        message = order_pb2.BatchGetOrderVersionsRequest(ids=order_ids)
        reply = await self._call(_VERSIONS, message, Visit())
        return {each.id: each.version for each in reply.versions}

    async def _call(self, rpc: Any, message: Any, visit: Visit, visitor: Visitor | None = None) -> Any:
        visit = replace(visit, began=time.monotonic())
        principal = {"principal": visitor.principal} if visitor else {}
        try:
            return (await self._mesh.caller.call(rpc, message, visit, **principal)).message
        except grpc.aio.AioRpcError as failed:
            raise Problem.of_call(failed) from None


class _Live(Response):
    """An answer that goes on until the stream ends."""

    def __init__(self, stream: Stream, leaving: ExitStack, socket: Socket | None) -> None:
        super().__init__()
        self._stream = stream
        self._leaving = leaving
        self._socket = socket

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Be the stream."""
        with self._leaving:
            wire = SocketWire(*self._socket) if self._socket else EventsWire(receive, send)
            await self._stream.live(wire)


def _leave(watched: Watched, stream: Stream) -> None:
    if stream in watched.streams:
        watched.streams.remove(stream)


def _is_over(entries: Sequence[Any], after: int) -> bool:
    """Whether a client has seen the end."""
    return any(entry.type in LAST for entry in entries if entry.version <= after)


def _canonical(order_id: str) -> str:
    """An id as events bear it."""
    try:
        return str(UUID(order_id))
    except ValueError:
        return order_id  # which the order service refuses


def _last_seen(request: Request) -> int:
    """The version that a client saw last: a browser that comes back says it by header, anew each time."""
    given = [value for name, value in _parameters(request) if name == PARAMETER]
    if len(given) > 1:
        raise Problem.invalid(FieldViolation(PARAMETER, "DUPLICATE_PARAMETER", "is given twice"))
    if header := request.headers.get(HEADER, ""):
        return _version(HEADER, header)
    return _version(PARAMETER, given[0]) if given else 0


def _parameters(request: Request) -> list[tuple[str, str]]:
    try:
        found = list(pairs(request.scope["query_string"]))
    except Refused as refused:
        raise Problem.invalid(FieldViolation(refused.path, refused.reason, refused.message)) from None
    for name, _ in found:
        if name != PARAMETER:
            raise Problem.invalid(FieldViolation(name[:64], "UNKNOWN_PARAMETER", "is not a known parameter"))
    return found


def _version(name: str, text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise Problem.invalid(FieldViolation(name, "MALFORMED", "must be the id of an event"))
    return int(text or 0)
