"""What a customer agrees to with an order: signed while they are there, for the time when they are not.

The grant is a part of what happened: it lies in the event by which they agreed, and stands or falls with it. So it is
there after every crash, goes wherever the order's history goes, and no later than that. It names nobody but by ids.
"""

from collections.abc import Sequence
from dataclasses import replace

from mercato.grants import Grant, Sign, digest
from mercato.keys import UnfitKey
from services.order.domain import Order, evolve
from services.order.events import OrderPlaced, PaymentRetried

STEPS = frozenset({"payment.AuthorizePayment", "payment.CapturePayment"})


def nobody(_grant: Grant) -> str:
    """Signs nothing: for a process that takes no orders, and has no key to sign with."""
    raise UnfitKey("a process that serves signs grants, and no other")


class Consent:
    """Has what people agree to signed."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign

    def placed(self, event: OrderPlaced) -> OrderPlaced:
        """An order, with what its customer agrees to: that all of it is taken, by the means that they named."""
        order = evolve(None, event)
        grant = Grant(
            customer_id=str(order.customer_id),
            order_id=str(order.id),
            payment_id=str(order.payment_id),
            method=digest(order.payment_token),
            cap=order.total,
            steps=STEPS,
        )
        return replace(event, grant=self._sign(grant))

    def retried(self, order: Order, events: Sequence[PaymentRetried]) -> list[PaymentRetried]:
        """Another attempt, with what is agreed to now: that what is due is taken, by the means that are named now."""
        return [replace(each, grant=self._sign(_again(order, each))) for each in events]


def _again(order: Order, event: PaymentRetried) -> Grant:
    return Grant(
        customer_id=str(order.customer_id),
        order_id=str(order.id),
        payment_id=str(event.payment_id),
        method=digest(event.payment_method or order.payment_token),
        cap=order.due,
        steps=STEPS,
    )
