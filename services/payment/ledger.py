"""The ledger: what is booked when money, or the promise of it, moves. Double entry, one transaction for each movement.

The chart of accounts:

    provider_hold         what the provider holds on customers' cards for us
    customer_receivable   what customers are to pay at the door
    promised              the other side of both: promises of money that are open
    provider_balance      what the provider took and owes us
    cash_with_couriers    what couriers collected
    refunds_payable       what we owe customers whom no provider can pay: those who paid in cash
    sales                 what was sold
    refunds               what of that was given back
    corrections           what the provider took though it should not have, and gave back: always even in the end

A promise is booked whole and ends whole: authorized → captured or voided. So the balance of `provider_hold` and
`customer_receivable` is what is open, their credits what was captured, settled or voided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from mercato.money import Money


class Side(StrEnum):
    """A side of an account."""

    DEBIT = "DEBIT"
    CREDIT = "CREDIT"


@dataclass(frozen=True, slots=True)
class Booking:
    """One side of a transaction that is to be booked."""

    account: str
    side: Side
    amount: Money


@dataclass(frozen=True, slots=True)
class Entry:
    """A booking as the ledger has it."""

    id: UUID
    transaction_id: UUID
    payment_id: UUID
    account: str
    side: Side
    amount: Money
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """An account in one currency, with its sums."""

    id: str
    debits: Money
    credits: Money


Bookings = tuple[Booking, ...]


def promised(amount: Money, *, cash: bool) -> Bookings:
    """A customer's money is reserved, or owed at the door."""
    return _move(_promise(cash=cash), "promised", amount)


def let_go(amount: Money, *, cash: bool) -> Bookings:
    """The promise ends."""
    return _move("promised", _promise(cash=cash), amount)


def taken(amount: Money, promise: Money, *, cash: bool) -> Bookings:
    """The promise ends, and some or all of it became money."""
    return (*let_go(promise, cash=cash), *_move("cash_with_couriers" if cash else "provider_balance", "sales", amount))


def given_back(amount: Money, *, cash: bool) -> Bookings:
    """Money goes back to the customer."""
    return _move("refunds", "refunds_payable" if cash else "provider_balance", amount)


def late(amount: Money) -> Bookings:
    """The provider reserved what nobody wants any more: the promise comes and goes at once."""
    return (*promised(amount, cash=False), *let_go(amount, cash=False))


def corrected(amount: Money) -> Bookings:
    """The provider took what it should have let go, and gave it back."""
    took, gave = _move("provider_balance", "corrections", amount), _move("corrections", "provider_balance", amount)
    return (*took, *gave)


def balanced(bookings: Iterable[Booking]) -> bool:
    """Whether debits equal credits."""
    return not sum(each.amount.amount if each.side is Side.DEBIT else -each.amount.amount for each in bookings)


def _promise(*, cash: bool) -> str:
    return "customer_receivable" if cash else "provider_hold"


def _move(debit: str, credit: str, amount: Money) -> Bookings:
    return Booking(debit, Side.DEBIT, amount), Booking(credit, Side.CREDIT, amount)
