"""The merchant's account with the provider: what may be done with payments, and the rules of it.

Operations change nothing themselves: they answer with the records as they are afterwards, the reply's record first.
A card's refusal leaves records too, carried by `Declined`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from simulator.card import Card, card
from simulator.form import Form
from simulator.problem import CardError, InvalidRequest, NoSuchObject, WrongState
from simulator.record import Charge, Intent, Record, Refund, new_id

R = TypeVar("R", Intent, Charge, Refund)

_CURRENCY = re.compile(r"^[A-Za-z]{3}$")
_LABEL = re.compile(r"""^\s*metadata\[["']([^"']+)["']\]\s*:\s*["']([^"']*)["']\s*$""")
_NAMES: dict[type[Record], str] = {Intent: "payment_intent", Charge: "charge", Refund: "refund"}
_CAPTURE_METHODS = ("manual", "automatic", "automatic_async")


class Declined(CardError):
    """The card said no to a charge; the try itself is on record."""

    def __init__(self, intent: Intent, charge: Charge) -> None:
        super().__init__(charge.failure or "", charge.decline_code or "", charge=charge.id)
        self.intent = intent
        self.changes: Sequence[Record] = (intent, charge)


class Account:
    """Everything that the provider keeps for one merchant, in the order of its creation."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._ids: dict[type[Record], list[str]] = {Intent: [], Charge: [], Refund: []}
        self._places: dict[str, int] = {}
        self._held: deque[str] = deque()

    def apply(self, changes: Iterable[Record]) -> None:
        """Make the records what an operation, or the log, says that they are."""
        for record in changes:
            if record.id not in self._records:
                ids = self._ids[type(record)]
                self._places[record.id] = len(ids)
                ids.append(record.id)
                if isinstance(record, Intent) and record.capturable:
                    self._held.append(record.id)
            self._records[record.id] = record

    def all(self, kind: type[R], before: str = "") -> Iterator[R]:
        """Every record of a kind, newest first; from behind one of them on, if it is named."""
        ids = self._ids[kind]
        for place in range(self._places.get(before, len(ids)) - 1, -1, -1):
            yield self.find(kind, ids[place])

    def overdue(self, before: int) -> Iterator[Intent]:
        """Authorizations of before then that still stand. Each is answered once."""
        while self._held:
            intent = self.find(Intent, self._held[0])
            if intent.capturable and intent.created >= before:
                return
            self._held.popleft()
            if intent.capturable:
                yield intent

    def find(self, kind: type[R], given: str) -> R:
        """The record with an id."""
        record = self._records.get(given)
        if isinstance(record, kind):
            return record
        raise NoSuchObject(_NAMES[kind], given)

    # --- payments

    def create_intent(self, form: Form, now: int) -> Sequence[Record]:
        """Authorize an amount on a card, and take it at once unless the capture is manual."""
        intent, kind = _wanted(form, now)
        charge = Charge(
            id=intent.charge,
            created=now,
            amount=intent.amount,
            currency=intent.currency,
            intent=intent.id,
            payment_method=intent.payment_method,
            metadata=intent.metadata,
        )
        if no := kind.declines:
            failed = replace(charge, decline_code=no.code, failure=no.message)
            raise Declined(replace(intent, status="requires_payment_method"), failed)
        if intent.capture_method != "manual":
            return _captured(intent, charge, intent.amount)
        return intent, charge

    def capture(self, form: Form, _now: int, given: str) -> Sequence[Record]:
        """Take what was authorized, or less; the rest is let go."""
        intent = self.find(Intent, given)
        if intent.status != "requires_capture":
            raise _unexpected_state(intent, "captured", "requires_capture")
        amount = form.amount("amount_to_capture") or intent.amount
        if amount > intent.amount:
            raise InvalidRequest(
                f"The requested capture amount is greater than the authorized amount ({intent.amount}).",
                code="amount_too_large",
                param="amount_to_capture",
            )
        if not card(intent.payment_method).captures:
            raise CardError("Your card was declined.", "generic_decline", charge=intent.charge)
        return _captured(intent, self.find(Charge, intent.charge), amount)

    def cancel(self, form: Form, now: int, given: str) -> Sequence[Record]:
        """Let go what was authorized."""
        intent = self.find(Intent, given)
        if intent.status not in ("requires_capture", "requires_payment_method"):
            raise _unexpected_state(intent, "canceled", "requires_payment_method, requires_capture")
        charge = self.find(Charge, intent.charge)
        reason = form.text("cancellation_reason")
        canceled = replace(intent, status="canceled", canceled_at=now, cancellation_reason=reason)
        return canceled, replace(charge, voided=charge.decline_code is None)

    def expire(self, now: int, given: str) -> Sequence[Record]:
        """Let go what was authorized and not captured in time."""
        intent = self.find(Intent, given)
        if intent.status != "requires_capture":
            raise _unexpected_state(intent, "expired", "requires_capture")
        expired = replace(intent, status="canceled", canceled_at=now, cancellation_reason="automatic")
        return expired, replace(self.find(Charge, intent.charge), voided=True)

    def search(self, query: str) -> Iterator[Intent]:
        """Payments by their labels: `metadata['order_id']:'7' AND …`."""
        labels = [_label(part) for part in re.split(r"\s+AND\s+", query)]
        return (i for i in self.all(Intent) if all(i.metadata.get(name) == value for name, value in labels))

    # --- refunds

    def refund(self, form: Form, now: int) -> Sequence[Record]:
        """Give back some or all of what was taken."""
        charge = self._refundable(form)
        left = charge.captured - charge.refunded
        if not left:
            raise WrongState(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
        amount = form.amount("amount") or left
        if amount > left:
            raise WrongState(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
            )
        refund = Refund(
            id=new_id("re"),
            created=now,
            amount=amount,
            currency=charge.currency,
            intent=charge.intent,
            charge=charge.id,
            reason=form.text("reason"),
            metadata=form.metadata(),
        )
        return refund, replace(charge, refunded=charge.refunded + amount)

    def _refundable(self, form: Form) -> Charge:
        """The captured charge that a refund names, by itself or by its payment."""
        given = form.text("charge") or self.find(Intent, form.required("payment_intent")).charge
        charge = self.find(Charge, given)
        if not charge.captured:
            raise WrongState(
                f"This PaymentIntent ({charge.intent}) does not have a successful charge to refund.",
                code="payment_intent_unexpected_state",
            )
        return charge


def _wanted(form: Form, now: int) -> tuple[Intent, Card]:
    """The payment that a request asks for, authorized, and the card to charge."""
    amount = form.amount("amount") or form.missing("amount")
    currency = form.required("currency")
    if not _CURRENCY.match(currency):
        raise InvalidRequest(f"Invalid currency: {currency}", param="currency")
    capture_method = form.text("capture_method") or "automatic_async"
    if capture_method not in _CAPTURE_METHODS:
        raise InvalidRequest(
            f"Invalid capture_method: must be one of {', '.join(_CAPTURE_METHODS)}", param="capture_method"
        )
    if not form.flag("confirm"):
        raise InvalidRequest("This provider wants confirm=true: it knows no browser to confirm from.", param="confirm")
    token = form.required("payment_method")
    intent = Intent(
        id=new_id("pi"),
        created=now,
        amount=amount,
        currency=currency.lower(),
        capture_method=capture_method,
        payment_method=token,
        status="requires_capture",
        charge=new_id("ch"),
        metadata=form.metadata(),
        description=form.text("description"),
    )
    return intent, card(token)


def _captured(intent: Intent, charge: Charge, amount: int) -> Sequence[Record]:
    return replace(intent, status="succeeded", received=amount), replace(charge, captured=amount)


def _unexpected_state(intent: Intent, wish: str, allowed: str) -> WrongState:
    return WrongState(
        f"This PaymentIntent could not be {wish} because it has a status of {intent.status}. "
        f"Only a PaymentIntent with one of the following statuses may be {wish}: {allowed}.",
        code="payment_intent_unexpected_state",
    )


def _label(part: str) -> tuple[str, str]:
    if not (match := _LABEL.match(part)):
        raise InvalidRequest(f"The search query is not understood at: {part}", param="query")
    return match[1], match[2]
