"""Events: what the provider tells by webhook, in Stripe's words and with Stripe's signature."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from simulator.card import CARDS
from simulator.record import Charge, Intent, Json, Record, Refund
from simulator.rendering import render

_OF_STATUS = {
    "requires_capture": "payment_intent.amount_capturable_updated",
    "requires_payment_method": "payment_intent.payment_failed",
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Its id follows from it: told again after a restart, it is the same event."""

    id: str
    body: bytes
    late: bool

    def signature(self, secret: str, now: int) -> str:
        """The header `Stripe-Signature` of a try at this second: HMAC-SHA256 over the second and the raw body."""
        mac = hmac.new(secret.encode(), f"{now}.".encode() + self.body, hashlib.sha256)
        return f"t={now},v1={mac.hexdigest()}"


def events_of(line: Json, changes: Sequence[Record]) -> Iterator[Event]:
    """What is told of one line of the log."""
    match changes:
        case [Intent() as intent, Charge() as charge]:
            yield _event(line, _OF_STATUS[intent.status], intent, charge)
        case [Refund(), Charge() as charge]:
            yield _event(line, "charge.refunded", charge, charge)


def _event(line: Json, kind: str, about: Intent | Charge, charge: Charge) -> Event:
    # What of a record can change more than once is part of its event's id.
    name = hashlib.sha256(f"{kind} {about.id} {charge.refunded}".encode()).hexdigest()[:24]
    body = {
        "id": f"evt_{name}",
        "object": "event",
        "api_version": "2025-01-27.acacia",
        "created": int(line["time"]),
        "data": {"object": render(about)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": line["key"] or None},
        "type": kind,
    }
    card = CARDS.get(charge.payment_method)
    return Event(f"evt_{name}", orjson.dumps(body), late=card is not None and card.tells_late)
