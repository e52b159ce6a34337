"""What may happen to an order next: pure functions from an order to events, which change nothing.

Asked for what has happened already, they answer with no event; asked for what cannot happen, they raise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from mercato.ids import derive
from mercato.money import Money
from services.order.domain import RETURN_WINDOW, Order, Return, ReturnState, by_sku, quantities
from services.order.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderDeliveryFailed,
    OrderOutForDelivery,
    OrderPaymentDue,
    OrderPicked,
    OrderPickingStarted,
    OrderReady,
    OrderRejected,
    OrderReturnApproved,
    OrderReturnRefused,
    OrderReturnRequested,
    PaymentNoted,
    PaymentRetried,
    PaymentRetryFailed,
    Quantity,
    RedeliveryFailed,
    RedeliveryPlanned,
    ShipmentPlanned,
    Slot,
    State,
)
from services.order.refusals import (
    DeliveryNotFailed,
    NoOpenReturn,
    OrderNotConfirmed,
    OrderNotDelivered,
    OrderNotPicking,
    OwnReturn,
    PaymentNotDue,
    PickedTooMuch,
    RestockedTooMuch,
    ReturnedTooMuch,
    ReturnOpen,
    ReturnWindowClosed,
    TooLateToCancel,
    UnknownLine,
)

Events = Sequence[Event]
NOTHING: Events = ()


def confirm(order: Order, warehouse_id: str, payment_method: str) -> Events:
    """The pivot. Whoever was called off or refused meanwhile stays so."""
    return [OrderConfirmed(warehouse_id, payment_method)] if order.state is State.PENDING else NOTHING


def reject(order: Order, rejection: OrderRejected) -> Events:
    """End the checkout with a no."""
    return [rejection] if order.state is State.PENDING else NOTHING


def cancel(order: Order, *, by_staff: bool) -> Events:
    """Call off an order that nobody has begun to pick; staff also one that could not be delivered."""
    match order.state:
        case State.CANCELLED:
            return NOTHING
        case State.PENDING | State.CONFIRMED:
            return [OrderCancelled(order.state)]
        case State.DELIVERY_FAILED if by_staff and not order.redelivery:
            taken = order.captured_total - order.refunded_total
            return [OrderCancelled(order.state, taken or None)]
        case _:
            raise TooLateToCancel(order.id, order.state)


def forget(order: Order) -> Events:
    """The customer was erased: what nobody has begun to pick cannot be brought to anybody."""
    return cancel(order, by_staff=False) if order.state in (State.PENDING, State.CONFIRMED) else NOTHING


def plan_shipment(order: Order, shipment_id: UUID) -> Events:
    """Note that the shipment exists."""
    return NOTHING if order.shipment_id or order.cancellation else [ShipmentPlanned(shipment_id)]


def start_picking(order: Order) -> Events:
    """Begin to pick a confirmed order."""
    match order.state:
        case State.PICKING:
            return NOTHING
        case State.CONFIRMED:
            return [OrderPickingStarted()]
        case _:
            raise OrderNotConfirmed(f"the order is {order.state}, not CONFIRMED", state=order.state)


def finish_picking(order: Order, picked: Mapping[str, int]) -> Events:
    """Say what was picked; what is not named was picked whole. Nothing at all calls the order off."""
    units = _picked(order, picked)
    match order.state:
        case State.PICKING if order.picked is None:
            return [OrderPicked(quantities(units))] if any(units.values()) else [OrderCancelled(State.PICKING)]
        case State.CANCELLED if order.cancellation == OrderCancelled(State.PICKING) and not any(units.values()):
            return NOTHING
        case _ if order.picked is not None and units == dict(order.picked):
            return NOTHING
        case _:
            raise OrderNotPicking(f"the order is {order.state}, not being picked", state=order.state)


def _picked(order: Order, picked: Mapping[str, int]) -> dict[str, int]:
    ordered = {line.sku: line.quantity for line in order.lines}
    _known(picked, ordered)
    if too_much := sorted(sku for sku, units in picked.items() if units > ordered[sku]):
        raise PickedTooMuch(f"more than was ordered of {', '.join(too_much)}", skus=too_much)
    return {**ordered, **picked}


def payment_failed(order: Order, decline_code: str) -> Events:
    """The money could not be taken: people have to look at it."""
    if order.attempt:
        return [PaymentRetryFailed(decline_code)]
    return [OrderPaymentDue(order.due)] if order.state is State.PICKING and order.picked is not None else NOTHING


def retry_payment(order: Order, payment_method: str) -> Sequence[PaymentRetried]:
    """Try to take the money again, by other means if named; they get a payment of their own."""
    if order.state is not State.PAYMENT_DUE:
        raise PaymentNotDue(f"the order is {order.state}, not PAYMENT_DUE", state=order.state)
    if order.attempt:
        return ()
    number = order.attempts + 1
    payment_id = derive(order.id, f"payment:{number}") if payment_method else order.payment_id
    return [PaymentRetried(number, payment_id, payment_method)]


def ready(order: Order, payment_id: UUID, payment_method: str, captured: Money | None) -> Events:
    """Packed, and paid or to be paid at the door."""
    waiting = (order.state is State.PICKING and order.picked is not None) or order.attempt
    return [OrderReady(payment_id, payment_method or order.payment_method, captured)] if waiting else NOTHING


def is_redelivered(order: Order, slot_id: str) -> bool:
    """Whether it goes out once more in that slot already. DeliveryNotFailed if it cannot."""
    if order.redelivery and order.redelivery.slot.id == slot_id:
        return True
    if order.state is not State.DELIVERY_FAILED or order.redelivery:
        raise DeliveryNotFailed(f"the order is {order.state}, or another delivery is planned", state=order.state)
    return False


def redeliver(order: Order, hold_id: UUID, slot: Slot) -> Events:
    """Send it out once more, in a slot that is held."""
    if is_redelivered(order, slot.id):
        return NOTHING
    number = order.redeliveries + 1
    return [RedeliveryPlanned(number, hold_id, derive(order.id, f"shipment:{number}"), slot)]


def is_to_go_out(order: Order, planned: RedeliveryPlanned) -> bool:
    """Whether this is the attempt that is being prepared: the courier may have been faster, and may have failed."""
    return order.redelivery is not None and order.redelivery.number == planned.number


def redelivery_failed(order: Order, planned: RedeliveryPlanned, reason: str) -> Events:
    """The slot of the new attempt was lost: another one has to be chosen."""
    return [RedeliveryFailed(reason)] if is_to_go_out(order, planned) else NOTHING


def ready_again(order: Order, planned: RedeliveryPlanned) -> Events:
    """Packed for the new attempt."""
    return [OrderReady(order.payment_id, order.payment_method, None)] if is_to_go_out(order, planned) else NOTHING


def picked_up(order: Order, shipment_id: UUID) -> Events:
    """A courier took it along: what we were about to write ourselves has then happened before."""
    if order.redelivery and order.redelivery.shipment_id == shipment_id:
        return [*ready_again(order, order.redelivery), OrderOutForDelivery(shipment_id)]
    match order.state:
        case State.READY if order.shipment_id == shipment_id:
            return [OrderOutForDelivery(shipment_id)]
        case State.PICKING | State.PAYMENT_DUE if order.picked is not None:
            return [*plan_shipment(order, shipment_id), *_paid(order), OrderOutForDelivery(shipment_id)]
        case _:
            return NOTHING


def _paid(order: Order) -> Events:
    """A shipment is ready only after its money was taken, so that a courier's event proves it."""
    payment_id = order.attempt.payment_id if order.attempt else order.payment_id
    return ready(order, payment_id, "", None if order.cash_due else order.due)


