"""What the order service says no to. The class name in UPPER_SNAKE is the reason that callers see."""

from collections.abc import Iterable
from uuid import UUID

from mercato.errors import FailedPrecondition, PermissionDenied, ResourceExhausted
from mercato.money import Money


class CartFull(FailedPrecondition):
    """A cart has no more lines than an order."""


class TooMuchHeld(ResourceExhausted):
    """The customer's pending orders hold as much as one customer may."""

    retry_after = 30.0


class EmptyCart(FailedPrecondition):
    """There is nothing to order."""

    def __init__(self) -> None:
        super().__init__("the cart is empty: put something in, or name lines")


class UnknownSku(FailedPrecondition):
    """Something that is not sold here, or not any more."""

    def __init__(self, skus: Iterable[str]) -> None:
        unknown = sorted(skus)
        super().__init__(f"not sold here: {', '.join(unknown)}", skus=unknown)


class PriceChanged(FailedPrecondition):
    """The total is another than the customer saw."""

    def __init__(self, expected: Money, total: Money) -> None:
        super().__init__(f"the total is {total} now, not {expected}", expected=str(expected), total=str(total))


class AddressNotServed(FailedPrecondition):
    """No zone delivers there."""


class BelowMinimum(FailedPrecondition):
    """The zone delivers from a higher subtotal on."""


class SlotClosed(FailedPrecondition):
    """The slot takes no orders any more, or is not of the address's zone."""


class SlotFull(FailedPrecondition):
    """The slot has no place left."""


class OutOfStock(FailedPrecondition):
    """Fewer units are free than were ordered."""


class PaymentDeclined(FailedPrecondition):
    """The means of payment was refused."""


class TooManyDeclines(ResourceExhausted):
    """Too many payments were declined of late: order again later, or pay cash on delivery."""

    retry_after = 600.0  # declines count for an hour; by then, some have gone by


class CheckoutTimedOut(FailedPrecondition):
    """The checkout could not be finished in time; nothing is owed."""


class TooLateToCancel(FailedPrecondition):
    """The order has gone too far to be called off."""

    def __init__(self, order_id: UUID, state: str) -> None:
        super().__init__(f"an order that is {state} cannot be cancelled", order_id=str(order_id), state=state)


class OrderNotConfirmed(FailedPrecondition):
    """Only a confirmed order is picked."""


class OrderNotPicking(FailedPrecondition):
    """Only what is being picked can have been picked."""


class UnknownLine(FailedPrecondition):
    """The order has no such line."""

    def __init__(self, skus: Iterable[str]) -> None:
        unknown = sorted(skus)
        super().__init__(f"not in this order: {', '.join(unknown)}", skus=unknown)


class PickedTooMuch(FailedPrecondition):
    """More was picked than ordered."""


class PaymentNotDue(FailedPrecondition):
    """There is no payment to be tried again."""


class DeliveryNotFailed(FailedPrecondition):
    """Only what could not be delivered goes out once more."""


class AddressErased(FailedPrecondition):
    """The person was erased; nobody knows the address any more."""


class OrderNotDelivered(FailedPrecondition):
    """Only what was delivered can be given back."""


class ReturnWindowClosed(FailedPrecondition):
    """Goods are taken back within 14 days of delivery."""


class ReturnOpen(FailedPrecondition):
    """Another return of this order is not decided yet."""


class ReturnedTooMuch(FailedPrecondition):
    """More would come back than was delivered and not yet given back."""


class NoOpenReturn(FailedPrecondition):
    """There is no return to decide."""


class RestockedTooMuch(FailedPrecondition):
    """More would go back on sale than comes back."""


class OwnReturn(PermissionDenied):
    """Nobody decides their own return."""

    reason = "OWN_RETURN"
