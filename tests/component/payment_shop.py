"""The payment service for tests: over gRPC, on PostgreSQL, with the provider as a process beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.api.payment.v1.payment_pb2_grpc import PaymentServiceStub
from mercato.clock import SystemClock
from mercato.config import Secret
from mercato.errors import DeadlineExceeded, Unavailable
from mercato.grants import Grant, digest
from mercato.ids import uuid7
from mercato.money import Money
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.reports import Reports
from mercato.rpc import Principal, on_behalf_of
from mercato.testing import Served, a_customer, serve, staff
from mercato.wire import money_from_pb, money_to_pb
from services.payment.connection import StripeConnection
from services.payment.domain import Answer, Attempt, Kind, Payment, Progress
from services.payment.observation import Observation, Webhooks
from services.payment.provider import StripeProvider
from services.payment.queries import PaymentQueries
from services.payment.reconciliation import Reconciliation
from services.payment.repair import SafeRepairs
from services.payment.resolution import Leases, Resolution
from services.payment.servicer import PaymentServicer
from services.payment.store import CAPS, Caps, PaymentWork
from services.payment.usecases import Payments
from simulator.event import Event, events_of
from simulator.record import restore
from tests.component.provider_process import KEY, ProviderProcess

STEPS = frozenset({"payment.AuthorizePayment", "payment.CapturePayment"})
VISA = "pm_card_visa"
WEBHOOK_SECRET = "whsec_of_a_test"
ANNA, BOB = a_customer(str(uuid7())), a_customer(str(uuid7()))
AT_ONCE = timedelta(0)
UNKNOWN = (Unavailable, DeadlineExceeded)


class Gone(Exception):
    """The process ended here."""


class Dying:
    """A provider that does what it is asked, for a process that does not live to hear of it."""

    def __init__(self, provider: StripeProvider) -> None:
        self._provider = provider

    def ask(self, payment: Payment, attempt: Attempt) -> Answer:
        """Do it, and let nobody hear."""
        self._provider.ask(payment, attempt)
        raise Gone


@dataclass
class Shop:
    """The service, those who call it, and the provider."""

    served: Served
    database: Database
    provider: ProviderProcess
    resolution: Resolution
    stripe: StripeProvider
    reconciliation: Reconciliation
    payments: Payments
    dying: Payments

    def __post_init__(self) -> None:
        self.order: Any = self.served.stub(PaymentServiceStub, caller="order")
        self.agreed: dict[str, Grant] = {}
        self._sign = self.served.granter().sign
        self.finance: Any = self.as_user(staff("finance"))

    def as_user(self, principal: Principal) -> Any:
        return self.served.stub(PaymentServiceStub, principal)

    def authorize(
        self,
        card: str = VISA,
        cents: int = 2500,
        payment_id: str = "",
        customer: Principal = ANNA,
        within: float = 30.0,
    ) -> pb.Payment:
        request = pb.AuthorizePaymentRequest(
            payment_id=payment_id or str(uuid7()),
            order_id=str(uuid7()),
            customer_id=customer.subject,
            amount=eur(cents),
            payment_method=card,
        )
        with self.consent(grant_for(request)):
            payment: pb.Payment = self.order.AuthorizePayment(request, timeout=within)
        return payment

    def capture(self, payment_id: str, cents: int, currency: str = "EUR", within: float = 30.0) -> pb.Payment:
        amount = Money(cents, currency)
        known = self.agreed.get(payment_id) or Grant(ANNA.subject, "", payment_id, "", amount, STEPS)
        # As far as it goes by the customer: what else stands against it is the service's to say.
        with self.consent(replace(known, cap=amount)):
            payment: pb.Payment = self.order.CapturePayment(
                pb.CapturePaymentRequest(payment_id=payment_id, amount=money_to_pb(amount)), timeout=within
            )
        return payment

    @contextmanager
    def consent(self, grant: Grant) -> Iterator[None]:
        """Work for somebody who agreed to it."""
        self.agreed[grant.payment_id] = grant
        with on_behalf_of(grant.customer_id, grant=self._sign(grant)):
            yield

    def captured(self, cents: int = 2500) -> pb.Payment:
        return self.capture(self.authorize(cents=cents).id, cents)

    def void(self, payment_id: str) -> pb.Payment:
        payment: pb.Payment = self.order.VoidPayment(pb.VoidPaymentRequest(payment_id=payment_id))
        return payment

    def settle(self, payment_id: str, cents: int) -> pb.Payment:
        payment: pb.Payment = self.order.SettleCash(pb.SettleCashRequest(payment_id=payment_id, amount=eur(cents)))
        return payment

    def refund(self, payment_id: str, cents: int, key: str = "", within: float = 30.0) -> pb.Payment:
        payment: pb.Payment = self.finance.RefundPayment(
            pb.RefundPaymentRequest(id=payment_id, amount=eur(cents), reason="broken", request_id=key or str(uuid7())),
            timeout=within,
        )
        return payment

    def get(self, payment_id: str) -> pb.Payment:
        payment: pb.Payment = self.finance.GetPayment(pb.GetPaymentRequest(id=payment_id))
        return payment

    def reconciled(self) -> pb.ReconcilePaymentsResponse:
        """What reconciling finds today, and around midnight yesterday: the provider's clock is this machine's."""
        days = {(datetime.now(UTC) - timedelta(minutes=ago)).date().isoformat() for ago in (0, 5)}
        replies = [self.finance.ReconcilePayments(pb.ReconcilePaymentsRequest(date=day)) for day in days]
        return pb.ReconcilePaymentsResponse(
            differences=[each for reply in replies for each in reply.differences],
            compared=sum(reply.compared for reply in replies),
        )

    def told(self, payment_id: str) -> list[str]:
        with self.database.reading() as connection:
            rows = connection.execute(
                "select type from outbox where aggregate_id = %s order by version", [payment_id]
            ).fetchall()
        return [row[0].rpartition(".Payment")[2] for row in rows]

    def booked(self, payment_id: str) -> dict[str, int]:
        """What the accounts changed by."""
        entries = self.finance.ListEntries(pb.ListEntriesRequest(payment_id=payment_id)).entries
        balance: dict[str, int] = {}
        for each in entries:
            amount = money_from_pb(each.amount).amount
            signed = amount if each.side == pb.LedgerEntry.DEBIT else -amount
            balance[each.account] = balance.get(each.account, 0) + signed
        assert sum(balance.values()) == 0
        return {account: amount for account, amount in balance.items() if amount}

    def tell(self, event: Event, signature: str | None = None, provider: str = "stripe") -> str:
        """What becomes of a webhook, signed as it should be unless given a signature."""
        signed = event.signature(WEBHOOK_SECRET, int(datetime.now(UTC).timestamp())) if signature is None else signature
        request = pb.HandleWebhookRequest(provider=provider, body=event.body, signature=signed)
        stub: Any = self.as_user(Principal())
        return pb.HandleWebhookResponse.Outcome.Name(stub.HandleWebhook(request).outcome)

    def events(self, payment_id: str) -> list[Event]:
        """What the provider has to tell of a payment, in the order in which it happened."""
        lines = [(line, [restore(fields) for fields in line["changes"]]) for line in self.provider.log()]
        return [
            event
            for line, changes in lines
            if any(each.metadata.get("payment_id") == payment_id for each in changes)
            for event in events_of(line, changes)
        ]

    def stands(self, payment_id: str) -> tuple[str, int, int]:
        """The state of a payment, and what was captured and refunded of it."""
        payment = self.get(payment_id)
        amounts = money_from_pb(payment.captured).amount, money_from_pb(payment.refunded).amount
        return pb.Payment.State.Name(payment.state), *amounts

    def execute(self, statement: LiteralString, *values: object) -> None:
        """Change rows in a way that the service would not."""
        with self.database.transaction() as connection:
            connection.execute(statement, values)

    def resolve_all(self) -> None:
        """What the worker does until nothing is due."""
        while self.resolution.resolve_due():
            pass


def grant_for(request: pb.AuthorizePaymentRequest) -> Grant:
    """What a customer agreed to who wants just this."""
    method, cap = digest(request.payment_method), money_from_pb(request.amount)
    return Grant(request.customer_id, request.order_id, request.payment_id, method, cap, STEPS)


def eur(cents: int) -> Any:
    return money_to_pb(Money(cents, "EUR"))


def work_of(shop: Shop) -> PaymentWork:
    """A transaction of the service's own."""
    return PaymentWork(shop.database, service="payment")


