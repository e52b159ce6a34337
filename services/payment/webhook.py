"""What the provider tells by webhook, in Stripe's form: the signature that it must carry, and what it says.

The signature (docs.stripe.com/webhooks#verify-manually) is over the second of the sending and the raw body. One that is
old is refused: whoever recorded it could send it for ever.
"""

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from mercato.errors import InvalidArgument, Unauthenticated
from services.payment.domain import Payment, State

TOLERANCE = timedelta(minutes=5)
_MOST_SIGNATURES = 8  # one for each secret that is in use while they are changed; Stripe sends two at most

# How far a payment has come by these states, at the provider and with us.
_REACHED = {"requires_payment_method": 0, "requires_capture": 1, "canceled": 2, "succeeded": 2}
_KNOWN = {State.PENDING: -1, State.DECLINED: 0, State.AUTHORIZED: 1, State.VOIDED: 2, State.CAPTURED: 2}


class BadSignature(Unauthenticated):
    """The webhook is not signed by the provider, or was a while ago."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook says of one payment, in minor units: where it stood, and how much was given back of it then."""

    payment_id: UUID
    reference: str
    status: str
    refunded: int

    def news(self, payment: Payment) -> bool:
        """Whether this is further than what we know. What is older, or the same, is none."""
        if self.reference != (payment.reference or self.reference):
            return True
        if payment.state is State.VOIDED and not payment.authorized:
            # Given up before it was ever held, as far as we know.
            return self.status in ("requires_capture", "succeeded")
        if self.status == "canceled" and payment.state in (State.DECLINED, State.VOIDED):
            return False
        return self._further(payment) or self.refunded > payment.refunded.amount + payment.refunding.amount

    def _further(self, payment: Payment) -> bool:
        known = _KNOWN.get(payment.state, 2)
        if known == 2 and _REACHED[self.status] == 2:
            # Both came to an end: to the same one?
            return (self.status == "succeeded") is (payment.state is State.VOIDED)
        return _REACHED[self.status] > known


def sign(secret: str, body: bytes, now: datetime) -> str:
    """The header by which the provider proves that a body is its own."""
    second = int(now.timestamp())
    return f"t={second},v1={_mac(secret, str(second), body)}"


def verify(secret: str, body: bytes, signature: str, now: datetime) -> None:
    """That the provider signed this body of late. BadSignature."""
    parts = [part.strip().partition("=")[::2] for part in signature.split(",")]
    second = next((value for name, value in parts if name == "t"), "")
    given = [value for name, value in parts if name == "v1"][:_MOST_SIGNATURES]
    if not second.isascii() or not second.isdigit() or len(second) > 12:
        raise BadSignature
    wanted = _mac(secret, second, body)
    # Compared in a time that does not tell how much of it was right.
    if not any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given):
        raise BadSignature
    if abs(now.timestamp() - int(second)) > TOLERANCE.total_seconds():
        raise BadSignature("the signature is too old, or the clocks differ")


def _mac(secret: str, second: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{second}.".encode() + body, sha256).hexdigest()


def read(body: bytes) -> Notice | None:
    """What a webhook that is the provider's says; None if it means nothing here. InvalidArgument if it is no event."""
    try:
        event = json.loads(body)
        kind, about = event["type"], event["data"]["object"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidArgument.of("body", "is not an event of the provider") from None
    return next(_notices(kind, about), None)


def _notices(kind: Any, about: Any) -> Iterator[Notice]:
    if not isinstance(kind, str) or not isinstance(about, dict):
        return
    payment_id = _id_of(about)
    if payment_id is None:
        return
    match kind.partition(".")[0], about:
        case "payment_intent", {"id": str(reference), "status": str(status)} if status in _REACHED:
            yield Notice(payment_id, reference, status, 0)
        case "charge", {"payment_intent": str(reference), "amount_refunded": int(refunded), "captured": True}:
            yield Notice(payment_id, reference, "succeeded", refunded)


def _id_of(about: dict[str, Any]) -> UUID | None:
    """The payment that we labelled it with, if it was us."""
    labels = about.get("metadata")
    try:
        return UUID(labels["payment_id"]) if isinstance(labels, dict) else None
    except (KeyError, ValueError, AttributeError):
        return None
