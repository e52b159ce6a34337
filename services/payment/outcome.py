"""What a decision, or the provider's answer, makes of a payment: its next form, what is booked, told and done next."""

from dataclasses import dataclass

from mercato.money import Money
from services.payment import ledger
from services.payment.domain import Alarm, Answer, Attempt, Done, Happened, Kind, Payment, Refused, State
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
        case Kind.CANCEL, Done(given_back=True):
            return Change(payment, alarm=Alarm.CAPTURED_THOUGH_VOIDED)
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
        return Change(payment.found_late(done.reference), cancel=True, alarm=Alarm.AUTHORIZED_AFTER_VOID)
    after = payment.authorize(done.method, done.reference or None)
    return Change(after, ledger.promised(after.authorized, cash=after.cash), Happened.AUTHORIZED, after.authorized)


def declined(payment: Payment, refusal: Refused) -> Change:
    """The provider said no; a voided payment stays one."""
    if payment.state is State.VOIDED:
        return Change(payment.found_late(refusal.reference) if refusal.reference else payment)
    return Change(payment.decline(refusal), happened=Happened.DECLINED)


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
