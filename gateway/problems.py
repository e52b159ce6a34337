"""Problem details (RFC 9457): how every refusal looks to a client."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response

from gateway.advice import ADVICE
from gateway.reasons import EDGE, EVERYWHERE, status_of, title_of
from gateway.writer import dumps
from mercato import errors
from mercato.errors import FieldViolation, MercatoError
from mercato.rpc.status import code_of, error_of_call

_OURS = frozenset({"type", "title", "status", "detail", "instance", "reason", "requestId", "errors", "retryAfter"})
# Refusals of the chassis of which the message says why, and not what then.
_ADVISED = frozenset({"UNAUTHENTICATED"})
_CHALLENGE = 'Bearer realm="mercato"'


@dataclass(eq=False)
class Problem(Exception):
    """A refusal on its way to the client."""

    status: int
    reason: str
    detail: str = ""
    errors: tuple[FieldViolation, ...] = ()
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None

    @classmethod
    def edge(cls, reason: str, detail: str = "", headers: Mapping[str, str] | None = None) -> "Problem":
        """A refusal of the edge itself."""
        status, advice = EDGE.get(reason) or EVERYWHERE[reason]
        return cls(status, reason, detail or advice, headers=headers or {})

    @classmethod
    def invalid(cls, *violations: FieldViolation) -> "Problem":
        """The refusal of fields or parameters."""
        return cls(400, "VALIDATION_FAILED", _listed(violations), violations)

    @classmethod
    def of(cls, error: MercatoError) -> "Problem":
        """What a refusal of the mesh is to a client."""
        reason = error.reason or errors.category(error).reason
        status = status_of(code_of(error), reason)
        if status == 500:
            return cls(status, errors.Internal.reason)
        detail = _with_advice(error.message, reason)
        return cls(status, reason, detail, error.fields, error.metadata, retry_after=error.retry_after)

    @classmethod
    def of_call(cls, failed: Any) -> "Problem":
        """What a failed call is to a client."""
        error = error_of_call(failed)
        if isinstance(error, errors.Cancelled):
            # Nobody here cancels a call that is still wanted, but a server that shuts down does.
            error = errors.Unavailable()
        return cls.of(error)

    def named(self, public: Mapping[str, str]) -> "Problem":
        """The same problem with its fields as the client knows them: it has never seen the request's message."""
        if not self.errors:
            return self
        violations = tuple(_renamed(each, public) for each in self.errors)
        return replace(self, errors=violations, detail=_listed(violations))

    def response(self, instance: str, request_id: str) -> Response:
        """The answer to the client."""
        body = dumps(self.body(instance, request_id))
        return Response(body, self.status, self._headers(), "application/problem+json")

    def body(self, instance: str, request_id: str) -> dict[str, Any]:
        """What the client reads."""
        return {
            "type": f"/docs/problems/{kebab(self.reason)}",
            "title": title_of(self.reason),
            "status": self.status,
            **({"detail": self.detail} if self.detail and self.status < 500 else {}),
            "instance": instance,
            "reason": self.reason,
            "requestId": request_id,
            **({"errors": [_as_json(each) for each in self.errors]} if self.errors else {}),
            **{lower_camel(name): _json(value) for name, value in self.members.items() if name not in _OURS},
            **({"retryAfter": self.retry_after} if self.retry_after is not None else {}),
        }

    def _headers(self) -> dict[str, str]:
        headers = {"Cache-Control": "no-store", **self.headers}
        if self.status == 401:
            headers["WWW-Authenticate"] = _CHALLENGE
        if self.status in (429, 503) or self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after or 0)))
        return headers


def _with_advice(message: str, reason: str) -> str:
    """Why, as the service says it, and what to do next."""
    advice = EVERYWHERE[reason][1] if reason in _ADVISED else ADVICE.get(reason, "")
    if not advice or not message:
        return message or advice
    return f"{message[:1].upper()}{message[1:].rstrip('.')}. {advice}"


def kebab(reason: str) -> str:
    """A reason as it stands in addresses: `out-of-stock`."""
    return reason.lower().replace("_", "-")


def lower_camel(name: str) -> str:
    """`unit_price` as JSON writes it."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def _json(value: object) -> object:
    """A member's value with the keys of its objects as JSON writes them."""
    match value:
        case dict():
            return {lower_camel(str(key)): _json(each) for key, each in value.items()}
        case list() | tuple():
            return [_json(each) for each in value]
        case str() | int() | float() | bool() | None:
            return value
    return str(value)


def _listed(violations: tuple[FieldViolation, ...]) -> str:
    return "; ".join(f"{each.field or 'the request'}: {each.message}" for each in violations)


def _renamed(violation: FieldViolation, public: Mapping[str, str]) -> FieldViolation:
    name = ".".join(lower_camel(part) for part in violation.field.split("."))
    for inside, shown in public.items():
        if name == inside or name.startswith((f"{inside}.", f"{inside}[")):
            name = shown + name.removeprefix(inside)
            break
    return replace(violation, field=name.lstrip("."))


def _as_json(violation: FieldViolation) -> dict[str, str]:
    return {"field": violation.field, "reason": violation.reason, "message": violation.message}
