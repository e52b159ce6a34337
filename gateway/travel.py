"""Calls of one rpc from the event loop: alone while the lane is empty, in company otherwise.

What becomes of a call does not show which way it went: a reply and its trailing metadata, or grpc.aio.AioRpcError. A
message is carried by a task of its own, so that a caller who leaves, or whose time is over, takes it from nobody else.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.policy import policy_of
from mercato.rpc.lane import JAM, Journey, Lane
from mercato.rpc.parcel import error_in, pack, status_of, trailing_of
from mercato.rpc.retries import Retries
from mercato.rpc.status import error_of_call
from mercato.rpc.travel import HEAVY, Metadata

Trailing = Sequence[tuple[str, Any]]
Answer = tuple[Any, Trailing]
"""A reply, and what the service says beside it."""
Post = Callable[..., Any]
"""What makes calls of an rpc: grpc.aio.UnaryUnaryMultiCallable."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A call: what it sends, until when its caller waits by the loop's clock, and what comes of it.

    That is a reply, a refusal, or a journey which the call is to make alone; None stands for one without company.
    """

    request: bytes
    ends: float
    metadata: Metadata
    told: "asyncio.Future[Answer | Journey[Ticket] | None]"

    @property
    def weight(self) -> int:
        """The bytes of its request."""
        return len(self.request)


class Travel:
    """The calls of one rpc to one service."""

    def __init__(self, rpc: MethodDescriptor, alone: Post, message: Post, identify: Callable[[], Metadata]) -> None:
        """`alone` takes serialized requests, `message` those of BATCH; `identify` says who sends the messages."""
        self._path = path_of(rpc)
        self._read = GetMessageClass(rpc.output_type).FromString
        self._alone_by = alone
        self._message_by = message
        self._identify = identify
        self._lane = Lane[Ticket]()
        self._retries = Retries(policy_of(rpc).repeatable)
        self._waiting: set[Ticket] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None

    async def call(self, request: bytes, seconds: float, metadata: Metadata) -> Answer:
        """The reply to a request that somebody waits for so long, and its trailing metadata. AioRpcError."""
        now = self._loop.time()
        ticket = Ticket(request, now + seconds, metadata, self._loop.create_future())
        if len(request) > HEAVY:
            return await self._alone(ticket)
        journey = self._lane.board(ticket, now)
        if journey is not None:
            return await self._first(ticket, journey)
        return await self._in_company(ticket)

    async def _first(self, ticket: Ticket, journey: Journey[Ticket]) -> Answer:
        try:
            return await self._alone(ticket)
        finally:
            self._arrived(journey)

    async def _alone(self, ticket: Ticket) -> Answer:
        call = self._alone_by(
            ticket.request,
            timeout=max(0.0, ticket.ends - self._loop.time()),
            metadata=grpc.aio.Metadata(*ticket.metadata),
        )
        return await call, await call.trailing_metadata()

    async def _in_company(self, ticket: Ticket) -> Answer:
        self._waiting.add(ticket)
        self._look_at(min(ticket.ends, self._loop.time() + JAM))
        try:
            told = await ticket.told
        except asyncio.CancelledError:
            self._leave(ticket)
            raise
        finally:
            self._waiting.discard(ticket)
        if told is None:
            return await self._alone(ticket)
        return await self._first(ticket, told) if isinstance(told, Journey) else told

    def _leave(self, ticket: Ticket) -> None:
        if not self._lane.give_up(ticket) and ticket.told.done() and not ticket.told.cancelled():
            told = None if ticket.told.exception() else ticket.told.result()
            if isinstance(told, Journey):
                self._arrived(told)

    def _arrived(self, journey: Journey[Ticket]) -> None:
        self._set_out(self._lane.arrive(journey, self._loop.time()))

    def _set_out(self, journey: Journey[Ticket] | None) -> None:
        if journey is None:
            return
        if len(journey.passengers) == 1:
            _tell(journey.passengers[0], journey)
            return
        carrier = self._loop.create_task(self._carry(journey))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)

    async def _carry(self, journey: Journey[Ticket]) -> None:
        company = journey.passengers
        try:
            await self._deliver(company)
        finally:
            self._arrived(journey)
            for each in company:
                if not each.told.done():
                    _tell(each, _gone())

    async def _deliver(self, company: Sequence[Ticket]) -> None:
        """Send a message, and tell each what came of it."""
        now = self._loop.time()
        items = [pack(self._path, each.request, each.ends - now, each.metadata) for each in company]
        timeout = max(0.0, max(each.ends for each in company) - now)
        metadata = grpc.aio.Metadata(*self._identify())
        try:
            response = await self._message_by(pb.CallRequest(items=items), timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as failed:
            again = self._retries.of_lost(failed.code(), [error_of_call(failed) for _ in company])
            for each, once_more in zip(company, again, strict=True):
                _tell(each, None if once_more else _copy(failed))
            return
        self._retries.went(len(company))
        for each, outcome in zip(company, response.outcomes, strict=True):
            _tell(each, self._told(outcome))

    def _told(self, outcome: pb.Outcome) -> Answer | grpc.aio.AioRpcError | None:
        if outcome.alone:
            return None
        if not outcome.code:
            return self._read(outcome.reply), trailing_of(outcome)
        error = error_in(outcome)
        return None if error and self._retries.of_refused(error) else _refusal(*status_of(outcome))

    # One timer for all who wait, for whoever waits longest: nobody's patience costs a timer of its own.

    def _look_at(self, when: float) -> None:
        if self._watch is None or when < self._watch.when():
            if self._watch is not None:
                self._watch.cancel()
            self._watch = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """Let go whose time is over, and have the next message overtake one that does not come back."""
        self._watch, now = None, self._loop.time()
        for each in [each for each in self._waiting if each.ends <= now]:
            self._lane.give_up(each)
            # Whatever is under way may yet have its effect.
            _tell(each, _refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ()))
            self._waiting.discard(each)
        self._set_out(self._lane.overtake(now))
        if self._waiting:
            self._look_at(min(now + JAM, *(each.ends for each in self._waiting)))


def path_of(rpc: MethodDescriptor) -> str:
    """What gRPC calls an rpc: `/mercato.api.order.v1.OrderService/GetOrder`."""
    return f"/{rpc.containing_service.full_name}/{rpc.name}"


def _tell(ticket: Ticket, outcome: "Answer | Journey[Ticket] | grpc.aio.AioRpcError | None") -> None:
    if ticket.told.done():
        return
    if isinstance(outcome, grpc.aio.AioRpcError):
        ticket.told.set_exception(outcome)
    else:
        ticket.told.set_result(outcome)


def _refusal(code: grpc.StatusCode, text: str, trailing: Trailing) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), text)


def _copy(failed: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    return _refusal(failed.code(), failed.details() or "", list(failed.trailing_metadata() or ()))


def _gone() -> grpc.aio.AioRpcError:
    return _refusal(grpc.StatusCode.CANCELLED, "the message went astray", ())
