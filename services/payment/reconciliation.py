"""The shop's payments beside the provider's own list of them: every difference, and the repair of those that are safe.

A difference that shows itself is looked at once more, for a payment may change while the two lists are read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from mercato import log
from mercato.money import Money
from mercato.telemetry import Counter
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
_GIVEN_UP = frozenset({State.VOIDED, State.DECLINED})
_DIFFERENCES = Counter("mercato_payment_differences", "Differences from the provider's list.", ("kind", "repair"))
_log = log.get(__name__)


class Kind(StrEnum):
    """How the two differ."""

    MISSING_AT_PROVIDER = "MISSING_AT_PROVIDER"
    UNKNOWN_TO_SHOP = "UNKNOWN_TO_SHOP"
    STATE_DIFFERS = "STATE_DIFFERS"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    DUPLICATE_AT_PROVIDER = "DUPLICATE_AT_PROVIDER"


class Repair(StrEnum):
    """What was done about a difference."""

    NONE = "NONE"
    UNDER_WAY = "UNDER_WAY"
    COMPLETED = "COMPLETED"
    RECORDED = "RECORDED"
    GIVEN_BACK = "GIVEN_BACK"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the two do not agree."""

    kind: Kind
    payment_id: str = ""
    reference: str = ""
    ours: str = ""
    theirs: str = ""
    repair: Repair = Repair.NONE


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


class Repairs(Protocol):
    """What may be done without a human."""

    def repair(self, payment: Payment, record: Record | None) -> Repair:
        """Bring a payment and the provider's record of it together. ProviderSilent."""
        ...

    def give_back(self, record: Record) -> Repair:
        """Let go what belongs to no payment of the shop's. ProviderSilent."""
        ...

    def note(self, differences: Sequence[Difference]) -> None:
        """Keep differences, each once, with what was done last."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """A payment and a record that belong together; either may be missing."""

    payment: Payment | None
    record: Record | None

    def differences(self) -> Iterator[Difference]:
        """How they differ."""
        match self.payment, self.record:
            case None, Record() as record:
                yield Difference(Kind.UNKNOWN_TO_SHOP, record.payment_id, record.reference, theirs=record.status)
            case Payment() as payment, Record() as record:
                yield from compare(payment, record)
            case Payment() as payment, None if payment.reference or payment.state not in _GIVEN_UP:
                yield Difference(Kind.MISSING_AT_PROVIDER, str(payment.id), payment.reference or "", ours=payment.state)


class Reconciliation:
    """Compares the two, repairs, and keeps what it found."""

    def __init__(self, ours: ShopPayments, theirs: ProviderRecords, repairs: Repairs) -> None:
        self._ours = ours
        self._theirs = theirs
        self._repairs = repairs

    def reconcile_payments(self, day: date) -> Comparison:
        """Every difference of the payments that either side created on that day, UTC. ProviderSilent."""
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return self.reconcile(begin, begin + timedelta(days=1))

    def reconcile(self, begin: datetime, end: datetime) -> Comparison:
        """Every difference of the payments that either side created in that time. ProviderSilent."""
        ours = {str(each.id): each for each in self._ours.created(begin, end)}
        theirs = self._theirs.records(begin, end)
        # A payment of one minute before midnight may be one of another day to the other side.
        ours |= self._known(each.payment_id for each in theirs if each.payment_id not in ours)
        cases = [case for case in self._cases(ours, theirs) if any(case.differences())]
        found = [each for case in cases for each in self._settled(case)]
        self._repairs.note(found)
        for each in found:
            _tell(each)
        return Comparison(found, len(ours))

    def _known(self, payment_ids: Iterable[str]) -> dict[str, Payment]:
        known = self._ours.known([UUID(each) for each in payment_ids if _is_id(each)])
        return {str(each.id): each for each in known if each.order_id}

    def _cases(self, ours: dict[str, Payment], theirs: Sequence[Record]) -> Iterator[Case]:
        """Every payment and every record; a record that its payment does not name comes alone."""
        listed = set[str]()
        for record in theirs:
            payment = ours.get(record.payment_id)
            if payment and payment.reference in (None, record.reference) and record.payment_id not in listed:
                listed.add(record.payment_id)
                yield Case(payment, record)
            else:
                yield Case(None, record)
        for payment_id, payment in ours.items():
            if payment_id not in listed:
                yield Case(payment, self._theirs.record(payment.reference) if payment.reference else None)

    def _settled(self, case: Case) -> Iterator[Difference]:
        """What is left of a case when it is looked at once more, and what was done about it."""
        payment = next(iter(self._known([_name(case)]).values()), None)
        reference = case.record.reference if case.record else (payment and payment.reference)
        record = self._theirs.record(reference) if reference else None
        if case.payment is None and record:
            yield from self._alone(record, payment)
        elif payment and (found := list(Case(payment, record).differences())):
            repair = self._repairs.repair(payment, record)
            yield from (replace(each, repair=repair) for each in found)

    def _alone(self, record: Record, payment: Payment | None) -> Iterator[Difference]:
        """A record that no payment names: the shop does not know it, or knows another in its place."""
        if payment and payment.reference in (None, record.reference):
            return  # it names it by now, or is about to
        if not record.open:
            return
        kind = Kind.DUPLICATE_AT_PROVIDER if payment else Kind.UNKNOWN_TO_SHOP
        repair = self._repairs.give_back(record) if self._is_nobody_s(record, payment) else Repair.NONE
        ours = payment.state if payment else ""
        yield Difference(kind, record.payment_id, record.reference, ours, record.status, repair)

    def _is_nobody_s(self, record: Record, payment: Payment | None) -> bool:
        """Whether it was the shop that asked for it, and the shop needs it for nothing."""
        if payment:
            # If the provider has lost the one that the payment names, this may be all that there is.
            return self._theirs.record(payment.reference or "") is not None
        return _is_id(record.payment_id)


def _name(case: Case) -> str:
    return str(case.payment.id) if case.payment else case.record.payment_id if case.record else ""


def _tell(difference: Difference) -> None:
    _DIFFERENCES.add(difference.kind, difference.repair)
    told = {"payment_id": difference.payment_id, "reference": difference.reference, "kind": str(difference.kind)}
    tell = _log.error if difference.repair is Repair.NONE else _log.warning
    tell("payment.differs", **told, ours=difference.ours, theirs=difference.theirs, repair=str(difference.repair))


def compare(payment: Payment, record: Record) -> Iterator[Difference]:
    """How one payment differs from the provider's record of it."""
    if payment.state in _GIVEN_UP and record.given_back:
        return  # taken by mistake, and given back: the ledger has both
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
