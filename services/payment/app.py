"""What the payment service is made of."""

from datetime import timedelta

from mercato.reports import Reports
from mercato.runtime import Process, Stack, every
from services.payment.config import PaymentConfig
from services.payment.connection import StripeConnection
from services.payment.observation import Observation, Webhooks
from services.payment.provider import StripeProvider
from services.payment.queries import PaymentQueries
from services.payment.reconciliation import Reconciliation
from services.payment.repair import Passes, SafeRepairs
from services.payment.resolution import Leases, Resolution
from services.payment.servicer import PaymentServicer
from services.payment.store import Caps, PaymentWork
from services.payment.usecases import Payments


def build(config: PaymentConfig, stack: Stack) -> Process:
    """Wire the payment service."""
    secret = config.signing_secret(development=stack.settings.development)
    database = stack.database("payments")
    connection = StripeConnection(
        config.key.reveal(), config.provider_url, config.provider_connect, config.provider_read
    )
    provider = StripeProvider(connection, stack.clock, config.provider_remembers)

    def work() -> PaymentWork:
        return PaymentWork(database, service="payment")

    resolution = Resolution(work, provider, Leases(config.lease, config.longest_pause))
    caps = Caps(config.declines_per_customer, config.declines_per_method, config.declines_within)
    payments = Payments(work, resolution, config.lease, caps)
    observation = Observation(work, provider, resolution)
    queries = PaymentQueries(database)
    repairs = SafeRepairs(work, provider, resolution, observation)
    reconciliation = Reconciliation(queries, provider, repairs)
    passes = Passes(work, reconciliation, stack.clock, config.reconcile)
    webhooks = Webhooks(observation, secret, stack.clock)
    return Process(
        servicers=[PaymentServicer(payments, webhooks, reconciliation, Reports(database), queries, stack.page_tokens)],
        workers=[
            every(config.resolve, resolution.resolve_due, "payment.resolve"),
            every(config.reconcile / 2, passes.reconcile_recent, "payment.reconcile"),
            every(config.reconcile, passes.reconcile_days, "payment.reconcile_days"),
            # Once: what it loads stays loaded.
            every(timedelta(days=365), connection.prepare, "payment.prepare"),
        ],
        closers=[connection.close],
    )
