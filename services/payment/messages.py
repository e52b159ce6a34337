"""Payments, the ledger and events as protobuf messages."""

from google.protobuf.message import Message
from google.type import money_pb2

from mercato.api.payment.v1 import payment_events_pb2 as events
from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.money import Money
from mercato.wire import money_to_pb, time_to_pb
from services.payment.domain import Happened, Payment
from services.payment.ledger import Account, Entry
from services.payment.reconciliation import Difference, Repair

_REPAIRS = {
    Repair.NONE: pb.Difference.REPAIR_UNSPECIFIED,
    Repair.UNDER_WAY: pb.Difference.UNDER_WAY,
    Repair.COMPLETED: pb.Difference.COMPLETED,
    Repair.RECORDED: pb.Difference.RECORDED,
    Repair.GIVEN_BACK: pb.Difference.GIVEN_BACK,
}


def payment_to_pb(payment: Payment) -> pb.Payment:
    return pb.Payment(
        id=str(payment.id),
        order_id=str(payment.order_id or ""),
        state=pb.Payment.State.Value(payment.state),
        method=payment.method,
        authorized=_money(payment.authorized),
        captured=_money(payment.captured),
        refunded=_money(payment.refunded),
        create_time=time_to_pb(payment.create_time),
        customer_id=str(payment.customer_id or ""),
        decline_code=payment.decline_code,
        etag=str(payment.version),
        update_time=time_to_pb(payment.update_time),
    )


def account_to_pb(account: Account) -> pb.LedgerAccount:
    return pb.LedgerAccount(id=account.id, debits=money_to_pb(account.debits), credits=money_to_pb(account.credits))


def entry_to_pb(entry: Entry) -> pb.LedgerEntry:
    return pb.LedgerEntry(
        id=str(entry.id),
        transaction_id=str(entry.transaction_id),
        account=entry.account,
        side=pb.LedgerEntry.Side.Value(entry.side),
        amount=money_to_pb(entry.amount),
        create_time=time_to_pb(entry.create_time),
        payment_id=str(entry.payment_id),
    )


def difference_to_pb(difference: Difference) -> pb.Difference:
    return pb.Difference(
        payment_id=difference.payment_id,
        provider_reference=difference.reference,
        kind=pb.Difference.Kind.Value(difference.kind),
        ours=difference.ours,
        theirs=difference.theirs,
        repair=_REPAIRS[difference.repair],
    )


def event_of(payment: Payment, happened: Happened, moved: Money | None) -> Message:
    """What is told of a payment; `moved` is the amount that it is about."""
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    amount = money_to_pb(moved) if moved else None
    match happened:
        case Happened.AUTHORIZED:
            return events.PaymentAuthorized(**ids, amount=amount)
        case Happened.DECLINED:
            return events.PaymentDeclined(**ids, decline_code=payment.decline_code)
        case Happened.CAPTURED:
            return events.PaymentCaptured(**ids, amount=amount)
        case Happened.VOIDED:
            return events.PaymentVoided(**ids)
        case Happened.REFUNDED:
            return events.PaymentRefunded(**ids, amount=amount, refunded_total=money_to_pb(payment.refunded))


def _money(money: Money) -> money_pb2.Money | None:
    # A tombstone has no currency, and then nothing to say.
    return money_to_pb(money) if money.currency else None
