"""How an attempt comes to its end: the provider is asked until it answers, and the answer is recorded once.

Whoever began an attempt asks while its caller waits; a worker goes on with what is unanswered then. They may meet: the
key makes the provider do it once, and the attempt's state makes us write it once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from mercato import log
from mercato.rpc import current_call
from mercato.telemetry import Counter
from services.payment import messages, outcome
from services.payment.domain import Alarm, Answer, Attempt, Kind, Payment, Progress, ProviderSilent
from services.payment.outcome import Change
from services.payment.store import PaymentWork

Work = Callable[[], PaymentWork]

ALARMS = Counter("mercato_payment_alarms", "What a human should hear of, though it was put right.", ("alarm",))
PATIENCE = 5.0  # seconds, where no caller says how long
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.4
SPARE = 0.1  # seconds of a caller's time that are kept for the reply
_log = log.get(__name__)


class PaymentProvider(Protocol):
    """Does what attempts ask for."""

    def ask(self, payment: Payment, attempt: Attempt) -> Answer:
        """What became of an attempt. ProviderSilent."""
        ...


@dataclass(frozen=True, slots=True)
class Leases:
    """How long an attempt belongs to whoever asks, and how long it may be left for later."""

    lease: timedelta
    longest: timedelta

    def pause(self, tries: int) -> timedelta:
        """How long to leave an attempt after so many looks: doubling, up to the longest."""
        return min(self.longest, timedelta(seconds=0.5 * 2.0 ** min(tries, 20)))


@dataclass(slots=True)
class Patience:
    """The pauses between two questions, as long as the present call has time."""

    pause: Callable[[float], object] = time.sleep
    ends: float = field(default_factory=lambda: time.monotonic() + _remaining())
    next: float = FIRST_PAUSE

    def wait(self) -> bool:
        """Wait; False, at once, if there is no time left to."""
        if time.monotonic() + self.next + SPARE > self.ends:
            return False
        self.pause(self.next)
        self.next = min(2 * self.next, LONGEST_PAUSE)
        return True


def _remaining() -> float:
    remaining = current_call().remaining
    return PATIENCE if remaining is None else remaining


class Resolution:
    """Asks, and records what was said."""

    def __init__(self, work: Work, provider: PaymentProvider, leases: Leases) -> None:
        self._work = work
        self._provider = provider
        self._leases = leases

    def settle(self, payment: Payment, attempt: Attempt) -> tuple[Payment, Attempt]:
        """Ask until the provider has answered: the payment and the attempt then. ProviderSilent when time runs out."""
        patience = Patience()
        while True:
            try:
                return self.try_once(payment, attempt)
            except ProviderSilent:
                if not patience.wait():
                    raise

    def try_once(self, payment: Payment, attempt: Attempt) -> tuple[Payment, Attempt]:
        """Ask once. ProviderSilent."""
        return self.record(attempt, self._provider.ask(payment, attempt))

    def ask_soon(self, payment: Payment, attempt: Attempt) -> Payment:
        """Ask once, if the provider listens: what was decided stands anyhow, and the worker never forgets it."""
        try:
            payment, _ = self.try_once(payment, attempt)
        except ProviderSilent:
            _log.warning("payment.asked_later", **_named(attempt))
        return payment

    def resolve_of(self, payment_id: UUID) -> None:
        """Go on with what is unanswered of one payment and due, until it is answered or the provider silent."""
        while claimed := self._claim(payment_id):
            if not self._resolve(*claimed):
                return

    def resolve_due(self) -> bool:
        """Go on with one attempt that nobody works on; False if there is none."""
        claimed = self._claim()
        if claimed:
            self._resolve(*claimed)
        return claimed is not None

    def _claim(self, payment_id: UUID | None = None) -> tuple[Payment, Attempt] | None:
        with self._work() as work:
            attempt = work.attempts.claim(self._leases.lease, payment_id)
            return (work.payments.get(attempt.payment_id), attempt) if attempt else None

    def _resolve(self, payment: Payment, attempt: Attempt) -> bool:
        with log.bound(order_id=str(payment.order_id or "")):
            try:
                self.try_once(payment, attempt)
                return True
            except ProviderSilent:
                self._postpone(attempt)
                return False

    def _postpone(self, attempt: Attempt) -> None:
        pause = self._leases.pause(attempt.lease_token)
        with self._work() as work:
            work.attempts.postpone(attempt, pause)
        _log.warning("payment.unanswered", **_named(attempt), tries=attempt.lease_token, again=pause.total_seconds())

    def record(self, attempt: Attempt, answer: Answer) -> tuple[Payment, Attempt]:
        """Write what the provider said, unless somebody has."""
        with self._work() as work:
            payment = work.payments.lock(attempt.payment_id)
            held = work.attempts.get(attempt.id)
            if held.state is not Progress.PENDING:
                return payment, held
            change, held = outcome.answered(payment, held, answer), held.answered(answer)
            # What follows a late answer is the worker's, at once: no caller waits for it.
            payment, _ = apply(work, change, timedelta(0), held, answer.reference)
        if change.alarm:
            sound(change.alarm, payment, held)
        return payment, held


def apply(
    work: PaymentWork, change: Change, lease: timedelta, attempt: Attempt | None = None, reference: str = ""
) -> tuple[Payment, Attempt | None]:
    """Write a change and publish its event. With the payment: the cancellation to ask the provider for, if any."""
    payment = work.payments.write(change, attempt, reference or None)
    tell(work, payment, change)
    return payment, work.attempts.open(payment, Kind.CANCEL, payment.amount, lease) if change.cancel else None


def tell(work: PaymentWork, payment: Payment, change: Change) -> None:
    """Publish what became of a payment, if anything did that others care about."""
    if change.happened:
        work.publish(messages.event_of(payment, change.happened, change.moved), str(payment.id), payment.version)


def sound(alarm: Alarm, payment: Payment, attempt: Attempt | None = None) -> None:
    """Let a human hear of it."""
    ALARMS.add(alarm)
    _log.error("payment.alarm", alarm=str(alarm), **(_named(attempt) if attempt else {"payment_id": str(payment.id)}))


def _named(attempt: Attempt) -> dict[str, object]:
    return {"payment_id": str(attempt.payment_id), "kind": str(attempt.kind), "refusal": attempt.refusal}
