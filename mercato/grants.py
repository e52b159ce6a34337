"""What a customer agreed to, signed when their order was accepted: shown by calls that take money when they have gone.

A grant is a JWS (EdDSA, `typ: grant+jwt`) that names the customer, the order, its one payment and means of payment, the
most that may be taken by it, and the rpcs that it is for. An rpc whose policy says `granted` lets a service in that
calls for itself only with a grant that fits the request (`check`). As a payment is authorized once, and never captured
above that, all that a grant opens is bounded by its cap without anybody having to sum up. What gives money or goods
back needs no grant, so that none that has expired is ever in its way.

Grants of the order service are signed by a key of their own (`keys/private/order-grant.pem`), never by the one that
signs its calls. What that bounds depends on who can read it:

* A process that only works on accepted orders (MERCATO_ROLES without `serve`) is not given the key. Whoever takes it
  over can make calls as the order service, but takes no more than each customer agreed to, by the means that they
  named, for orders that were accepted.
* A process that serves signs for whomever it is asked by: taken over, it can sign anything. That is so where all roles
  run in one process, as they do by default.
* The payment service trusts nothing that the order service says of an order beyond its grant.

    grant = Granter.load(folder, "order").sign(Grant(…))     # while the customer is there
    with on_behalf_of(customer_id, grant=grant): …           # later, by whoever does the work
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from google.protobuf.message import Message

from mercato.auth import LEEWAY
from mercato.errors import PermissionDenied, Unauthenticated
from mercato.keys import PublicKey, Remembered, SigningKey, TrustFolder, key_of
from mercato.money import Money
from mercato.policy import Granted
from mercato.wire import money_from_pb

LIFE = 30 * 86_400
"""Seconds. A provider holds an authorization for days; after that somebody has to agree anew anyway."""
SUFFIX = "-grant"
_TYPE = "grant+jwt"
_REMEMBERED = 1_000
_REQUIRED = ["iss", "sub", "ord", "pay", "mth", "cap", "steps", "iat", "exp"]


class GrantRequired(PermissionDenied):
    """Nobody takes this without the customer's grant."""

    reason = "GRANT_REQUIRED"


class GrantInvalid(PermissionDenied):
    """The grant is none, or is not signed by whoever may sign it."""

    reason = "GRANT_INVALID"


class GrantExpired(PermissionDenied):
    """What the customer agreed to is too long ago."""

    reason = "GRANT_EXPIRED"


class GrantMismatch(PermissionDenied):
    """The grant is for something else."""

    reason = "GRANT_MISMATCH"

    def __init__(self, what: str) -> None:
        super().__init__(f"the grant is for another {what.replace('_', ' ')}", field=what)


class GrantExceeded(PermissionDenied):
    """More is asked for than the customer agreed to."""

    reason = "GRANT_EXCEEDED"

    def __init__(self, amount: Money, cap: Money) -> None:
        super().__init__(f"{amount} is more than the {cap} agreed to", amount=str(amount), cap=str(cap))


@dataclass(frozen=True, slots=True)
class Grant:
    """What a customer agreed to."""

    customer_id: str
    order_id: str
    payment_id: str
    method: str
    """The digest of the means of payment, which need not be told to whoever reads the grant."""
    cap: Money
    steps: frozenset[str]

    @property
    def names(self) -> Mapping[str, str]:
        """What it names, by the fields of requests that name the same."""
        return {
            "customer_id": self.customer_id,
            "order_id": self.order_id,
            "payment_id": self.payment_id,
            "payment_method": self.method,
        }

    @property
    def claims(self) -> dict[str, Any]:
        """As it is signed."""
        return {
            "sub": self.customer_id,
            "ord": self.order_id,
            "pay": self.payment_id,
            "mth": self.method,
            "cap": {"amount": self.cap.amount, "currency": self.cap.currency},
            "steps": sorted(self.steps),
        }


def digest(payment_method: str) -> str:
    """What a grant names means of payment by."""
    return hashlib.sha256(payment_method.encode()).hexdigest()[:32]


Sign = Callable[[Grant], str]


class Granter:
    """Signs grants for one service."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @classmethod
    def load(cls, folder: Path, service: str, *, development: bool = True) -> "Granter":
        """The granter whose key lies in the folder. UnfitKey if there is none, or it may not be used."""
        return cls(SigningKey.load(folder, service + SUFFIX, development=development))

    def sign(self, grant: Grant) -> str:
        """The grant under a signature."""
        now = int(time.time())
        return self._key.sign(_TYPE, {"iss": self._key.service, **grant.claims, "iat": now, "exp": now + LIFE})


@dataclass(frozen=True, slots=True)
class Shown:
    """A grant as it was read: whose signature it bears, and until when that and the grant hold."""

    grant: Grant
    service: str
    expires: float
    known_until: float


class Grants:
    """Reads grants. Verified ones are remembered by their bytes."""

    def __init__(self, trust: TrustFolder) -> None:
        self._shown = Remembered(trust, _verified, _REMEMBERED)

    def of(self, service: str, text: str) -> Grant:
        """The grant that a service shows. GrantRequired, GrantInvalid, GrantExpired."""
        if not text:
            raise GrantRequired
        now, shown = time.time(), self._shown.of(text)
        if shown.service != service + SUFFIX or shown.known_until < now:
            raise GrantInvalid
        if shown.expires < now:
            raise GrantExpired
        return shown.grant


def _verified(text: str, keys: Mapping[str, PublicKey]) -> Shown:
    try:
        key = key_of(text, _TYPE, keys)
        # That it has ended is another refusal than that it does not hold.
        options: Any = {"require": _REQUIRED, "verify_exp": False}
        claims = jwt.decode(text, key.key, ["EdDSA"], options, issuer=key.service, leeway=LEEWAY)
        cap = Money(int(claims["cap"]["amount"]), str(claims["cap"]["currency"]))
        customer_id, order_id, payment_id, method = (str(claims[name]) for name in ("sub", "ord", "pay", "mth"))
        grant = Grant(customer_id, order_id, payment_id, method, cap, frozenset(map(str, claims["steps"])))
        if claims["exp"] - claims["iat"] > LIFE:
            raise GrantInvalid("the grant lives too long")
        return Shown(grant, key.service, float(claims["exp"]), key.until)
    except (jwt.InvalidTokenError, Unauthenticated, KeyError, TypeError, ValueError) as problem:
        raise GrantInvalid(f"the grant does not hold: {problem}") from None


def check(granted: Granted, grant: Grant, step: str, subject: str, request: Message) -> None:
    """That a call for somebody is what they agreed to. GrantMismatch, GrantExceeded; InvalidArgument."""
    if step not in grant.steps:
        raise GrantMismatch("step")
    if subject != grant.customer_id:
        raise GrantMismatch("customer_id")
    for field in granted.fields:
        given = getattr(request, field)
        if grant.names[field] != (digest(given) if field == "payment_method" else given):
            raise GrantMismatch(field)
    amount = money_from_pb(getattr(request, granted.amount), granted.amount)
    if amount.currency != grant.cap.currency or amount > grant.cap:
        raise GrantExceeded(amount, grant.cap)
