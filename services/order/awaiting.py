"""Decisions that only people can make about an order."""

from enum import StrEnum

from services.order.domain import Order, ReturnState
from services.order.events import State


class Decision(StrEnum):
    """What somebody has to decide."""

    PAYMENT = "PAYMENT"
    DELIVERY = "DELIVERY"
    RETURN = "RETURN"


def awaited(order: Order | None) -> Decision | None:
    """The decision that an order waits for; None while it goes on by itself."""
    if order is None:
        return None
    match order.state:
        case State.PAYMENT_DUE if not order.attempt:
            return Decision.PAYMENT
        case State.DELIVERY_FAILED if not order.redelivery:
            return Decision.DELIVERY
        case State.DELIVERED if order.last_return and order.last_return.state is ReturnState.REQUESTED:
            return Decision.RETURN
        case _:
            return None
