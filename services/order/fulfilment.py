"""What follows a confirmed order: the shipment, the end of the picking, cash, another attempt, a return.

As in the checkout, each function makes its calls from the first on and answers with the decision they led to. Behind
the pivot there is no way back: what a neighbour does not do is asked for until it does. Only money may come to a no.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from mercato import log
from mercato.errors import MercatoError
from mercato.ids import derive
from mercato.money import Money
from services.order import decisions
from services.order.checkout import Decide, decline_code, each_of, refund, refused, void
from services.order.decisions import NOTHING
from services.order.domain import CASH, Order, hold_of, quantities, reservation_of, shipment_of
from services.order.events import OrderDelivered, OrderReturnApproved, RedeliveryPlanned
from services.order.neighbours import Deliveries, Inventory, Payments, Shipment
from services.order.personal import Personal
from services.order.tasks import Task

_NO_MONEY = frozenset(
    {
        "CAPTURE_FAILED",
        "CAPTURE_EXCEEDS_AUTHORIZATION",
        # Whoever names means of payment again agrees anew.
        "GRANT_EXPIRED",
        "PAYMENT_DECLINED",
        "PAYMENT_VOIDED",
        "TOO_MANY_DECLINES",
        "UNKNOWN_PAYMENT_METHOD",
    }
)
_SLOT_LOST = frozenset({"SLOT_FULL", "SLOT_CLOSED", "HOLD_RELEASED"})
_log = log.get(__name__)


class Fulfilment:
    """Sees a confirmed order through."""

    def __init__(
        self,
        inventory: Inventory,
        deliveries: Deliveries,
        payments: Payments,
        personal_of: Callable[[UUID], Personal],
    ) -> None:
        self._inventory = inventory
        self._deliveries = deliveries
        self._payments = payments
        self._personal_of = personal_of

    def ship(self, order: Order) -> Decide:
        """Create the shipment in the confirmed slot."""
        if order.cancellation:
            return lambda _: NOTHING
        shipment_id = shipment_of(order.id)
        cash_due = order.total if order.payment_token == CASH else None
        self._plan(order, shipment_id, hold_of(order.id), cash_due)
        return lambda now: decisions.plan_shipment(now, shipment_id)

    def _plan(self, order: Order, shipment_id: UUID, hold_id: UUID, cash_due: Money | None) -> None:
        personal = self._personal_of(order.id)
        self._deliveries.create_shipment(
            Shipment(shipment_id, order.id, hold_id, order.customer_id, personal, cash_due)
        )

    def finish(self, order: Order, task: Task) -> Decide:
        """Take the goods out of the books, take the money for them, and only then let the courier come."""
        planned = None if order.shipment_id else self.ship(order)
        self._inventory.consume_reservation(reservation_of(order.id), quantities(order.picked or {}))
        try:
            payment_method = self._pay(order)
        except MercatoError as error:
            if not refused(error, _NO_MONEY):
                raise
            return self._unpaid(order, decline_code(error), task)
        payment_id = order.attempt.payment_id if order.attempt else order.payment_id
        others = [each for each in order.payment_ids if each != payment_id]
        each_of([partial(void, self._payments, each, task) for each in others])
        self._deliveries.ready_shipment(order.shipment_id or shipment_of(order.id), order.cash_due)
        captured = None if order.cash_due else order.due
        return lambda now: [
            *(planned(now) if planned else NOTHING),
            *decisions.ready(now, payment_id, payment_method, captured),
        ]

    def _pay(self, order: Order) -> str:
        """Take what was picked: by the checkout's payment, or by the other means that were named since."""
        attempt, payment_method = order.attempt, order.payment_method
        payment_id = attempt.payment_id if attempt else order.payment_id
        if attempt and attempt.payment_method:
            payment_method = self._payments.authorize_payment(
                payment_id, order.id, order.customer_id, order.due, attempt.payment_method
            )
        if not order.cash_due:
            self._payments.capture_payment(payment_id, order.due)
        return payment_method

    def _unpaid(self, order: Order, code: str, task: Task) -> Decide:
        if order.attempt and order.attempt.payment_method:
            # Perhaps it was authorized before the capture failed.
            void(self._payments, order.attempt.payment_id, task)
        return lambda now: decisions.payment_failed(now, code)

    def redeliver(self, order: Order, event: RedeliveryPlanned) -> Decide:
        """Secure the new slot, plan the new shipment, let the courier come; of an attempt that is over, nothing."""
        if not decisions.is_to_go_out(order, event):
            return lambda _: NOTHING
        try:
            self._secure_slot(order, event)
        except MercatoError as error:
            if not refused(error, _SLOT_LOST):
                raise
            self._deliveries.release_slot(event.hold_id)
            reason = error.reason
            return lambda now: decisions.redelivery_failed(now, event, reason)
        self._plan(order, event.shipment_id, event.hold_id, order.cash_due)
        self._deliveries.ready_shipment(event.shipment_id, order.cash_due)
        return lambda now: decisions.ready_again(now, event)

    def _secure_slot(self, order: Order, event: RedeliveryPlanned) -> None:
        # Asked first for the case that the hold has run out; one that stands answers as the first time.
        self._deliveries.hold_slot(event.hold_id, order.id, event.slot.id)
        self._deliveries.confirm_slot(event.hold_id)

    def settle(self, order: Order, event: OrderDelivered) -> Decide:
        """Book the cash, never more than was owed."""
        collected, due = event.cash_collected or Money.zero(order.currency), order.due
        if collected != due:
            _log.warning("order.cash_differs", collected=str(collected), due=str(due))
        payment_id = order.payment_id
        taken = self._payments.settle_cash(payment_id, min(collected, due))
        return lambda now: decisions.note_payment(now, payment_id, taken.captured, taken.refunded)

    def take_back(self, order: Order, event: OrderReturnApproved, task: Task) -> Decide:
        """Give the money of a return back, and put on sale again what is fit."""
        payment_id, number = order.payment_id, task.version
        request_id = task.refund_id(order.id, str(number))
        taken = refund(self._payments, payment_id, event.refund, "return", request_id, task)
        if event.restock:
            return_id = derive(order.id, f"return:{number}")
            self._inventory.restock_return(return_id, order.id, order.warehouse_id, event.restock)
        return lambda now: decisions.note_payment(now, payment_id, taken.captured, taken.refunded)
