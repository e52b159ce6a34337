"""What orders learn from their neighbours' events."""

from uuid import UUID

from mercato import log
from mercato.clock import Clock
from mercato.errors import NotFound
from mercato.money import Money
from services.order import decisions
from services.order.changes import Changes, Decide
from services.order.store import OrderWork


class Following:
    """Takes over what happened elsewhere, in the transaction of whoever listens. Heard before or twice: no matter."""

    def __init__(self, changes: Changes, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock

    def shipment_picked_up(self, work: OrderWork, order_id: UUID, shipment_id: UUID) -> None:
        """A courier took it along."""
        self._decide(work, order_id, lambda order: decisions.picked_up(order, shipment_id))

    def shipment_delivered(
        self, work: OrderWork, order_id: UUID, shipment_id: UUID, cash_collected: Money | None
    ) -> None:
        """It was handed over."""
        now = self._clock.now()
        self._decide(work, order_id, lambda order: decisions.delivered(order, shipment_id, cash_collected, now))

    def shipment_failed(self, work: OrderWork, order_id: UUID, shipment_id: UUID) -> None:
        """It could not be handed over."""
        self._decide(work, order_id, lambda order: decisions.delivery_failed(order, shipment_id))

    def payment_captured(self, work: OrderWork, order_id: UUID, payment_id: UUID, captured: Money) -> None:
        """Money was taken."""
        self._decide(work, order_id, lambda order: decisions.note_payment(order, payment_id, captured, None))

    def payment_refunded(self, work: OrderWork, order_id: UUID, payment_id: UUID, refunded: Money) -> None:
        """Money was given back, by whomever: so much in all."""
        self._decide(work, order_id, lambda order: decisions.note_payment(order, payment_id, None, refunded))

    def user_erased(self, work: OrderWork, customer_id: UUID) -> None:
        """A customer is to be forgotten; what nobody has begun to pick cannot be brought to anybody any more."""
        # Events first, then what is personal, as in every change: two that go different ways would wait for each other.
        for order_id in work.personal.forget(customer_id):
            self._decide(work, order_id, decisions.forget)
        work.personal.erase(customer_id)

    def _decide(self, work: OrderWork, order_id: UUID, decide: Decide) -> None:
        try:
            self._changes.decide(work, order_id, decide)
        except NotFound:
            log.get(__name__).warning("order.unknown", order_id=str(order_id))
