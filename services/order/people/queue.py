"""The queue for people: what waits for them, since when, and what they can do about it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from mercato.errors import NotFound
from mercato.ops.stuck import NothingToRetry, Stuck
from services.order import decisions
from services.order.awaiting import Decision
from services.order.changes import Changes
from services.order.people.store import Waiting, WaitingQueries
from services.order.store import OrderWork
from services.order.tasks import Kind

# What is waited for, and what to do.
ADVICE: Mapping[str, tuple[str, str]] = {
    Decision.PAYMENT: (
        "another means of payment",
        "Ask the customer for one: POST /v1/orders/{id}:retryPayment {paymentMethod}. A retry tries the same again.",
    ),
    Decision.DELIVERY: (
        "another delivery, or a refund",
        "Choose a slot: POST /v1/orders/{id}:redeliver {slotId}. Or give the money back: POST /v1/orders/{id}:cancel.",
    ),
    Decision.RETURN: (
        "the decision on a return",
        "Look at what came back: POST /v1/orders/{id}:approveReturn {restock}, or :refuseReturn {reason}.",
    ),
    Kind.CHECK_OUT: (
        "stock, slot and payment",
        "It is given up by itself at its deadline. See why the neighbour refuses or is silent: other orders wait too.",
    ),
    Kind.SHIP: (
        "delivery, to plan the shipment",
        "Mend what delivery refuses and retry; or cancel the order, which gives back stock, slot and money.",
    ),
    Kind.COMPENSATE: (
        "stock, slot and money to be given back",
        "Mend what the neighbour refuses and retry. A refund that was refused is asked for anew each time.",
    ),
    Kind.FINISH: (
        "stock, money and shipment of what was picked",
        "Mend what the neighbour refuses and retry.",
    ),
    Kind.REDELIVER: ("delivery, to plan the new shipment", "Mend what delivery refuses and retry."),
    Kind.SETTLE: ("payment, to book the cash", "Mend what payment refuses and retry."),
    Kind.TAKE_BACK: (
        "the refund of a return, and its goods to be put back",
        "Ask the provider why it refuses, and retry. It is asked for anew each time.",
    ),
}


class OrderQueue:
    """What operations know of orders that wait for people."""

    def __init__(
        self, queries: WaitingQueries, work: Callable[[], OrderWork], changes: Changes, wake: Callable[[], Any]
    ) -> None:
        self._queries = queries
        self._work = work
        self._changes = changes
        self._wake = wake

    def in_flight(self) -> int:
        """How many things that events demand are not done."""
        return self._queries.in_flight()

    def count(self) -> int:
        """How many orders wait for a person."""
        return self._queries.count()

    def find(self, after: tuple[datetime, str] | None, limit: int) -> Sequence[Stuck]:
        """Some of them, the oldest first."""
        return [_stuck(each) for each in self._queries.find((after[0], UUID(after[1])) if after else None, limit)]

    def retry(self, stuck_id: str) -> int:
        """Try now what neighbours did not do, or the same means of payment once more; begin again what was lost.

        NotFound, NothingToRetry.
        """
        try:
            order_id = UUID(stuck_id)
        except ValueError:
            raise NotFound from None
        with self._work() as work:
            retried = work.awaited.try_at_once(order_id) or self._decide_again(work, order_id)
        self._wake()
        return retried

    def _decide_again(self, work: OrderWork, order_id: UUID) -> int:
        match work.awaited.of(order_id):
            case None:
                # The auditor finds orders that wait for us while nobody is at it. Every step of it may be repeated.
                return self._changes.demand_again(work, order_id) or _nothing(order_id)
            case Decision.PAYMENT:
                self._changes.decide(work, order_id, lambda order: decisions.retry_payment(order, ""))
                return 1
            case decision:
                raise NothingToRetry(ADVICE[decision][1].replace("{id}", str(order_id)))


def _nothing(order_id: UUID) -> int:
    raise NotFound(f"order {order_id} waits for nobody")


def _stuck(waiting: Waiting) -> Stuck:
    waits_for, advice = ADVICE[waiting.waits_for]
    return Stuck(
        str(waiting.order_id),
        waiting.state,
        waiting.since,
        waits_for,
        waiting.attempts,
        waiting.last_reason,
        advice.replace("{id}", str(waiting.order_id)),
    )
