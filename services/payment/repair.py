"""What may be done about a difference from the provider's list without asking anybody, and the passes that look for it.

What the provider did is a fact: it is taken over. An authorization that no payment of the shop's can ever capture is
let go. Everything else (money taken for nobody, a payment that the provider lost) is somebody's to decide.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from mercato import log
from mercato.clock import Clock
from services.payment.domain import Payment, ProviderSilent, Record, State
from services.payment.observation import Observation
from services.payment.provider import StripeProvider
from services.payment.reconciliation import Difference, Reconciliation, Repair
from services.payment.resolution import Resolution
from services.payment.store import PaymentWork

Work = Callable[[], PaymentWork]

# The provider dates by its own clock, in whole seconds; and a payment of this very moment is still being made.
OVERLAP = timedelta(seconds=5)
YOUNG = timedelta(seconds=30)
# A pass over days goes hour by hour, so that it never holds a whole day in its hands.
_HOUR, _HOURS = timedelta(hours=1), 48
_log = log.get(__name__)


class SafeRepairs:
    """Repairs that are right whatever a human would say."""

    def __init__(self, work: Work, provider: StripeProvider, resolution: Resolution, observation: Observation) -> None:
        self._work = work
        self._provider = provider
        self._resolution = resolution
        self._observation = observation

    def repair(self, payment: Payment, record: Record | None) -> Repair:
        """Complete what waits for an answer, take over what happened, let go what nobody wants. ProviderSilent."""
        if self._waits(payment.id):
            self._resolution.resolve_of(payment.id)
            return Repair.UNDER_WAY if self._waits(payment.id) else Repair.COMPLETED
        if record is None or not self._observation.observe(payment.id, record.reference):
            return Repair.NONE
        if self._waits(payment.id):
            return Repair.UNDER_WAY
        return Repair.GIVEN_BACK if payment.state in (State.VOIDED, State.DECLINED) else Repair.RECORDED

    def _waits(self, payment_id: UUID) -> bool:
        with self._work() as work:
            return work.attempts.unanswered(payment_id)

    def give_back(self, record: Record) -> Repair:
        """Let go what no payment of the shop's will capture. What was taken is not ours to judge. ProviderSilent."""
        held = record.status == "requires_capture"
        return Repair.GIVEN_BACK if held and self._provider.let_go(record.reference) else Repair.NONE

    def note(self, differences: Sequence[Difference]) -> None:
        """Keep differences, each once, with what was done last."""
        if differences:
            with self._work() as work:
                work.reconciliations.note(differences)


class Passes:
    """Reconciles by itself: what is new often, whole days now and then."""

    def __init__(self, work: Work, reconciliation: Reconciliation, clock: Clock, often: timedelta) -> None:
        self._work = work
        self._reconciliation = reconciliation
        self._clock = clock
        self._often = often

    def reconcile_recent(self) -> bool:
        """Compare what was created since the last time; False if it is not due."""
        with self._work() as work:
            since = work.reconciliations.claim("recent", self._often)
        if since is None:
            return False
        until = self._clock.now() - YOUNG
        if self._reconcile(since - OVERLAP, until):
            with self._work() as work:
                work.reconciliations.compared("recent", until)
        return True

    def reconcile_days(self) -> bool:
        """Compare today and yesterday; False if it is not due."""
        with self._work() as work:
            due = work.reconciliations.claim("days", 60 * self._often)
        if due is None:
            return False
        end = self._clock.now() - YOUNG
        for _ in range(_HOURS):
            self._reconcile(end - _HOUR, end)
            end -= _HOUR
        return True

    def _reconcile(self, begin: datetime, end: datetime) -> bool:
        try:
            self._reconciliation.reconcile(begin, end)
            return True
        except ProviderSilent:
            _log.warning("payment.not_reconciled", begin=begin.isoformat(), end=end.isoformat())
            return False
