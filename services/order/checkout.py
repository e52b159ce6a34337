"""The checkout, and the way back: the calls that secure stock, slot and money, and those that give them up again.

Each function makes its calls from the first on and answers with the decision that they led to. It may be stopped
between any two lines and begun anew: the ids are derived from the order, and the neighbours do each thing once. What is
given up before it arrives leaves a tombstone there, so that a call that is late finds itself refused.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from mercato import log
from mercato.errors import MercatoError
from mercato.money import Money
from services.order import decisions
from services.order.decisions import NOTHING, Events
from services.order.domain import Order, hold_of, reservation_of, shipment_of
from services.order.events import OrderCancelled, OrderRejected, ShortLine, State
from services.order.neighbours import Deliveries, Inventory, Payments, Taken
from services.order.tasks import Task

Decide = Callable[[Order], Events]

# What a neighbour may decide against an order. Any other refusal (a warehouse that it does not know, a policy that does
# not admit us) is a mistake that somebody can repair, and is asked again until the deadline, like silence.
NOES = frozenset(
    {"OUT_OF_STOCK", "SLOT_FULL", "SLOT_CLOSED", "PAYMENT_DECLINED", "UNKNOWN_PAYMENT_METHOD", "TOO_MANY_DECLINES"}
)
TIMED_OUT = OrderRejected("CHECKOUT_TIMED_OUT")
_log = log.get(__name__)


def refused(error: MercatoError, noes: frozenset[str]) -> bool:
    """Whether a neighbour said one of these; anything else is no answer, and asked for again."""
    return error.definite and error.reason in noes


def decline_code(error: MercatoError) -> str:
    """Why the money could not be taken, in the provider's words if it gave any."""
    return str(error.metadata.get("decline_code") or error.metadata.get("declineCode") or error.reason.lower())


class Checkout:
    """Secures what an order needs."""

    def __init__(self, inventory: Inventory, deliveries: Deliveries, payments: Payments) -> None:
        self._inventory = inventory
        self._deliveries = deliveries
        self._payments = payments

    def check_out(self, order: Order, *, overdue: bool) -> Decide:
        """Secure stock, slot and money, or come to a no."""
        if overdue:
            return lambda now: decisions.reject(now, TIMED_OUT)
        try:
            warehouse_id, payment_method = self._secure(order)
        except MercatoError as error:
            if not refused(error, NOES):
                raise
            rejection = _rejection(error)
            return lambda now: decisions.reject(now, rejection)
        return lambda now: decisions.confirm(now, warehouse_id, payment_method)

    def _secure(self, order: Order) -> tuple[str, str]:
        reservation_id, hold_id = reservation_of(order.id), hold_of(order.id)
        warehouse_id = self._inventory.reserve_stock(reservation_id, order.id, order.warehouse_ids, order.lines)
        self._deliveries.hold_slot(hold_id, order.id, order.slot.id)
        payment_method = self._payments.authorize_payment(
            order.payment_id, order.id, order.customer_id, order.total, order.payment_token
        )
        # What expired meanwhile is refused here, and reserved afresh when all is asked again.
        self._inventory.commit_reservation(reservation_id)
        self._deliveries.confirm_slot(hold_id)
        return warehouse_id, payment_method

    def compensate(self, order: Order, task: Task) -> Decide:
        """Give up what the order may hold, in reverse, whether or not it ever arrived."""
        cancellation = order.cancellation
        if cancellation and order.picked is not None:
            return self._refund_whole(order, cancellation, task)
        steps: list[Callable[[], object]] = [
            lambda: give_back(self._payments, order, task),
            lambda: self._deliveries.release_slot(hold_of(order.id)),
            lambda: self._inventory.release_reservation(reservation_of(order.id)),
        ]
        if cancellation and cancellation.from_state is not State.PENDING:
            steps.insert(0, lambda: self._deliveries.cancel_shipment(shipment_of(order.id)))
        each_of(steps)
        return lambda _: NOTHING

    def _refund_whole(self, order: Order, cancellation: OrderCancelled, task: Task) -> Decide:
        """The goods are out of the books; only the money is left to give back."""
        if cancellation.refund is None:
            give_back(self._payments, order, task)
            return lambda _: NOTHING
        payment_id = order.payment_id
        request_id = task.refund_id(order.id, "cancelled")
        taken = refund(self._payments, payment_id, cancellation.refund, "cancelled", request_id, task)
        return lambda now: decisions.note_payment(now, payment_id, taken.captured, taken.refunded)


def each_of(steps: Iterable[Callable[[], object]]) -> None:
    """Take every step though one fails: what can be given up today is. The first failure is raised in the end."""
    failures: list[MercatoError] = []
    for step in steps:
        try:
            step()
        except MercatoError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def give_back(payments: Payments, order: Order, task: Task) -> None:
    """Void every payment of the order; one that was taken after all is refunded."""
    each_of([partial(void, payments, each, task) for each in order.payment_ids])


def void(payments: Payments, payment_id: UUID, task: Task) -> None:
    """Take nothing by this payment."""
    try:
        payments.void_payment(payment_id)
    except MercatoError as error:
        if not refused(error, frozenset({"PAYMENT_CAPTURED"})):
            raise
        _log.error("payment.captured_though_voided", payment_id=str(payment_id))
        _refund_rest(payments, payment_id, "void", task)


def refund(payments: Payments, payment_id: UUID, amount: Money, reason: str, request_id: UUID, task: Task) -> Taken:
    """Give an amount back; if somebody has given back some of it already, what is left."""
    if not amount:
        return payments.get_payment(payment_id)
    try:
        return payments.refund_payment(payment_id, amount, reason, request_id)
    except MercatoError as error:
        if not refused(error, frozenset({"REFUND_EXCEEDS_CAPTURE"})):
            raise
        return _refund_rest(payments, payment_id, reason, task)


def _refund_rest(payments: Payments, payment_id: UUID, reason: str, task: Task) -> Taken:
    taken = payments.get_payment(payment_id)
    if not taken.captured or taken.captured == taken.refunded:
        return taken
    rest = taken.captured - taken.refunded if taken.refunded else taken.captured
    # The amount is part of the id: what is left may be less when this is asked again.
    return payments.refund_payment(payment_id, rest, reason, task.refund_id(payment_id, f"rest:{rest}"))


def _rejection(error: MercatoError) -> OrderRejected:
    match error.reason:
        case "OUT_OF_STOCK":
            return OrderRejected("OUT_OF_STOCK", tuple(_short_lines(error.metadata)))
        case "PAYMENT_DECLINED" | "UNKNOWN_PAYMENT_METHOD":
            return OrderRejected("PAYMENT_DECLINED", decline_code=decline_code(error))
        case reason:
            return OrderRejected(reason)


def _short_lines(metadata: dict[str, Any]) -> Iterable[ShortLine]:
    for line in metadata.get("skus") or ():
        yield ShortLine(str(line["sku"]), int(line["wanted"]), int(line["available"]))
