"""The wrapper around every servicer: nothing reaches a handler but what its contract allows.

It wraps the servicer *object*, not the server, so that tests drive exactly what production runs. One call goes
deadline → token → policy → validation → ownership → handler; whatever is raised becomes a status. Calls that came
together go the same way, each in a context of its own, and may meet in the handler's set form.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

import grpc

from mercato import log
from mercato.auth import Verifier
from mercato.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MercatoError,
    NulInText,
    Unavailable,
    category,
    revive,
)
from mercato.failpoint import UseCase
from mercato.policy import decide
from mercato.rpc import status
from mercato.rpc.admission import Consent, all_valid, bearer, end_of, key_of, own, travelled
from mercato.rpc.call import Call, begin, calling, consistency_token, read_consistency
from mercato.rpc.contract import Method, Servicer, Unservable, methods_of
from mercato.rpc.set_form import Item, SetForm
from mercato.rpc.validation import texts_with_nul, validate
from mercato.telemetry import Counter, Gauge, Histogram

REPLAYED, CONSISTENCY, REQUEST_ID = "mercato-replayed", "mercato-consistency", "x-request-id"

CALLS = Counter("mercato_rpc_calls", "Calls answered.", ("rpc", "code"))
SECONDS = Histogram("mercato_rpc_seconds", "Time from a thread taking a call to its answer.", ("rpc",))


class Traffic:
    """The calls under way in this process; whoever stops it waits until there are none."""

    def __init__(self) -> None:
        self._idle = threading.Condition()
        self.under_way = 0

    @contextmanager
    def of(self, calls: int) -> Iterator[None]:
        """Count calls for as long as the block lasts."""
        with self._idle:
            self.under_way += calls
        try:
            yield
        finally:
            with self._idle:
                self.under_way -= calls
                if not self.under_way:
                    self._idle.notify_all()

    def ended(self, within: float) -> bool:
        """Wait for the last call, at most `within` seconds; False if some are still under way."""
        with self._idle:
            return self._idle.wait_for(lambda: not self.under_way, within)


TRAFFIC = Traffic()
Gauge("mercato_rpc_in_flight", "Calls under way.", read=lambda: TRAFFIC.under_way)


@dataclass(slots=True)
class Arrival:
    """A call as it comes in. Its caller waits until `ends`, by the monotonic clock; None if that was not said."""

    request: Any
    metadata: Mapping[str, Any]
    ends: float | None


@dataclass(slots=True)
class Visit:
    """A call behind the door, and what came of it."""

    call: Call
    request: Any
    context: Context
    began: float
    reply: Any = None
    error: MercatoError | None = None

    def settle(self, outcome: Any) -> None:
        """Note what came of it: a reply, or what was raised."""
        if isinstance(outcome, MercatoError):
            self.error = outcome
            if isinstance(outcome, NulInText) and (named := texts_with_nul(self.request)):
                self.error = InvalidArgument.about(named)
        elif isinstance(outcome, Exception):
            self.error = Internal()
            self.error.__cause__ = outcome
        else:
            self.reply = outcome

    @property
    def trailers(self) -> tuple[tuple[str, Any], ...]:
        """What travels back beside the reply or the status."""
        call = self.call
        trailers: list[tuple[str, Any]] = [(REQUEST_ID, call.request_id)]
        if call.replayed:
            trailers.append((REPLAYED, "true"))
        if call.written:
            trailers.append((CONSISTENCY, consistency_token(call.written)))
        if self.error:
            trailers.extend(status.trailers_of(self.error))
        return tuple(trailers)


class Enforced:
    """A servicer behind its contract: an attribute for each rpc."""

    def __init__(self, servicer: Servicer, verifier: Verifier, traffic: Traffic = TRAFFIC) -> None:
        self.contract = servicer.contract
        self.verifier = verifier
        sets = dict(getattr(servicer, "together", {}))
        consent = Consent(verifier.trust, getattr(servicer, "exempt", None))
        self.doors = tuple(
            Door(each, _handler(servicer, each), verifier, traffic, consent, _set_form(sets, each))
            for each in methods_of(self.contract)
        )
        if sets:
            raise Unservable(f"{type(servicer).__name__} has set forms of rpcs that do not travel together: {sets}")
        for door in self.doors:
            setattr(self, door.method.name, door)


def enforce(servicer: Servicer, verifier: Verifier) -> Enforced:
    """The servicer, reachable only by what its contract allows. Unservable if it lacks an rpc."""
    return Enforced(servicer, verifier)


def _handler(servicer: Servicer, method: Method) -> Callable[[Any, Any], Any]:
    handler: Callable[[Any, Any], Any] | None = getattr(servicer, method.name, None)
    if handler is None:
        raise Unservable(f"{type(servicer).__name__} has no {method.name}")
    if method.streams_out:
        raise Unservable(f"{method.path} streams replies: it would hold a thread for as long as it lives")
    return handler


def _set_form(sets: dict[str, SetForm], method: Method) -> SetForm | None:
    return sets.pop(method.name, None) if method.policy.together else None


class Door:
    """The way to one handler."""

    def __init__(
        self,
        method: Method,
        handler: Callable[[Any, Any], Any],
        verifier: Verifier,
        traffic: Traffic,
        consent: Consent,
        set_form: SetForm | None = None,
    ) -> None:
        self.method = method
        self.set_form = set_form
        self._use_case = method.use_case
        self._handler = handler
        self._verifier = verifier
        self._traffic = traffic
        self._consent = consent
        self._log = log.get(__name__).bind()  # once: binding costs as much as half the line

    def __call__(self, request: Any, context: Any) -> Any:
        """Answer a call, or abort it."""
        remaining = context.time_remaining()
        ends = None if remaining is None else time.monotonic() + remaining
        visit = self.answer(Arrival(request, dict(context.invocation_metadata()), ends), context)
        context.set_trailing_metadata(visit.trailers)
        if visit.error:
            context.abort(status.code_of(visit.error), status.text_of(visit.error))
        return visit.reply

    def answer(self, arrival: Arrival, context: Any = None) -> Visit:
        """What comes of one call. Without a context, it came together with others."""
        with self._traffic.of(1):
            visit = _visit(self.method, arrival)
            log.write_lines("rpc", [visit.context.run(self._all, visit, arrival, context)])
            return visit

    def _all(self, visit: Visit, arrival: Arrival, context: Any) -> dict[str, Any]:
        self._enter(visit, arrival)
        if not visit.error:
            self._handle(visit, context)
        return self._account(visit)

    def answer_all(self, arrivals: Sequence[Arrival]) -> list[Visit]:
        """What comes of calls that came together, by the set form."""
        with self._traffic.of(len(arrivals)):
            visits = [_visit(self.method, each) for each in arrivals]
            for visit, arrival in zip(visits, arrivals, strict=True):
                visit.context.run(self._enter, visit, arrival)
            self._handle_all([visit for visit in visits if not visit.error])
            log.write_lines("rpc", [visit.context.run(self._account, visit) for visit in visits])
            return visits

    def _enter(self, visit: Visit, arrival: Arrival) -> None:
        """Let a call in, in its own context, which it fills."""
        call = visit.call
        begin(call)
        UseCase(self._use_case).__enter__()
        log.bind(**travelled(arrival.metadata, call))
        try:
            self._admit(call, arrival)
            if not self.method.streams_in:
                validate(visit.request)
                own(self.method, call, visit.request)
                self._consent.demand(self.method, call, visit.request, arrival.metadata)
                call.key = key_of(self.method, call, visit.request)
        except Exception as refusal:  # noqa: BLE001  the boundary: whatever it is, the caller gets a status
            visit.settle(refusal)

    def _admit(self, call: Call, arrival: Arrival) -> None:
        call.ends = end_of(self.method, arrival.ends)
        if wanted := arrival.metadata.get("x-consistency"):
            call.consistency = read_consistency(wanted)
        verified = self._verifier.verify(bearer(arrival.metadata))
        call.principal, call.service = verified.principal, verified.service
        call.only_of = decide(self.method.policy, call.principal, call.service)
        call.private = not self.method.policy.anyone

    def _handle(self, visit: Visit, context: Any) -> None:
        request = all_valid(visit.request) if self.method.streams_in else visit.request
        try:
            visit.settle(self._handler(request, context))
        except grpc.RpcError as broken:
            # A stream whose sender went away.
            visit.settle(broken if context is None or context.is_active() else Cancelled())
        except Exception as raised:  # noqa: BLE001  the boundary
            visit.settle(raised)

    def _handle_all(self, visits: Sequence[Visit]) -> None:
        outcomes = self._as_set([Item(each.request, each.call, each.context) for each in visits])
        for number, visit in enumerate(visits):
            if outcomes is None:
                visit.context.run(self._handle, visit, None)
            else:
                visit.settle(outcomes[number])

    def _as_set(self, items: Sequence[Item]) -> Sequence[Any] | None:
        """What became of each; None if nothing was done, and each is to be done alone."""
        if len(items) < 2 or self.set_form is None:
            return None
        # Nobody's call is cut short by another's hurry.
        call = Call(self.method.label, ends=max(each.call.ends or 0.0 for each in items))
        try:
            with calling(call), UseCase(self._use_case):
                return self.set_form(items)
        except (Unavailable, DeadlineExceeded) as silence:
            return [_told_again(silence) for _ in items]
        except Exception as problem:  # noqa: BLE001  whose it is shows when each is done alone
            self._log.warning("rpc.parted", rpc=self.method.label, calls=len(items), problem=str(problem))
            return None

    def _account(self, visit: Visit) -> dict[str, Any]:
        """Count a call; the line about it, which is written past structlog: that takes a third of a call's CPU."""
        call, seconds = visit.call, time.perf_counter() - visit.began
        if isinstance(visit.error, Internal):
            # What broke is for us alone: the caller gets the request id, by which the log has the rest.
            self._log.error("rpc.defect", rpc=call.rpc, exc_info=visit.error.__cause__ or visit.error)
            visit.error = Internal("internal error", request_id=call.request_id)
        error = visit.error
        code = status.code_of(error).name if error else "OK"
        CALLS.add(call.rpc, code)
        SECONDS.observe(seconds, call.rpc)
        why = {"reason": error.reason, "why": error.message} if error else {}
        told = {"rpc": call.rpc, "code": code, **why, "ms": round(seconds * 1000, 2), "caller": call.service}
        return {"time": time.time(), **log.context(), **told, "subject": call.principal.subject}


def _told_again(error: MercatoError) -> MercatoError:
    again = revive(category(error), error.reason, error.message, error.metadata)
    again.retry_after = error.retry_after
    return again


def _visit(method: Method, arrival: Arrival) -> Visit:
    call = Call(rpc=method.label, request_id=log.request_id(arrival.metadata.get(REQUEST_ID)))
    return Visit(call, arrival.request, copy_context(), time.perf_counter())
