"""What can be done with payments. Each step is one transaction; between two of them, the provider is asked.

No transaction is open while the provider is asked, and what it is asked for is committed before.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from mercato import log
from mercato.errors import NotFound
from mercato.group_commit import GroupCommit, Turn
from mercato.money import Money
from mercato.rpc import Key
from mercato.telemetry import Counter
from services.payment import outcome
from services.payment.domain import (
    CASH,
    Attempt,
    CaptureFailed,
    Done,
    Kind,
    NotCash,
    OnlyCash,
    Payment,
    Progress,
    RefundFailed,
    State,
    TooManyDeclines,
)
from services.payment.resolution import Resolution, apply, tell
from services.payment.store import CAPS, Caps, PaymentWork

Work = Callable[[], PaymentWork]
_STOPPED = Counter("mercato_payment_stopped", "Authorizations refused for too many declines before.")
_log = log.get(__name__)


class Step(NamedTuple):
    """A payment after a transaction, and what the provider must be asked before anything else can be said."""

    payment: Payment
    attempt: Attempt | None = None


class Payments:
    """Reserving, taking and giving back money."""

    def __init__(self, work: Work, resolution: Resolution, lease: timedelta, caps: Caps = CAPS) -> None:
        self._work = work
        self._resolution = resolution
        self._lease = lease
        self._caps = caps
        self._promising = GroupCommit(self._promise, self._promise_together)

    def authorize_payment(self, asked: Payment) -> Payment:
        """Reserve the amount. A repeat answers the same.

        PaymentDeclined, PaymentVoided, TooManyDeclines, ProviderSilent.
        """
        payment, attempt = self._begin_cash(asked) if asked.cash else self._begin(asked)
        if attempt:
            payment, _ = self._resolution.settle(payment, attempt)
        return payment.granted()

    def authorize_together(self, turns: Sequence[Turn[Payment]]) -> list[Payment | Exception]:
        """The same for many: cash as one set. Whoever needs the provider, or was here before, is seen to alone."""
        cash = [turn for turn in turns if turn.item.cash]
        promised = dict(zip(cash, self._promising.do_all(cash), strict=True)) if cash else {}
        return [promised.get(turn) or turn.decide(self.authorize_payment) for turn in turns]  # type: ignore[misc]

    def _begin_cash(self, asked: Payment) -> Step:
        if promised := self._promising.do(asked):
            return Step(promised)
        with self._work() as work:
            return _again(work, work.payments.lock(asked.id))

    def _promise(self, asked: Payment) -> Payment | None:
        return self._promise_together([Turn.of(asked)])[0]

    def _promise_together(self, turns: Sequence[Turn[Payment]]) -> list[Payment | None]:
        """What customers owe at the door, for payments that are new."""
        granted = [outcome.authorized(turn.item, Done("", turn.item.amount.amount, CASH)) for turn in turns]
        with self._work() as work:
            new = work.payments.promise(granted)
            promised = [new.pop(turn.item.id, None) for turn in turns]
            for turn, change, payment in zip(turns, granted, promised, strict=True):
                if payment:
                    turn.run(tell, work, payment, change)
        return promised

    def _begin(self, asked: Payment) -> Step:
        with self._work() as work:
            payment = work.payments.add(asked, self._caps)
            if payment is None:
                return _again(work, self._known(work, asked))
            return Step(payment, work.attempts.open(payment, Kind.AUTHORIZE, payment.amount, self._lease))

    def _known(self, work: PaymentWork, asked: Payment) -> Payment:
        """The payment with this id: there is one, or the caps are why it was not added. TooManyDeclines."""
        try:
            return work.payments.lock(asked.id)
        except NotFound:
            seconds = work.payments.capped(asked, self._caps)
            _STOPPED.add()
            _log.warning("payment.too_many_declines", customer_id=str(asked.customer_id), order_id=str(asked.order_id))
            raise TooManyDeclines(seconds) from None

    def capture_payment(self, payment_id: UUID, amount: Money) -> Payment:
        """Take the amount, once: a repeat, of whatever amount, answers with what was taken. CaptureFailed."""
        if not amount:
            return self._take_nothing(payment_id)
        while True:
            payment, attempt = self._begin_capture(payment_id, amount)
            if attempt is None:
                return payment
            payment, attempt = self._resolution.settle(payment, attempt)
            if attempt.state is Progress.REFUSED and attempt.kind is Kind.CAPTURE:
                payment.granted()  # or it was given up: the provider holds it no longer
                raise CaptureFailed(attempt.refusal)

    def _begin_capture(self, payment_id: UUID, amount: Money) -> Step:
        with self._work() as work:
            payment = work.payments.lock(payment_id)
            if payment.captured:
                return Step(payment)
            if waits_for := work.attempts.pending(payment_id):
                return Step(payment, waits_for)
            payment.granted().may_take(amount)
            if payment.cash:
                raise OnlyCash
            return Step(payment, work.attempts.open(payment, Kind.CAPTURE, amount, self._lease))

    def _take_nothing(self, payment_id: UUID) -> Payment:
        """A capture of nothing gives the authorization back, as a capture of less does with the rest."""
        with self._work() as work:
            work.payments.lock(payment_id)
        return self.void_payment(payment_id)

    def void_payment(self, payment_id: UUID) -> Payment:
        """Take nothing, now or when it arrives late. PaymentCaptured; ProviderSilent if a capture is unanswered."""
        while True:
            payment, attempt = self._begin_void(payment_id)
            if attempt is None:
                return payment
            if attempt.kind is Kind.CANCEL:
                return self._resolution.ask_soon(payment, attempt)
            self._resolution.settle(payment, attempt)

    def _begin_void(self, payment_id: UUID) -> Step:
        with self._work() as work:
            buried = work.payments.bury(payment_id)
            payment = work.payments.lock(payment_id)
            if buried or payment.state in (State.VOIDED, State.DECLINED):
                return Step(payment)
            waits_for = work.attempts.pending(payment_id)
            if waits_for and waits_for.kind is Kind.CAPTURE:
                return Step(payment, waits_for)
            return Step(*apply(work, outcome.voided(payment), self._lease))

    def settle_cash(self, payment_id: UUID, amount: Money) -> Payment:
        """Book what the courier collected, once. NotCash, CaptureExceedsAuthorization."""
        with self._work() as work:
            payment = work.payments.lock(payment_id).granted()
            if not payment.cash:
                raise NotCash
            if payment.captured:
                return payment
            payment.may_take(amount)
            payment, _ = apply(work, outcome.captured(payment, amount), self._lease)
        return payment

    def refund_payment(self, payment_id: UUID, amount: Money, reason: str, key: Key | None) -> Payment:
        """Give some of it back, once for each key. RefundExceedsCapture, RefundFailed, ProviderSilent."""
        while True:
            payment, attempt = self._begin_refund(payment_id, amount, reason, key)
            if attempt is None:
                return payment
            if attempt.state is Progress.PENDING:
                payment, attempt = self._resolution.settle(payment, attempt)
            if attempt.kind is Kind.REFUND:
                return _refunded(payment, attempt)

    def _begin_refund(self, payment_id: UUID, amount: Money, reason: str, key: Key | None) -> Step:
        with self._work() as work:
            payment = work.payments.lock(payment_id)
            waits_for = work.attempts.pending(payment_id)
            if waits_for and waits_for.kind is Kind.CAPTURE:
                return Step(payment, waits_for)
            if made := work.idempotency.find(key):
                return Step(payment, work.attempts.get(UUID(made)))
            return self._refund(work, payment.refund(amount), amount, reason, key)

    def _refund(self, work: PaymentWork, payment: Payment, amount: Money, reason: str, key: Key | None) -> Step:
        attempt = work.attempts.open(payment, Kind.REFUND, amount, self._lease, reason)
        work.idempotency.made(key, str(attempt.id))
        if not payment.cash:
            return Step(work.payments.write(outcome.Change(payment)), attempt)
        attempt = replace(attempt, state=Progress.DONE)
        payment, _ = apply(work, outcome.refunded(payment, amount), self._lease, attempt)
        return Step(payment, attempt)


def _again(work: PaymentWork, payment: Payment) -> Step:
    """An authorization that was asked for before."""
    return Step(payment, work.attempts.pending(payment.id) if payment.state is State.PENDING else None)


def _refunded(payment: Payment, attempt: Attempt) -> Payment:
    if attempt.state is Progress.REFUSED:
        raise RefundFailed(attempt.refusal)
    return payment
