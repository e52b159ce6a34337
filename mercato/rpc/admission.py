"""What a call has to bring to be let in: time, a token, a valid request for what is the caller's to see, a grant."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from mercato import log
from mercato.errors import DeadlineExceeded, IdempotencyKeyRequired, NotFound, Unauthenticated
from mercato.grants import Grants, check
from mercato.keys import TrustFolder
from mercato.policy import FOR_USERS
from mercato.rpc.call import GRANT, Call, Key
from mercato.rpc.contract import Method
from mercato.rpc.validation import validate

DEFAULT_DEADLINE = 5.0
LONGEST_DEADLINE = 30.0
LONGEST_STREAM = 600.0
_NEVER = 366 * 86_400.0  # gRPC's word for no deadline is one some centuries away


def travelled(metadata: Mapping[str, Any], call: Call) -> dict[str, str]:
    """What the work is about, as it came along."""
    about = {"request_id": call.request_id, "traceparent": log.traceparent(metadata.get("traceparent"))}
    if order_id := metadata.get("x-order-id"):
        about["order_id"] = log.request_id(order_id)
    return about


def end_of(method: Method, ends: float | None) -> float:
    """When a call ends, by the monotonic clock, whatever its caller said. DeadlineExceeded if that is past."""
    now, longest = time.monotonic(), LONGEST_STREAM if method.streams_in else LONGEST_DEADLINE
    if ends is None or ends - now > _NEVER:
        return now + (longest if method.streams_in else DEFAULT_DEADLINE)
    if ends <= now:
        raise DeadlineExceeded("the deadline had passed before the call began")
    return min(ends, now + longest)


def bearer(metadata: Mapping[str, Any]) -> str:
    """The token of a call. Unauthenticated if there is none."""
    kind, _, token = str(metadata.get("authorization", "")).partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated("a call needs a token that says who calls, for whom")
    return token


def all_valid(requests: Iterator[Message]) -> Iterator[Message]:
    """The requests of a stream, as long as they keep the rules."""
    for request in requests:
        validate(request)
        yield request


def own(method: Method, call: Call, request: Message) -> None:
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


def key_of(method: Method, call: Call, request: Any) -> Key | None:
    """What a repeat of the request is known by; None if it has no name. IdempotencyKeyRequired."""
    if not method.takes_request_id:
        return None
    if not request.request_id:
        if method.policy.key_required and call.service in FOR_USERS:
            raise IdempotencyKeyRequired
        return None
    return call.named(request.request_id, _fingerprint(request))


def _fingerprint(request: Any) -> bytes:
    rest = type(request)()
    rest.CopyFrom(request)
    rest.request_id = ""
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()


class Consent:
    """That services do for themselves what its customer agreed to, where a policy wants to see that."""

    def __init__(self, trust: TrustFolder, exempt: Callable[[Any], bool] | None = None) -> None:
        """`exempt` tells of a request whether it is about something from before there were grants."""
        self._grants = Grants(trust)
        self._exempt = exempt

    def demand(self, method: Method, call: Call, request: Message, metadata: Mapping[str, Any]) -> None:
        """PermissionDenied, by the reason that `mercato.grants` has for it, unless the call shows what fits it."""
        granted = method.policy.granted
        if granted is None or call.service not in method.policy.callers:
            return
        shown = str(metadata.get(GRANT, ""))
        if not shown and self._exempt and self._exempt(request):
            return
        check(granted, self._grants.of(call.service, shown), method.use_case, call.principal.subject, request)
