"""What the payment service is made of."""

from datetime import timedelta

from mercato.runtime import Process, Stack, every
from services.payment.config import PaymentConfig
from services.payment.connection import StripeConnection
from services.payment.provider import StripeProvider
from services.payment.queries import PaymentQueries
from services.payment.reconciliation import Reconciliation
from services.payment.resolution import Leases, Resolution
from services.payment.servicer import PaymentServicer
from services.payment.store import PaymentWork
from services.payment.usecases import Payments


def build(config: PaymentConfig, stack: Stack) -> Process:
    """Wire the payment service."""
    database = stack.database("payments")
    connection = StripeConnection(
        config.provider_key.reveal(), config.provider_url, config.provider_connect, config.provider_read
    )
    provider = StripeProvider(connection, stack.clock, config.provider_remembers)

    def work() -> PaymentWork:
        return PaymentWork(database, service="payment")

    resolution = Resolution(work, provider, Leases(config.lease, config.longest_pause))
    payments = Payments(work, resolution, config.lease)
    queries = PaymentQueries(database)
    return Process(
        servicers=[PaymentServicer(payments, Reconciliation(queries, provider), queries, stack.page_tokens)],
        workers=[
            every(config.resolve, resolution.resolve_due, "payment.resolve"),
            # Once: what it loads stays loaded.
            every(timedelta(days=365), connection.prepare, "payment.prepare"),
        ],
        closers=[connection.close],
    )
