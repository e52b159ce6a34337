"""The history of an order as its customer reads it: sentences and facts, nothing personal."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.order.domain import Order, evolve
from services.order.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderDeliveryFailed,
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
    State,
)

_WHY_REJECTED: Mapping[str, str] = {
    "OUT_OF_STOCK": "some of it is not in stock",
    "SLOT_FULL": "the delivery slot is full",
    "SLOT_CLOSED": "the delivery slot takes no more orders",
    "PAYMENT_DECLINED": "the payment was declined",
    "TOO_MANY_DECLINES": "too many payments were declined of late",
    "CHECKOUT_TIMED_OUT": "it could not be secured in time",
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it lies in its stream."""

    version: int
    time: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a history."""

    version: int
    type: str
    time: datetime
    text: str
    data: Mapping[str, str]


def history(stream: Iterable[Recorded], after_version: int = 0) -> Iterator[Entry]:
    """What is told of a stream beyond a version. Events that are told nobody are passed over."""
    order: Order | None = None
    for recorded in stream:
        order = evolve(order, recorded.event)
        told = _told(order, recorded.event)
        if told and recorded.version > after_version:
            text, data = told
            yield Entry(recorded.version, type(recorded.event).__name__, recorded.time, text, data)


def _told(order: Order, event: Event) -> tuple[str, dict[str, str]] | None:
    match event:
        case OrderPlaced():
            units = sum(line.quantity for line in order.lines)
            total = str(order.total)
            data = {"total": total, "lines": str(len(order.lines)), "zoneId": order.slot.zone_id}
            return f"Placed: {_items(units)} for {total}.", {**data, "slotId": order.slot.id}
        case OrderConfirmed():
            data = {"warehouseId": order.warehouse_id, "paymentId": str(order.payment_id)}
            return "Confirmed: the goods, the delivery slot and the payment are secured.", data
        case OrderRejected():
            why = _WHY_REJECTED.get(event.reason, event.reason)
            return f"Rejected: {why}. Nothing was charged.", _rejected(event)
        case OrderCancelled():
            return _cancelled(event)
        case OrderPickingStarted():
            return "Picking has begun.", {}
        case OrderPaymentDue():
            return f"Picked, but {event.amount} could not be charged.", {"amount": str(event.amount)}
        case OrderReady():
            return _ready(order, event)
        case _:
            return _told_after_ready(order, event)


def _told_after_ready(order: Order, event: Event) -> tuple[str, dict[str, str]] | None:
    match event:
        case OrderOutForDelivery():
            return "On its way.", {"shipmentId": str(event.shipment_id)}
        case OrderDelivered():
            return "Delivered.", {"shipmentId": str(event.shipment_id)}
        case OrderDeliveryFailed():
            return "It could not be delivered.", {"shipmentId": str(event.shipment_id)}
        case OrderReturnRequested():
            units = _units(event.lines)
            return f"A return of {_items(units)} was requested.", {"refund": str(event.refund), "items": str(units)}
        case OrderReturnApproved():
            units = _units(order.last_return.lines if order.last_return else ())
            text = f"The return was approved; {event.refund} is refunded."
            return text, {"refund": str(event.refund), "items": str(units)}
        case OrderReturnRefused():
            return "The return was refused.", {}
        case _:
            return None


def _rejected(event: OrderRejected) -> dict[str, str]:
    data = {"reason": event.reason}
    if event.skus:
        data["skus"] = ",".join(line.sku for line in event.skus)
    return {**data, "declineCode": event.decline_code} if event.decline_code else data


def _cancelled(event: OrderCancelled) -> tuple[str, dict[str, str]]:
    data = {"fromState": str(event.from_state)}
    if event.refund:
        return f"Cancelled; {event.refund} is refunded.", {**data, "refund": str(event.refund)}
    why = "nothing of it was to be found" if event.from_state is State.PICKING else ""
    return f"Cancelled{': ' + why if why else ''}. Nothing was charged.", data


def _ready(order: Order, event: OrderReady) -> tuple[str, dict[str, str]]:
    data = {"items": str(sum((order.picked or {}).values()))}
    if event.captured is not None:
        return f"Packed; {event.captured} was charged.", {**data, "captured": str(event.captured)}
    if order.cash_due:
        return f"Packed; {order.cash_due} is due at the door.", {**data, "cashDue": str(order.cash_due)}
    return "Packed again for another delivery.", data


def _units(lines: Iterable[Quantity]) -> int:
    return sum(line.quantity for line in lines)


def _items(units: int) -> str:
    return "1 item" if units == 1 else f"{units} items"
