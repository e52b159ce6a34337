"""Calls of one rpc from the threads of this process: alone while the lane is empty, in company otherwise.

Nobody drives but the callers themselves: whoever is back wakes the one of those who wait that has the most time, and
that one sends the message for all. So a caller whose deadline passes just leaves, and no message is cut short by it.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.convoy import Halt, away, halting
from mercato.errors import MercatoError, Unavailable
from mercato.rpc import status
from mercato.rpc.contract import Method
from mercato.rpc.lane import JAM, Journey, Lane
from mercato.rpc.parcel import error_in, pack
from mercato.rpc.retries import Retries

BATCH = "/mercato.api.batch.v1.BatchService/Call"
HEAVY = 32 * 1024  # bytes: a request that is larger goes alone, beside the lane
Metadata = list[tuple[str, str]]


@dataclass(slots=True, eq=False)
class Ticket:
    """One call: what it sends, until when its caller waits, and what came of it."""

    request: bytes
    ends: float
    metadata: Metadata
    journey: "Journey[Ticket] | None" = None  # that its caller is to drive
    outcome: Any = None  # the reply, or an error
    again: bool = False  # whether it is to be tried once more, alone
    halt: Halt | None = field(default_factory=halting)
    called: threading.Lock = field(default_factory=threading.Lock)

    @property
    def weight(self) -> int:
        """The bytes of its request."""
        return len(self.request)

    @property
    def remaining(self) -> float | None:
        """Seconds that its caller still waits."""
        return None if self.ends == math.inf else self.ends - time.monotonic()


class Travel:
    """The calls of one rpc over one channel."""

    def __init__(self, channel: grpc.Channel, method: Method, identify: Callable[[], Metadata]) -> None:
        """`identify` gives the metadata of the messages themselves: who sends them."""
        make: Any = channel.unary_unary
        self._call = make(method.path, None, method.response.FromString)
        self._send = make(BATCH, pb.CallRequest.SerializeToString, pb.CallResponse.FromString)
        self._method = method
        self._identify = identify
        self._lock = threading.Lock()
        self._lane = Lane[Ticket]()
        self._retries = Retries(method.policy.repeatable)

    def __call__(self, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        """The reply, or the error that the callee raised."""
        ends = math.inf if timeout is None else time.monotonic() + timeout
        ticket = Ticket(request.SerializeToString(), ends, metadata)
        if ticket.weight > HEAVY:
            return self._alone(ticket)
        ticket.called.acquire()  # before anybody can see it, and call
        company = ticket.halt is not None and ticket.halt.convoy.others
        with self._lock:
            journey = self._lane.board(ticket, time.monotonic(), company=company)
        if journey is None:
            return self._in_company(ticket)
        try:
            return self._alone(ticket)
        finally:
            self._arrived(journey)

    def _alone(self, ticket: Ticket) -> Any:
        with away():
            return self._called(ticket)

    def _called(self, ticket: Ticket) -> Any:
        try:
            return self._call(ticket.request, timeout=ticket.remaining, metadata=ticket.metadata)
        except grpc.RpcError as failed:
            raise status.error_of_call(failed) from failed

    def _in_company(self, ticket: Ticket) -> Any:
        if ticket.halt:
            ticket.halt.begin(self._go)
        else:
            self._go()
        self._wait(ticket)
        if ticket.journey:
            self._drive(ticket.journey)
        if not isinstance(ticket.outcome, MercatoError):
            return ticket.outcome
        if ticket.again:
            return self._alone(ticket)
        raise ticket.outcome

    def _wait(self, ticket: Ticket) -> None:
        """Until there is an outcome, or the call is to drive."""
        patience = ticket.halt.convoy.patience if ticket.halt else JAM
        while not ticket.called.acquire(timeout=max(0.0, min(ticket.ends - time.monotonic(), patience))):
            patience = JAM
            with self._lock:
                now = time.monotonic()
                if now >= ticket.ends and (self._lane.give_up(ticket) or ticket.journey is None):
                    # Whatever is under way may yet have its effect.
                    ticket.outcome = _out_of_time()
                    if ticket.halt:
                        ticket.halt.end()
                    return
                self._appoint(self._lane.overtake(now))

    def _go(self) -> None:
        """Have those who wait leave, if nothing is under way."""
        with self._lock:
            self._appoint(self._lane.overtake(time.monotonic()))

    def _appoint(self, journey: Journey[Ticket] | None) -> None:
        if journey:
            driver = max(journey.passengers, key=lambda each: each.ends)
            driver.journey = journey
            driver.called.release()

    def _arrived(self, journey: Journey[Ticket]) -> None:
        with self._lock:
            self._appoint(self._lane.arrive(journey, time.monotonic()))

    def _drive(self, journey: Journey[Ticket]) -> None:
        try:
            self._carry(journey.passengers)
        finally:
            for each in journey.passengers:
                if each.halt:
                    each.halt.end()
            self._arrived(journey)
            for each in journey.passengers:
                if each.journey is None:
                    each.called.release()

    def _carry(self, company: Sequence[Ticket]) -> None:
        if len(company) == 1:
            company[0].outcome = self._attempt(company[0])
            return
        items = [pack(self._method.path, each.request, each.remaining, each.metadata) for each in company]
        longest = max(each.ends for each in company)
        timeout = None if longest == math.inf else max(0.0, longest - time.monotonic())
        try:
            response = self._send(pb.CallRequest(items=items), timeout=timeout, metadata=self._identify())
        except (grpc.RpcError, ValueError) as failed:  # a closed channel is a ValueError
            self._lost(company, failed)
            return
        self._retries.went(len(company))
        for each, outcome in zip(company, response.outcomes, strict=True):
            each.outcome = error = error_in(outcome)
            if error is None:
                each.outcome = self._method.response.FromString(outcome.reply)
            else:
                each.again = outcome.alone or self._retries.of_refused(error)

    def _lost(self, company: Sequence[Ticket], failed: Exception) -> None:
        errors = [_astray(failed) for _ in company]
        again = self._retries.of_lost(failed.code() if isinstance(failed, grpc.Call) else None, errors)
        for each, error, once_more in zip(company, errors, again, strict=True):
            each.outcome, each.again = error, once_more

    def _attempt(self, ticket: Ticket) -> Any:
        try:
            return self._called(ticket)
        except MercatoError as error:
            return error


def _astray(failed: Exception) -> MercatoError:
    error = status.error_of_call(failed) if isinstance(failed, grpc.RpcError) else Unavailable(str(failed))
    error.__cause__ = failed
    return error


def _out_of_time() -> MercatoError:
    return status.heard(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())
