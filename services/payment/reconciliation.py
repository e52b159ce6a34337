"""The shop's payments of a day beside the provider's own list of them: every difference, and no repair yet.

A payment whose provider is just being asked may show as a difference; it is none once the worker has its answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from mercato.money import Money
from services.payment.domain import Payment, Record, State

# Where a payment may stand at the provider, by where it stands with us.
STATUSES: dict[State, frozenset[str]] = {
    State.PENDING: frozenset(),
    State.AUTHORIZED: frozenset({"requires_capture"}),
    State.CAPTURED: frozenset({"succeeded"}),
    State.REFUNDED: frozenset({"succeeded"}),
    State.VOIDED: frozenset({"canceled", "requires_payment_method"}),
    State.DECLINED: frozenset({"canceled", "requires_payment_method", "requires_action"}),
}


class Kind(StrEnum):
    """How the two differ."""

    MISSING_AT_PROVIDER = "MISSING_AT_PROVIDER"
    UNKNOWN_TO_SHOP = "UNKNOWN_TO_SHOP"
    STATE_DIFFERS = "STATE_DIFFERS"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the two do not agree."""

    kind: Kind
    payment_id: str = ""
    reference: str = ""
    ours: str = ""
    theirs: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing."""

    differences: Sequence[Difference]
    compared: int


class ProviderRecords(Protocol):
    """What the provider has."""

    def records(self, begin: datetime, end: datetime) -> Sequence[Record]:
        """Its payments created from `begin` to before `end`."""
        ...

    def record(self, reference: str) -> Record | None:
        """One by its id."""
        ...


class ShopPayments(Protocol):
    """What the shop has, cash left out."""

    def created(self, begin: datetime, end: datetime) -> Sequence[Payment]:
        """Its payments created from `begin` to before `end`."""
        ...

    def known(self, payment_ids: Iterable[UUID]) -> Sequence[Payment]:
        """Those of the payments that it knows, of any day."""
        ...


class Reconciliation:
    """Compares the two."""

    def __init__(self, ours: ShopPayments, theirs: ProviderRecords) -> None:
        self._ours = ours
        self._theirs = theirs

    def reconcile_payments(self, day: date) -> Comparison:
        """Every difference of the payments that either side created on that day, UTC. ProviderSilent."""
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = begin + timedelta(days=1)
        ours = {str(each.id): each for each in self._ours.created(begin, end)}
        theirs = self._theirs.records(begin, end)
        # A payment of one minute before midnight may be one of another day to the other side.
        absent = [UUID(each.payment_id) for each in theirs if each.payment_id not in ours and _is_id(each.payment_id)]
        ours |= {str(each.id): each for each in self._ours.known(absent)}
        return Comparison(list(self._differences(ours, theirs)), len(ours))

    def _differences(self, ours: dict[str, Payment], theirs: Sequence[Record]) -> Iterator[Difference]:
        listed = {each.payment_id for each in theirs}
        for record in theirs:
            if record.payment_id in ours:
                yield from compare(ours[record.payment_id], record)
            else:
                yield Difference(Kind.UNKNOWN_TO_SHOP, record.payment_id, record.reference, theirs=record.status)
        for payment_id, payment in ours.items():
            if payment_id not in listed:
                yield from self._unlisted(payment)

    def _unlisted(self, payment: Payment) -> Iterator[Difference]:
        record = self._theirs.record(payment.reference) if payment.reference else None
        if record:
            yield from compare(payment, record)
        elif payment.reference or payment.state not in (State.DECLINED, State.VOIDED):
            yield Difference(Kind.MISSING_AT_PROVIDER, str(payment.id), payment.reference or "", ours=payment.state)


def compare(payment: Payment, record: Record) -> Iterator[Difference]:
    """How one payment differs from the provider's record of it."""
    names = (str(payment.id), record.reference)
    if record.status not in STATUSES[payment.state] or payment.reference not in (None, record.reference):
        yield Difference(Kind.STATE_DIFFERS, *names, ours=payment.state, theirs=record.status)
    pairs = (
        (payment.amount, record.amount),
        (payment.captured, record.captured),
        (payment.refunded, record.refunded),
    )
    for had, has in pairs:
        if had != (given := Money(has, record.currency)):
            yield Difference(Kind.AMOUNT_DIFFERS, *names, ours=str(had), theirs=str(given))


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False
