"""The wrapper around every servicer: nothing reaches a handler but what its contract allows.

It wraps the servicer *object*, not the server, so that tests drive exactly what production runs. One call goes
deadline → token → policy → validation → ownership → handler; whatever is raised becomes a status.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message

from mercato import log
from mercato.auth import Verifier
from mercato.errors import (
    Cancelled,
    DeadlineExceeded,
    IdempotencyKeyRequired,
    Internal,
    MercatoError,
    NotFound,
    Unauthenticated,
)
from mercato.failpoint import UseCase
from mercato.policy import FOR_USERS, decide
from mercato.rpc import status
from mercato.rpc.call import Call, Key, calling, consistency_token, read_consistency
from mercato.rpc.contract import Method, Servicer, Unservable, methods_of
from mercato.rpc.validation import validate
from mercato.telemetry import Counter, Gauge, Histogram

DEFAULT_DEADLINE = 5.0
LONGEST_DEADLINE = 30.0
LONGEST_STREAM = 600.0
_NEVER = 366 * 86_400.0  # gRPC's word for no deadline is one some centuries away
REPLAYED, CONSISTENCY, REQUEST_ID = "mercato-replayed", "mercato-consistency", "x-request-id"

CALLS = Counter("mercato_rpc_calls", "Calls answered.", ("rpc", "code"))
SECONDS = Histogram("mercato_rpc_seconds", "Time from a thread taking a call to its answer.", ("rpc",))


class Traffic:
    """The calls under way in this process; whoever stops it waits until there are none."""

    def __init__(self) -> None:
        self._idle = threading.Condition()
        self.under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a call for as long as the block lasts."""
        with self._idle:
            self.under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self.under_way -= 1
                if not self.under_way:
                    self._idle.notify_all()

    def ended(self, within: float) -> bool:
        """Wait for the last call, at most `within` seconds; False if some are still under way."""
        with self._idle:
            return self._idle.wait_for(lambda: not self.under_way, within)


TRAFFIC = Traffic()
Gauge("mercato_rpc_in_flight", "Calls under way.", read=lambda: TRAFFIC.under_way)


class Enforced:
    """A servicer behind its contract: an attribute for each rpc."""

    def __init__(self, servicer: Servicer, verifier: Verifier, traffic: Traffic = TRAFFIC) -> None:
        self.contract = servicer.contract
        self.doors = tuple(
            Door(each, _handler(servicer, each), verifier, traffic) for each in methods_of(self.contract)
        )
        for door in self.doors:
            setattr(self, door.method.name, door)


def enforce(servicer: Servicer, verifier: Verifier) -> Enforced:
    """The servicer, reachable only by what its contract allows. Unservable if it lacks an rpc."""
    return Enforced(servicer, verifier)


def _handler(servicer: Servicer, method: Method) -> Callable[[Any, Any], Any]:
    handler: Callable[[Any, Any], Any] | None = getattr(servicer, method.name, None)
    if handler is None:
        raise Unservable(f"{type(servicer).__name__} has no {method.name}")
    return handler


class Door:
    """The way to one handler."""

    def __init__(
        self, method: Method, handler: Callable[[Any, Any], Any], verifier: Verifier, traffic: Traffic
    ) -> None:
        self.method = method
        self._use_case = method.use_case
        self._handler = handler
        self._verifier = verifier
        self._traffic = traffic
        self._log = log.get(__name__).bind()  # once: binding costs as much as half the line

    def __call__(self, request: Any, context: Any) -> Any:
        """Answer a call, or abort it."""
        started = time.perf_counter()
        metadata = dict(context.invocation_metadata())
        call = Call(rpc=self.method.label, request_id=log.request_id(metadata.get(REQUEST_ID)))
        with self._traffic.one(), calling(call), UseCase(self._use_case), log.bound(**_travelled(metadata, call)):
            try:
                self._admit(call, metadata, context)
                reply, error = self._answer(call, request, context), None
            except MercatoError as raised:
                reply, error = None, self._told(raised, call)
            except Exception as defect:  # noqa: BLE001  the boundary: whatever it is, the caller gets a status
                reply, error = None, self._told(_named(defect, context), call)
            self._account(call, error, time.perf_counter() - started)
            context.set_trailing_metadata(_trailers(call, error))
            if error:
                context.abort(status.code_of(error), status.text_of(error))
        return reply

    def _admit(self, call: Call, metadata: Mapping[str, Any], context: Any) -> None:
        longest = LONGEST_STREAM if self.method.streams_in else LONGEST_DEADLINE
        call.ends = time.monotonic() + _time_for(context.time_remaining(), longest)
        if wanted := metadata.get("x-consistency"):
            call.consistency = read_consistency(wanted)
        verified = self._verifier.verify(_bearer(metadata))
        call.principal, call.service = verified.principal, verified.service
        call.only_of = decide(self.method.policy, call.principal, call.service)
        call.private = not self.method.policy.anyone

    def _answer(self, call: Call, request: Any, context: Any) -> Any:
        if self.method.streams_in:
            return self._handler(_valid(request), context)
        validate(request)
        _own(self.method, call, request)
        call.key = _key(self.method, call, request)
        return self._handler(request, context)

    def _told(self, error: MercatoError, call: Call) -> MercatoError:
        if not isinstance(error, Internal):
            return error
        # What broke is for us alone: the caller gets the request id, by which the log has the rest.
        self._log.error("rpc.defect", rpc=call.rpc, exc_info=error.__cause__ or error)
        return Internal("internal error", request_id=call.request_id)

    def _account(self, call: Call, error: MercatoError | None, seconds: float) -> None:
        code = status.code_of(error).name if error else "OK"
        CALLS.add(call.rpc, code)
        SECONDS.observe(seconds, call.rpc)
        why = {"reason": error.reason, "why": error.message} if error else {}
        self._log.info(
            "rpc",
            rpc=call.rpc,
            code=code,
            **why,
            ms=round(seconds * 1000, 2),
            caller=call.service,
            subject=call.principal.subject,
        )


