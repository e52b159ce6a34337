"""Taking over what happened at the provider without the shop: told by webhooks, found by reconciling.

Both only point at a payment. What is true of it is asked of the provider, and whatever the shop itself is waiting for
is left to the attempt that waits: so nothing depends on when, how often or in which order one is pointed at it.
"""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from mercato import log
from mercato.clock import Clock
from mercato.config import Secret
from mercato.errors import NotFound
from mercato.telemetry import Counter
from services.payment import webhook
from services.payment.domain import Record
from services.payment.outcome import Change, observed
from services.payment.resolution import Resolution, apply, sound
from services.payment.store import PaymentWork
from services.payment.webhook import Notice

Work = Callable[[], PaymentWork]

PROVIDER = "stripe"
_WEBHOOKS = Counter("mercato_payment_webhooks", "Webhooks that carried the provider's signature.", ("outcome",))
_log = log.get(__name__)


class Outcome(StrEnum):
    """What became of a webhook."""

    IGNORED = "IGNORED"
    KNOWN = "KNOWN"
    HASTENED = "HASTENED"
    RECORDED = "RECORDED"


class ProviderRecords(Protocol):
    """What the provider has."""

    def record(self, reference: str) -> Record | None:
        """One payment by the provider's id. ProviderSilent."""
        ...


class Observation:
    """Looks at payments, and writes down what it sees."""

    def __init__(self, work: Work, provider: ProviderRecords, resolution: Resolution) -> None:
        self._work = work
        self._provider = provider
        self._resolution = resolution

    def take_in(self, notice: Notice) -> Outcome:
        """Make of a webhook's news what is to be made of it. ProviderSilent."""
        with self._work() as work:
            try:
                payment = work.payments.get(notice.payment_id)
            except NotFound:
                # Reconciling finds it too, and judges it when it is sure that nobody is about to write it.
                _log.warning("webhook.unknown_payment", payment_id=str(notice.payment_id), reference=notice.reference)
                return Outcome.IGNORED
            if not notice.news(payment):
                return Outcome.KNOWN
            if work.attempts.hasten(payment.id):
                return Outcome.HASTENED
        return Outcome.RECORDED if self.observe(payment.id, notice.reference) else Outcome.KNOWN

    def observe(self, payment_id: UUID, reference: str) -> bool:
        """Take over how the payment stands at the provider; False if there is nothing to take over. ProviderSilent."""
        record = self._provider.record(reference)
        if record is None or (change := self._take_over(payment_id, record)) is None:
            return False
        # What is to be let go has changed at the provider by now; else there may be more to take over.
        while change is not None and not change.cancel:
            change = self._take_over(payment_id, record)
        return True

    def _take_over(self, payment_id: UUID, record: Record) -> Change | None:
        with self._work() as work:
            payment = work.payments.lock(payment_id)
            # What is being asked is answered by the attempt: what is seen now may be its doing.
            change = None if work.attempts.unanswered(payment_id) else observed(payment, record)
            if change is None:
                return None
            payment, cancellation = apply(work, change, timedelta(0))
        if change.alarm:
            sound(change.alarm, payment)
        if cancellation:
            self._resolution.ask_soon(payment, cancellation)
        return change


class Webhooks:
    """The way in for what the provider tells."""

    def __init__(self, observation: Observation, secret: Secret, clock: Clock) -> None:
        self._observation = observation
        self._secret = secret
        self._clock = clock

    def handle_webhook(self, provider: str, body: bytes, signature: str) -> Outcome:
        """Take in a webhook. NotFound, BadSignature, InvalidArgument; ProviderSilent: it is to be sent again."""
        if provider != PROVIDER:
            raise NotFound("there is no such provider")
        webhook.verify(self._secret.reveal(), body, signature, self._clock.now())
        notice = webhook.read(body)
        outcome = self._observation.take_in(notice) if notice else Outcome.IGNORED
        _WEBHOOKS.add(outcome)
        return outcome
