"""PaymentService: requests to use cases, and back."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from uuid import UUID

from grpc import ServicerContext

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.errors import InvalidArgument
from mercato.group_commit import Turn
from mercato.pagination import PageTokens
from mercato.reports import Reports
from mercato.rpc import current_call
from mercato.rpc.set_form import Item, SetForm
from mercato.wire import money_from_pb
from services.payment import messages
from services.payment.domain import Payment
from services.payment.observation import Webhooks
from services.payment.queries import PaymentQueries
from services.payment.reconciliation import Reconciliation
from services.payment.usecases import Payments


class PaymentServicer:
    """Serves payments and the ledger."""

    contract = pb.DESCRIPTOR.services_by_name["PaymentService"]

    def __init__(
        self,
        payments: Payments,
        webhooks: Webhooks,
        reconciliation: Reconciliation,
        reports: Reports,
        queries: PaymentQueries,
        pages: PageTokens,
    ) -> None:
        self._payments = payments
        self._webhooks = webhooks
        self._reconciliation = reconciliation
        self._reports = reports
        self._queries = queries
        self._pages = pages

    def exempt(self, request: pb.AuthorizePaymentRequest | pb.CapturePaymentRequest) -> bool:
        """Whether a request that shows no grant is about a payment from before there were any."""
        return self._queries.precedes_grants(UUID(request.payment_id))

    @property
    def together(self) -> Mapping[str, SetForm]:
        """What calls that come in one message are done by."""
        return {"AuthorizePayment": self._authorize_together}

    def AuthorizePayment(self, request: pb.AuthorizePaymentRequest, context: ServicerContext) -> pb.Payment:
        return messages.payment_to_pb(self._payments.authorize_payment(_asked(request)))

    def _authorize_together(self, items: Sequence[Item]) -> list[pb.Payment | Exception]:
        outcomes = self._payments.authorize_together(
            [Turn(_asked(item.request), item.call, item.context) for item in items]
        )
        return [each if isinstance(each, Exception) else messages.payment_to_pb(each) for each in outcomes]

    def CapturePayment(self, request: pb.CapturePaymentRequest, context: ServicerContext) -> pb.Payment:
        amount = money_from_pb(request.amount, "amount")
        return messages.payment_to_pb(self._payments.capture_payment(UUID(request.payment_id), amount))

    def VoidPayment(self, request: pb.VoidPaymentRequest, context: ServicerContext) -> pb.Payment:
        return messages.payment_to_pb(self._payments.void_payment(UUID(request.payment_id)))

    def SettleCash(self, request: pb.SettleCashRequest, context: ServicerContext) -> pb.Payment:
        amount = money_from_pb(request.amount, "amount")
        return messages.payment_to_pb(self._payments.settle_cash(UUID(request.payment_id), amount))

    def ListPayments(self, request: pb.ListPaymentsRequest, context: ServicerContext) -> pb.ListPaymentsResponse:
        page = self._pages.page(request)
        payments = page.of(
            self._queries.payments(
                _only_of(),
                UUID(request.order_id) if request.order_id else None,
                pb.Payment.State.Name(request.state) if request.state else "",
                page.after,
                page.most,
            ),
            lambda last: (last.create_time.isoformat(), str(last.id)),
        )
        listed = [messages.payment_to_pb(each) for each in payments.items]
        return pb.ListPaymentsResponse(payments=listed, next_page_token=payments.next_page_token)

    def GetPayment(self, request: pb.GetPaymentRequest, context: ServicerContext) -> pb.Payment:
        return messages.payment_to_pb(self._queries.payment(UUID(request.id), _only_of()))

    def RefundPayment(self, request: pb.RefundPaymentRequest, context: ServicerContext) -> pb.Payment:
        amount = money_from_pb(request.amount, "amount")
        payment = self._payments.refund_payment(UUID(request.id), amount, request.reason, current_call().key)
        return messages.payment_to_pb(payment)

    def ListAccounts(self, request: pb.ListAccountsRequest, context: ServicerContext) -> pb.ListAccountsResponse:
        page = self._pages.page(request)
        accounts = page.of(self._queries.accounts(page.after, page.most), lambda last: (last.id, last.debits.currency))
        listed = [messages.account_to_pb(each) for each in accounts.items]
        return pb.ListAccountsResponse(accounts=listed, next_page_token=accounts.next_page_token)

    def ListEntries(self, request: pb.ListEntriesRequest, context: ServicerContext) -> pb.ListEntriesResponse:
        page = self._pages.page(request)
        payment_id = UUID(request.payment_id) if request.payment_id else None
        entries = page.of(
            self._queries.entries(request.account, payment_id, page.after, page.most),
            lambda last: (last.create_time.isoformat(), str(last.id)),
        )
        listed = [messages.entry_to_pb(each) for each in entries.items]
        return pb.ListEntriesResponse(entries=listed, next_page_token=entries.next_page_token)

    def HandleWebhook(self, request: pb.HandleWebhookRequest, context: ServicerContext) -> pb.HandleWebhookResponse:
        outcome = self._webhooks.handle_webhook(request.provider, request.body, request.signature)
        return pb.HandleWebhookResponse(outcome=pb.HandleWebhookResponse.Outcome.Value(outcome))

    def ReconcilePayments(
        self, request: pb.ReconcilePaymentsRequest, context: ServicerContext
    ) -> pb.ReconcilePaymentsResponse:
        day = _day(request.date)

        def reconcile() -> pb.ReconcilePaymentsResponse:
            comparison = self._reconciliation.reconcile_payments(day)
            differences = [messages.difference_to_pb(each) for each in comparison.differences]
            return pb.ReconcilePaymentsResponse(differences=differences, compared=comparison.compared)

        return self._reports.once(current_call().key, pb.ReconcilePaymentsResponse, reconcile)


def _asked(request: pb.AuthorizePaymentRequest) -> Payment:
    return Payment.asked(
        UUID(request.payment_id),
        UUID(request.order_id),
        UUID(request.customer_id),
        money_from_pb(request.amount, "amount"),
        request.payment_method,
    )


def _only_of() -> UUID | None:
    only_of = current_call().only_of
    return UUID(only_of) if only_of else None


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
        _ = day + timedelta(days=1)  # the last day of all has no end
    except (ValueError, OverflowError):
        raise InvalidArgument.of("date", "is no day of the calendar", "DATE") from None
    return day
