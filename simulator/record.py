"""What the provider keeps: payment intents, charges and refunds, each a frozen snapshot."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment: authorized, then captured or cancelled."""

    id: str
    created: int
    amount: int
    currency: str
    capture_method: str
    payment_method: str
    status: str
    charge: str
    metadata: dict[str, str] = field(default_factory=dict)
    description: str | None = None
    received: int = 0
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    object: str = "payment_intent"

    @property
    def capturable(self) -> int:
        """What may still be captured."""
        return self.amount if self.status == "requires_capture" else 0


@dataclass(frozen=True, slots=True)
class Charge:
    """One try at a card, and how much of it was taken and given back."""

    id: str
    created: int
    amount: int
    currency: str
    intent: str
    payment_method: str
    metadata: dict[str, str] = field(default_factory=dict)
    decline_code: str | None = None
    failure: str | None = None
    captured: int = 0
    refunded: int = 0
    voided: bool = False
    object: str = "charge"


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back."""

    id: str
    created: int
    amount: int
    currency: str
    intent: str
    charge: str
    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    object: str = "refund"


Record: TypeAlias = Intent | Charge | Refund

_KINDS: dict[str, type[Record]] = {"payment_intent": Intent, "charge": Charge, "refund": Refund}


def restore(fields: Json) -> Record:
    """A record as it was written to the log."""
    return _KINDS[fields["object"]](**fields)


def new_id(prefix: str) -> str:
    """An id in the provider's style."""
    return f"{prefix}_3{secrets.token_hex(12)}"