def delivered(order: Order, shipment_id: UUID, cash_collected: Money | None, now: datetime) -> Events:
    """It was handed over."""
    if order.state is State.OUT_FOR_DELIVERY and order.shipment_id == shipment_id:
        return [OrderDelivered(shipment_id, cash_collected, now)]
    return NOTHING


def delivery_failed(order: Order, shipment_id: UUID) -> Events:
    """It could not be handed over."""
    if order.state is State.OUT_FOR_DELIVERY and order.shipment_id == shipment_id:
        return [OrderDeliveryFailed(shipment_id)]
    return NOTHING


def note_payment(order: Order, payment_id: UUID, captured: Money | None, refunded: Money | None) -> Events:
    """Take over what the payment service says, whichever of its two sums it names."""
    zero = Money.zero(order.currency)
    had = order.captured.get(payment_id, zero), order.refunded.get(payment_id, zero)
    now = captured or had[0], max(refunded or zero, had[1])
    return NOTHING if now == had else [PaymentNoted(payment_id, *now)]


def request_return(order: Order, lines: Sequence[Quantity], now: datetime) -> Events:
    """Ask to give goods back: never more than was delivered and not yet given back."""
    if order.delivered_time is None:
        raise OrderNotDelivered(f"the order is {order.state}, not DELIVERED", state=order.state)
    if now - order.delivered_time > RETURN_WINDOW:
        raise ReturnWindowClosed
    if order.last_return and order.last_return.state is ReturnState.REQUESTED:
        raise ReturnOpen
    wanted = by_sku(lines)
    _known(wanted, {line.sku: line.quantity for line in order.lines})
    left = {sku: units - order.returned.get(sku, 0) for sku, units in (order.picked or {}).items()}
    if too_much := sorted(sku for sku, units in wanted.items() if units > left.get(sku, 0)):
        raise ReturnedTooMuch(f"less than that is left to give back of {', '.join(too_much)}", skus=too_much)
    number = order.last_return.number + 1 if order.last_return else 1
    return [OrderReturnRequested(number, tuple(lines), order.worth(lines))]


def approve_return(order: Order, restock: Sequence[Quantity], by: str) -> Events:
    """Give the money back, never more than is left of what was taken, and put on sale again what is fit."""
    asked = _open_return(order, by)
    coming = by_sku(asked.lines)
    _known(by_sku(restock), coming)
    if too_much := sorted(line.sku for line in restock if line.quantity > coming[line.sku]):
        raise RestockedTooMuch(f"less than that comes back of {', '.join(too_much)}", skus=too_much)
    refund = min(asked.refund, order.captured_total - order.refunded_total)
    return [OrderReturnApproved(refund, tuple(restock))]


def refuse_return(order: Order, by: str) -> Events:
    """Keep the money."""
    _open_return(order, by)
    return [OrderReturnRefused()]


def _open_return(order: Order, by: str) -> Return:
    if by == str(order.customer_id):
        raise OwnReturn
    if order.last_return is None or order.last_return.state is not ReturnState.REQUESTED:
        raise NoOpenReturn
    return order.last_return


def _known(named: Mapping[str, int], lines: Mapping[str, int]) -> None:
    if unknown := named.keys() - lines.keys():
        raise UnknownLine(unknown)
