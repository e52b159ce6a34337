"""The payment provider behind Stripe's API: Stripe itself, or whatever speaks like it at another address.

What was asked before is asked again with the same key, and Stripe answers from memory. Where its memory may have
ended, what was done is looked up before anything is asked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from mercato.clock import Clock
from services.payment.connection import No, StripeConnection
from services.payment.domain import (
    EXPIRED,
    UNKNOWN_METHOD,
    Answer,
    Attempt,
    Done,
    Kind,
    Payment,
    ProviderSilent,
    Record,
    Refused,
)

_CHARGE = {"expand": ["latest_charge"]}
_CHARGES = {"expand": ["data.latest_charge"]}


class StripeProvider:
    """Does what attempts ask for, once each."""

    def __init__(self, connection: StripeConnection, clock: Clock, remembers: timedelta) -> None:
        """`remembers`: how long after a request its key still stands for it."""
        self._stripe = connection
        self._clock = clock
        self._remembers = remembers

    def ask(self, payment: Payment, attempt: Attempt) -> Answer:
        """What became of an attempt: now, or when it was first asked for. ProviderSilent."""
        if self._clock.now() - attempt.create_time > self._remembers:
            earlier = self._look_up(payment, attempt)
            if earlier is not None:
                return earlier
        match attempt.kind:
            case Kind.AUTHORIZE:
                return self._authorize(payment, attempt)
            case Kind.CAPTURE:
                return self._capture(payment, attempt)
            case Kind.CANCEL:
                return self._cancel(payment, attempt)
            case Kind.REFUND:
                return self._refund_of(payment, str(attempt.id), attempt.amount, attempt.key)

    def _look_up(self, payment: Payment, attempt: Attempt) -> Answer | None:
        """What an old attempt came to. A capture or a cancellation is judged by the state that it meets."""
        match attempt.kind:
            case Kind.AUTHORIZE:
                query = {"query": f"metadata['payment_id']:'{payment.id}'", **_CHARGES}
                found = self._stripe.call(lambda v1: v1.payment_intents.search(query)).data
                # After so long nobody waits for it: that it never arrived is an answer too.
                return _authorization(found[0]) if found else Refused("never_arrived")
            case Kind.REFUND:
                return self._earlier_refund(payment, str(attempt.id))
            case _:
                return None

    def _authorize(self, payment: Payment, attempt: Attempt) -> Answer:
        params = {
            "amount": attempt.amount,
            "currency": payment.amount.currency.lower(),
            "capture_method": "manual",
            "confirm": True,
            "error_on_requires_action": True,  # the customer is not there to prove who they are
            "payment_method": payment.payment_method,
            "allowed_payment_method_types": ["card"],
            "metadata": {"payment_id": str(payment.id), "order_id": str(payment.order_id)},
            **_CHARGE,
        }
        try:
            intent = self._stripe.call(lambda v1: v1.payment_intents.create(params, _keyed(attempt.key)))
        except No as no:
            if no.missing:  # whoever answers there is not the provider
                raise ProviderSilent from no
            unknown = (no.code, no.param) == ("resource_missing", "payment_method")
            return Refused(UNKNOWN_METHOD if unknown else no.code, no.reference)
        return _authorization(intent)

    def _capture(self, payment: Payment, attempt: Attempt) -> Answer:
        params = {"amount_to_capture": attempt.amount}
        try:
            intent = self._stripe.call(
                lambda v1: v1.payment_intents.capture(payment.reference, params, _keyed(attempt.key))
            )
        except No as no:
            match self.record(payment.reference or ""):
                case Record(status="succeeded") as held:
                    return Done(held.reference, held.captured)
                case Record(status="canceled"):
                    return Refused(EXPIRED, lapsed=True)
                case _:
                    return Refused(no.code)
        return Done(intent.id, intent.amount_received)

    def _cancel(self, payment: Payment, attempt: Attempt) -> Answer:
        try:
            intent = self._stripe.call(lambda v1: v1.payment_intents.cancel(payment.reference, {}, _keyed(attempt.key)))
        except No as no:
            match self.record(payment.reference or ""):
                case Record(status="canceled") as held:
                    return Done(held.reference, attempt.amount)
                case Record(status="succeeded") as held:
                    return self._give_back(payment, attempt, held)
                case _:
                    return Refused(no.code)
        return Done(intent.id, attempt.amount)

    def _give_back(self, payment: Payment, attempt: Attempt, held: Record) -> Answer:
        """Refund what was taken of a payment that should have been let go; of nothing, if another attempt has."""
        answer = self._earlier_refund(payment, str(attempt.id))
        if answer is None and held.captured > held.refunded:
            rest = held.captured - held.refunded
            answer = self._refund_of(payment, str(attempt.id), rest, f"{attempt.key}-refund")
        if isinstance(answer, Refused):
            return answer
        return Done(held.reference, held.captured if answer else 0, given_back=True)

    def _refund_of(self, payment: Payment, refund_id: str, amount: int, key: str) -> Answer:
        params = {
            "payment_intent": payment.reference,
            "amount": amount,
            "metadata": {"payment_id": str(payment.id), "refund_id": refund_id},
        }
        try:
            refund = self._stripe.call(lambda v1: v1.refunds.create(params, _keyed(key)))
        except No as no:
            # Everything given back already may be this very refund, asked for once more.
            return self._earlier_refund(payment, refund_id) or Refused(no.code)
        return _refunded(refund)

    def _earlier_refund(self, payment: Payment, refund_id: str) -> Answer | None:
        params = {"payment_intent": payment.reference, "limit": 100}
        refunds = self._stripe.call(lambda v1: list(v1.refunds.list(params).auto_paging_iter()))
        ours = (each for each in refunds if _label(each, "refund_id") == refund_id)
        return next(map(_refunded, ours), None)

    def let_go(self, reference: str) -> bool:
        """Cancel an authorization that belongs to no payment of ours; False if it is none any more. ProviderSilent."""
        try:
            self._stripe.call(
                lambda v1: v1.payment_intents.cancel(reference, {}, _keyed(f"mercato-orphan-{reference}"))
            )
        except No:
            return False
        return True

    def records(self, begin: datetime, end: datetime) -> Sequence[Record]:
        """Every payment that the provider created from `begin` to before `end`. ProviderSilent."""
        created = {"gte": int(begin.timestamp()), "lt": int(end.timestamp())}
        params = {"created": created, "limit": 100, **_CHARGES}
        intents = self._stripe.call(lambda v1: list(v1.payment_intents.list(params).auto_paging_iter()))
        return [_record(each) for each in intents]

    def record(self, reference: str) -> Record | None:
        """One payment by the provider's id; None if it knows none. ProviderSilent."""
        try:
            return _record(self._stripe.call(lambda v1: v1.payment_intents.retrieve(reference, _CHARGE)))
        except No:
            return None


