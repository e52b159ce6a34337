"""An order is what happened to it: the order that its events make."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

from mercato.ids import derive
from mercato.money import Money
from services.order.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderDeliveryFailed,
    OrderLine,
    OrderOutForDelivery,
    OrderPaymentDue,
    OrderPicked,
    OrderPickingStarted,
    OrderPlaced,
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

CASH = "cash_on_delivery"
RETURN_WINDOW = timedelta(days=14)


class ReturnState(StrEnum):
    """Where a return stands."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Return:
    """The last return of an order."""

    number: int
    state: ReturnState
    lines: tuple[Quantity, ...]
    refund: Money


@dataclass(frozen=True)  # without slots: a dictionary is what can be copied at once (_changed)
class Order:
    """An order as its events have made it."""

    id: UUID
    customer_id: UUID
    state: State
    lines: tuple[OrderLine, ...]
    delivery_fee: Money
    slot: Slot
    warehouse_ids: tuple[str, ...]
    payment_token: str
    create_time: datetime
    payment_ids: tuple[UUID, ...]
    version: int = 1
    warehouse_id: str = ""
    payment_method: str = ""
    shipment_id: UUID | None = None
    rejection: OrderRejected | None = None
    cancellation: OrderCancelled | None = None
    picked: Mapping[str, int] | None = None
    attempts: int = 0
    attempt: PaymentRetried | None = None
    decline_code: str = ""
    redeliveries: int = 0
    redelivery: RedeliveryPlanned | None = None
    delivered_time: datetime | None = None
    last_return: Return | None = None
    returned: Mapping[str, int] = field(default_factory=dict)
    captured: Mapping[UUID, Money] = field(default_factory=dict)
    refunded: Mapping[UUID, Money] = field(default_factory=dict)
    grants: Mapping[UUID, str] = field(default_factory=dict)
    """What was agreed to for each payment, last; nothing in an order that was accepted before there were grants."""

    @property
    def currency(self) -> str:
        """The one currency that all of it is in."""
        return self.delivery_fee.currency

    @property
    def subtotal(self) -> Money:
        """What the goods cost as ordered."""
        return Money.total((line.total for line in self.lines), self.currency)

    @property
    def total(self) -> Money:
        """What is authorized: never more than that is taken."""
        return self.subtotal + self.delivery_fee

    @property
    def due(self) -> Money:
        """What is owed for the goods that were picked. The fee stays as placed."""
        return self.worth(quantities(self.picked or {})) + self.delivery_fee

    @property
    def cash_due(self) -> Money | None:
        """What the courier collects; None if it is paid otherwise."""
        method = self.attempt.payment_method if self.attempt else ""
        return self.due if (method or self.payment_token) == CASH else None

    @property
    def payment_id(self) -> UUID:
        """The payment that the order is, or is to be, paid with."""
        return self.payment_ids[-1]

    @property
    def grant(self) -> str:
        """What was agreed to for the payment that is to be taken, as it is signed."""
        return self.grants.get(self.attempt.payment_id if self.attempt else self.payment_id, "")

    @property
    def captured_total(self) -> Money:
        """What was taken, over all payments."""
        return Money.total(self.captured.values(), self.currency)

    @property
    def refunded_total(self) -> Money:
        """What was given back of that."""
        return Money.total(self.refunded.values(), self.currency)

    def worth(self, lines: Iterable[Quantity]) -> Money:
        """What these units cost at the prices of the order."""
        prices = {line.sku: line.unit_price for line in self.lines}
        return Money.total((prices[line.sku] * line.quantity for line in lines), self.currency)


def quantities(units: Mapping[str, int]) -> tuple[Quantity, ...]:
    """Units by SKU, as lines."""
    return tuple(Quantity(sku, quantity) for sku, quantity in units.items())


def by_sku(lines: Iterable[Quantity]) -> dict[str, int]:
    """Lines, as units by SKU."""
    return {line.sku: line.quantity for line in lines}


def first_payment(order_id: UUID) -> UUID:
    """The payment of the checkout."""
    return derive(order_id, "payment")


def reservation_of(order_id: UUID) -> UUID:
    """The claim on stock."""
    return derive(order_id, "reservation")


def hold_of(order_id: UUID) -> UUID:
    """The claim on a place of the first slot."""
    return derive(order_id, "hold")


def shipment_of(order_id: UUID) -> UUID:
    """The first shipment."""
    return derive(order_id, "shipment")


def replay(events: Iterable[Event]) -> Order | None:
    """The order that its whole history makes; None without one."""
    order: Order | None = None
    for event in events:
        order = evolve(order, event)
    return order


def evolve(order: Order | None, event: Event) -> Order:
    """The order after the event. Total: every event has its case, and no case decides anything."""
    if isinstance(event, OrderPlaced) and order is None:
        return _placed(event)
    if order is None:
        raise ValueError(f"a history does not begin with {type(event).__name__}")
    return _evolved(order, event)


def _changed(order: Order, **changes: Any) -> Order:
    """The order but for some of its fields. As `replace` does it, in a tenth of its time: replaying is mostly this."""
    changed = object.__new__(Order)
    changed.__dict__.update(order.__dict__, **changes)
    return changed


