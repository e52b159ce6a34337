"""What a decision, or the provider's answer, makes of a payment: its next form, what is booked, told and done next."""

from dataclasses import dataclass, replace

from mercato.money import Money
from services.payment import ledger
from services.payment.domain import Alarm, Answer, Attempt, Done, Happened, Kind, Payment, Record, Refused, State
from services.payment.ledger import Bookings


@dataclass(frozen=True, slots=True)
class Change:
    """A payment after one step. `moved` is the amount that the event names; `cancel`: the provider must let it go."""

    payment: Payment
    bookings: Bookings = ()
    happened: Happened | None = None
    moved: Money | None = None
    cancel: bool = False
    alarm: Alarm | None = None


def answered(payment: Payment, attempt: Attempt, answer: Answer) -> Change:
    """What the provider's answer to an attempt makes of its payment."""
    amount = Money(attempt.amount, payment.amount.currency)
    match attempt.kind, answer:
        case Kind.AUTHORIZE, Done():
            return authorized(payment, answer)
        case Kind.AUTHORIZE, Refused():
            return declined(payment, answer)
        case Kind.CAPTURE, Done(amount=taken):
            return captured(payment, Money(taken, amount.currency))
        case Kind.CAPTURE, Refused(lapsed=True):
            return lapsed(payment)
        case Kind.CANCEL, Done(amount=taken, given_back=True) if taken:
            bookings = ledger.corrected(Money(taken, amount.currency))
            return Change(payment, bookings, alarm=Alarm.CAPTURED_THOUGH_VOIDED)
        case Kind.CANCEL, Refused():
            return Change(payment, alarm=Alarm.CANCEL_REFUSED)
        case Kind.REFUND, Done():
            return refunded(payment, amount)
        case Kind.REFUND, Refused():
            return Change(payment.refund_refused(amount), alarm=Alarm.REFUND_REFUSED)
        case _:  # a capture refused, which may be tried again; a cancellation done, as decided long before
            return Change(payment)


def authorized(payment: Payment, done: Done) -> Change:
    """The amount is reserved; if the payment was voided meanwhile, it is to be let go again."""
    if payment.state is State.VOIDED:
        return unwanted(payment, done.reference)
    after = payment.authorize(done.method, done.reference or None)
    return Change(after, ledger.promised(after.authorized, cash=after.cash), Happened.AUTHORIZED, after.authorized)


def declined(payment: Payment, refusal: Refused) -> Change:
    """The provider said no; a voided payment stays one."""
    if payment.state is State.VOIDED:
        return Change(payment.tried(refusal.reference))
    return Change(payment.decline(refusal), happened=Happened.DECLINED)


def unwanted(payment: Payment, reference: str) -> Change:
    """The provider holds money for a payment that was given up: it is to be let go."""
    after, alarm = payment.found_late(reference), Alarm.AUTHORIZED_AFTER_VOID
    bookings = () if payment.authorized else ledger.late(after.authorized)
    return Change(after, bookings, cancel=True, alarm=alarm)


def lapsed(payment: Payment) -> Change:
    """The provider holds the money no longer: nobody took it in time."""
    bookings = ledger.let_go(payment.authorized, cash=False)
    return Change(payment.lapse(), bookings, Happened.VOIDED, alarm=Alarm.AUTHORIZATION_EXPIRED)


def observed(payment: Payment, record: Record) -> Change | None:
    """What is made of a payment that stands differently at the provider, while nothing is being asked for it.

    What happened there happened, and is taken over. None: they agree, or only a human can say who is right.
    """
    if not _same(payment, record):
        return None
    match payment.state, record.status:
        case State.AUTHORIZED, "canceled":
            return lapsed(payment)
        case State.AUTHORIZED, "succeeded":
            return replace(captured(payment, _money(payment, record.captured)), alarm=Alarm.CAPTURED_ELSEWHERE)
        case ((State.VOIDED | State.DECLINED), "requires_capture"):
            return unwanted(payment, record.reference)
        case ((State.VOIDED | State.DECLINED), "succeeded") if record.captured > record.refunded:
            return unwanted(payment, record.reference)
        case State.CAPTURED, "succeeded":
            return _refunded_elsewhere(payment, record)
    return None


def _same(payment: Payment, record: Record) -> bool:
    """Whether the record is of this very payment, in all that can never change."""
    same = payment.reference in (None, record.reference)
    return same and payment.amount == Money(record.amount, record.currency)


def _money(payment: Payment, amount: int) -> Money:
    return Money(amount, payment.amount.currency)


def _refunded_elsewhere(payment: Payment, record: Record) -> Change | None:
    more = _money(payment, record.refunded) - payment.refunded
    if more.amount <= 0 or more > payment.refundable:
        return None
    bookings = ledger.given_back(more, cash=False)
    return Change(payment.refunded_elsewhere(more), bookings, Happened.REFUNDED, more, alarm=Alarm.REFUNDED_ELSEWHERE)


def voided(payment: Payment) -> Change:
    """Nothing will be taken. What is unanswered is cancelled when its answer comes. PaymentCaptured."""
    after = payment.void()
    if payment.state is not State.AUTHORIZED:
        return Change(after, happened=Happened.VOIDED)
    bookings = ledger.let_go(after.authorized, cash=after.cash)
    return Change(after, bookings, Happened.VOIDED, cancel=not after.cash)


def captured(payment: Payment, amount: Money) -> Change:
    """Money was taken: by the provider, or at the door."""
    after = payment.capture(amount)
    bookings = ledger.taken(amount, after.authorized, cash=after.cash)
    return Change(after, bookings, Happened.CAPTURED, amount)


def refunded(payment: Payment, amount: Money) -> Change:
    """Money was given back, as was decided."""
    bookings = ledger.given_back(amount, cash=payment.cash)
    return Change(payment.refund_done(amount), bookings, Happened.REFUNDED, amount)