def _keyed(key: str) -> Any:
    return {"idempotency_key": key}


def _authorization(intent: Any) -> Answer:
    """What the state of a payment that was just confirmed says."""
    match intent.status:
        case "requires_capture" | "succeeded":
            return Done(intent.id, intent.amount, _masked(intent.latest_charge))
        case "requires_payment_method":
            error = getattr(intent, "last_payment_error", None)
            return Refused(getattr(error, "decline_code", None) or "card_declined", intent.id)
        case "requires_action" | "requires_confirmation":
            return Refused("authentication_required", intent.id)
        case "canceled":
            return Refused("canceled", intent.id)
        case _:  # "processing": it will tell
            raise ProviderSilent


def _masked(charge: Any) -> str:
    card = getattr(getattr(charge, "payment_method_details", None), "card", None)
    return f"{card.brand} •••• {card.last4}" if card else "card"


def _refunded(refund: Any) -> Answer:
    if refund.status in ("failed", "canceled"):
        return Refused(getattr(refund, "failure_reason", None) or refund.status, refund.id)
    return Done(refund.id, refund.amount)


def _record(intent: Any) -> Record:
    charge = intent.latest_charge
    taken = intent.amount_received
    # Of an authorization that was let go, Stripe says that all of it was "refunded".
    given_back = getattr(charge, "amount_refunded", 0) if taken else 0
    return Record(
        reference=intent.id,
        payment_id=_label(intent, "payment_id"),
        status=intent.status,
        currency=intent.currency.upper(),
        amount=intent.amount,
        captured=taken,
        refunded=given_back,
    )


def _label(thing: Any, name: str) -> str:
    labels = getattr(thing, "metadata", None)
    return str(labels[name]) if labels and name in labels else ""