def _travelled(metadata: Mapping[str, Any], call: Call) -> dict[str, str]:
    order_id = metadata.get("x-order-id", "")
    return {
        "request_id": call.request_id,
        "order_id": log.request_id(order_id) if order_id else "",
        "traceparent": log.traceparent(metadata.get("traceparent")),
    }


def _time_for(remaining: float | None, longest: float) -> float:
    if remaining is None or remaining > _NEVER:
        return DEFAULT_DEADLINE if longest == LONGEST_DEADLINE else longest
    if remaining <= 0:
        raise DeadlineExceeded("the deadline had passed before the call began")
    return min(remaining, longest)


def _bearer(metadata: Mapping[str, Any]) -> str:
    kind, _, token = str(metadata.get("authorization", "")).partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated("a call needs a token that says who calls, for whom")
    return token


def _valid(requests: Iterator[Message]) -> Iterator[Message]:
    for request in requests:
        validate(request)
        yield request


def _own(method: Method, call: Call, request: Message) -> None:
    """Let `me` in the request's owner field mean the caller, and another's id be nobody's."""
    for field in method.policy.own_fields:
        holder, name = _holder(request, field)
        if holder is None:
            continue
        given = getattr(holder, name)
        if given == "me" or (not given and call.only_of):
            setattr(holder, name, call.principal.subject)
        elif call.only_of and given != call.only_of:
            raise NotFound


def _holder(request: Message, field: str) -> tuple[Message | None, str]:
    *path, name = field.split(".")
    holder: Message = request
    for step in path:
        if step not in holder.DESCRIPTOR.fields_by_name:
            return None, name
        holder = getattr(holder, step)
    return (holder, name) if name in holder.DESCRIPTOR.fields_by_name else (None, name)


def _key(method: Method, call: Call, request: Any) -> Key | None:
    if not method.takes_request_id:
        return None
    if not request.request_id:
        if method.policy.key_required and call.service in FOR_USERS:
            raise IdempotencyKeyRequired
        return None
    # Only the gateway brings people without a name, who cannot be told apart; whoever else calls is known by itself.
    sender = call.principal.subject or (f"@{call.service}" if call.service != "gateway" else "")
    return Key(sender, method.label, request.request_id, _fingerprint(request)) if sender else None


def _fingerprint(request: Any) -> bytes:
    rest = type(request)()
    rest.CopyFrom(request)
    rest.request_id = ""
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()


def _named(defect: Exception, context: Any) -> MercatoError:
    if isinstance(defect, grpc.RpcError) and not context.is_active():
        return Cancelled()  # a stream whose sender went away
    error = Internal()
    error.__cause__ = defect
    return error


def _trailers(call: Call, error: MercatoError | None) -> tuple[tuple[str, Any], ...]:
    trailers: list[tuple[str, Any]] = [(REQUEST_ID, call.request_id)]
    if call.replayed:
        trailers.append((REPLAYED, "true"))
    if call.written:
        trailers.append((CONSISTENCY, consistency_token(call.written)))
    if error:
        trailers.extend(status.trailers_of(error))
    return tuple(trailers)