def _after(order: Order, **changes: Any) -> Order:
    """The order one version later."""
    return _changed(order, version=order.version + 1, **changes)


def _placed(event: OrderPlaced) -> Order:
    return Order(
        id=event.order_id,
        customer_id=event.customer_id,
        state=State.PENDING,
        lines=event.lines,
        delivery_fee=event.delivery_fee,
        slot=event.slot,
        warehouse_ids=event.warehouse_ids,
        payment_token=event.payment_method,
        create_time=event.time,
        payment_ids=(first_payment(event.order_id),),
        grants={first_payment(event.order_id): event.grant} if event.grant else {},
    )


def _evolved(order: Order, event: Event) -> Order:
    match event:
        case OrderPlaced():
            raise ValueError("an order is placed once")
        case OrderConfirmed():
            return _after(
                order, state=State.CONFIRMED, warehouse_id=event.warehouse_id, payment_method=event.payment_method
            )
        case OrderRejected():
            return _after(order, state=State.REJECTED, rejection=event)
        case OrderCancelled():
            return _after(order, state=State.CANCELLED, cancellation=event)
        case OrderPickingStarted():
            return _after(order, state=State.PICKING)
        case OrderPicked():
            return _after(order, picked=by_sku(event.lines))
        case PaymentNoted() | OrderPaymentDue() | PaymentRetried() | PaymentRetryFailed() | OrderReady():
            return _evolved_by_money(order, event)
        case OrderReturnRequested() | OrderReturnApproved() | OrderReturnRefused():
            return _evolved_by_return(order, event)
        case _:
            return _evolved_by_delivery(order, event)


def _evolved_by_money(
    order: Order, event: PaymentNoted | OrderPaymentDue | PaymentRetried | PaymentRetryFailed | OrderReady
) -> Order:
    match event:
        case OrderPaymentDue():
            return _after(order, state=State.PAYMENT_DUE)
        case PaymentRetried():
            # Without another one, nobody agreed anew: what was agreed to for this payment stands.
            grants = {**order.grants, event.payment_id: event.grant} if event.grant else order.grants
            return _after(order, attempt=event, attempts=event.number, grants=grants)
        case PaymentRetryFailed():
            return _after(order, attempt=None, decline_code=event.decline_code)
        case OrderReady():
            return _ready(order, event)
        case PaymentNoted():
            return _after(
                order,
                captured={**order.captured, event.payment_id: event.captured},
                refunded={**order.refunded, event.payment_id: event.refunded},
            )
        case _:
            assert_never(event)


def _ready(order: Order, event: OrderReady) -> Order:
    others = tuple(each for each in order.payment_ids if each != event.payment_id)
    order = _after(
        order,
        state=State.READY,
        payment_ids=(*others, event.payment_id),
        payment_method=event.payment_method,
        payment_token=(order.attempt.payment_method if order.attempt else "") or order.payment_token,
        attempt=None,
    )
    if order.redelivery:
        order = _changed(order, shipment_id=order.redelivery.shipment_id, slot=order.redelivery.slot, redelivery=None)
    if event.captured is not None:
        order = _changed(order, captured={**order.captured, event.payment_id: event.captured})
    return order


def _evolved_by_delivery(
    order: Order,
    event: ShipmentPlanned
    | OrderOutForDelivery
    | OrderDelivered
    | OrderDeliveryFailed
    | RedeliveryPlanned
    | RedeliveryFailed,
) -> Order:
    match event:
        case ShipmentPlanned():
            return _after(order, shipment_id=event.shipment_id)
        case OrderOutForDelivery():
            return _after(order, state=State.OUT_FOR_DELIVERY)
        case OrderDelivered():
            return _after(order, state=State.DELIVERED, delivered_time=event.time)
        case OrderDeliveryFailed():
            return _after(order, state=State.DELIVERY_FAILED)
        case RedeliveryPlanned():
            return _after(order, redelivery=event, redeliveries=event.number)
        case RedeliveryFailed():
            return _after(order, redelivery=None)
        case _:
            assert_never(event)


def _evolved_by_return(order: Order, event: OrderReturnRequested | OrderReturnApproved | OrderReturnRefused) -> Order:
    match event:
        case OrderReturnRequested():
            asked = Return(event.number, ReturnState.REQUESTED, event.lines, event.refund)
            return _after(order, last_return=asked)
        case OrderReturnApproved():
            given = replace(_last(order), state=ReturnState.APPROVED, refund=event.refund)
            returned = {sku: order.returned.get(sku, 0) for sku in (order.picked or {})}
            for line in given.lines:
                returned[line.sku] = returned.get(line.sku, 0) + line.quantity
            return _after(order, last_return=given, returned=returned)
        case OrderReturnRefused():
            return _after(order, last_return=replace(_last(order), state=ReturnState.REFUSED))
        case _:
            assert_never(event)


def _last(order: Order) -> Return:
    if order.last_return is None:
        raise ValueError("a return is decided after it was asked for")
    return order.last_return