def attempt_of(payment: Payment, kind: Kind = Kind.AUTHORIZE, amount: int = 0) -> Attempt:
    """An attempt that is not the service's own."""
    now = datetime.now(UTC)
    cents = amount or payment.amount.amount
    return Attempt(uuid7(), payment.id, kind, 99, cents, Progress.PENDING, "", 0, now)


def behind_our_back(shop: Shop, payment_id: str, kind: Kind, amount: int = 0) -> None:
    """Let the provider do something that the service neither asked for nor hears of."""
    with work_of(shop) as work:
        payment = work.payments.lock(UUID(payment_id))
    shop.stripe.ask(payment, attempt_of(payment, kind, amount))


@contextmanager
def opened(database: Database, provider: ProviderProcess, caps: Caps = CAPS) -> Iterator[Shop]:
    """The service, whose worker may take over at once: nothing is leased."""
    connection = StripeConnection(KEY, provider.url, timedelta(seconds=1), timedelta(milliseconds=300))
    connection.prepare()
    stripe = StripeProvider(connection, SystemClock(), timedelta(hours=20))

    def work() -> PaymentWork:
        return PaymentWork(database, service="payment")

    resolution = Resolution(work, stripe, Leases(AT_ONCE, AT_ONCE))
    dying = Payments(work, Resolution(work, Dying(stripe), Leases(AT_ONCE, AT_ONCE)), AT_ONCE)
    queries = PaymentQueries(database)
    payments = Payments(work, resolution, AT_ONCE, caps)
    observation = Observation(work, stripe, resolution)
    reconciliation = Reconciliation(queries, stripe, SafeRepairs(work, stripe, resolution, observation))
    webhooks = Webhooks(observation, Secret(WEBHOOK_SECRET), SystemClock())
    servicer = PaymentServicer(payments, webhooks, reconciliation, Reports(database), queries, PageTokens("secret"))
    with serve(servicer, threads=32) as served:
        yield Shop(served, database, provider, resolution, stripe, reconciliation, payments, dying)
    connection.close()
