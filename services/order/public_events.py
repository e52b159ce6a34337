"""What others are told of an order: its public events and its history, made from the stored ones.

Pure functions, so that the store may change while the contract stays. What is told of nobody's business stays in the
store: such events leave a gap in the public versions.
"""

from collections.abc import Iterable

from google.protobuf.message import Message

from mercato.api.order.v1 import order_events_pb2 as events
from mercato.api.order.v1 import order_pb2 as pb
from mercato.wire import money_to_pb, time_to_pb
from services.order.domain import Order
from services.order.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderDeliveryFailed,
    OrderLine,
    OrderOutForDelivery,
    OrderPaymentDue,
    OrderPickingStarted,
    OrderPlaced,
    OrderReady,
    OrderRejected,
    OrderReturnApproved,
    OrderReturnRefused,
    OrderReturnRequested,
    Quantity,
)
from services.order.history import Entry


def public_event(order: Order, event: Event) -> Message | None:
    """What is told of an event that made the order what it is; None of what concerns nobody else."""
    id_ = str(order.id)
    match event:
        case OrderPlaced():
            return _placed(order)
        case OrderConfirmed():
            return events.OrderConfirmed(
                order_id=id_, warehouse_id=order.warehouse_id, payment_id=str(order.payment_id)
            )
        case OrderRejected():
            return events.OrderRejected(order_id=id_, reason=event.reason)
        case OrderCancelled():
            return events.OrderCancelled(order_id=id_, from_state=event.from_state)
        case OrderPickingStarted():
            return events.OrderPickingStarted(order_id=id_)
        case OrderPaymentDue():
            return events.OrderPaymentDue(order_id=id_, amount=money_to_pb(event.amount))
        case OrderReady():
            return _ready(order, event)
        case _:
            return _after_ready(order, event)


def _after_ready(order: Order, event: Event) -> Message | None:
    id_ = str(order.id)
    match event:
        case OrderOutForDelivery():
            return events.OrderOutForDelivery(order_id=id_, shipment_id=str(event.shipment_id))
        case OrderDelivered():
            return events.OrderDelivered(order_id=id_, shipment_id=str(event.shipment_id))
        case OrderDeliveryFailed():
            return events.OrderDeliveryFailed(order_id=id_, shipment_id=str(event.shipment_id))
        case OrderReturnRequested():
            return events.OrderReturnRequested(order_id=id_, lines=_facts(order, event.lines))
        case OrderReturnApproved() if order.last_return:
            lines = _facts(order, order.last_return.lines)
            return events.OrderReturnApproved(order_id=id_, lines=lines, refund=money_to_pb(event.refund))
        case OrderReturnRefused():
            return events.OrderReturnRefused(order_id=id_)
        case _:
            return None


def _placed(order: Order) -> events.OrderPlaced:
    return events.OrderPlaced(
        order_id=str(order.id),
        customer_id=str(order.customer_id),
        lines=[_fact(line, line.quantity) for line in order.lines],
        subtotal=money_to_pb(order.subtotal),
        delivery_fee=money_to_pb(order.delivery_fee),
        total=money_to_pb(order.total),
        zone_id=order.slot.zone_id,
        slot_id=order.slot.id,
    )


def _ready(order: Order, event: OrderReady) -> events.OrderReady:
    picked = order.picked or {}
    ready = events.OrderReady(
        order_id=str(order.id),
        lines=[_fact(line, picked[line.sku]) for line in order.lines if picked.get(line.sku)],
    )
    if event.captured is not None:
        ready.captured.CopyFrom(money_to_pb(event.captured))
    return ready


def _facts(order: Order, lines: Iterable[Quantity]) -> list[events.LineFact]:
    by_sku = {line.sku: line for line in order.lines}
    return [_fact(by_sku[line.sku], line.quantity) for line in lines]


def _fact(line: OrderLine, quantity: int) -> events.LineFact:
    return events.LineFact(
        sku=line.sku, product_id=line.product_id, quantity=quantity, unit_price=money_to_pb(line.unit_price)
    )


def entry_to_pb(entry: Entry) -> pb.OrderEvent:
    """An entry of the history."""
    return pb.OrderEvent(
        version=entry.version, type=entry.type, time=time_to_pb(entry.time), text=entry.text, data=entry.data
    )
