"""The words of orders, and what may happen to one: frozen events in the past tense, none of which names a person."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from mercato.money import Money


class State(StrEnum):
    """Where an order stands."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    PICKING = "PICKING"
    PAYMENT_DUE = "PAYMENT_DUE"
    READY = "READY"
    OUT_FOR_DELIVERY = "OUT_FOR_DELIVERY"
    DELIVERED = "DELIVERED"
    DELIVERY_FAILED = "DELIVERY_FAILED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One SKU of an order, at the price at which it was ordered."""

    sku: str
    product_id: str
    title: str
    quantity: int
    unit_price: Money

    @property
    def total(self) -> Money:
        """What the line costs as ordered."""
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Quantity:
    """Units of one SKU."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One hour in which an order shall arrive."""

    id: str
    zone_id: str
    start_time: datetime
    end_time: datetime


@dataclass(frozen=True, slots=True)
class ShortLine:
    """A line for which the stock did not suffice."""

    sku: str
    wanted: int
    available: int


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """A customer placed an order. `grant` is what they agreed to (`mercato.grants`)."""

    order_id: UUID
    customer_id: UUID
    lines: tuple[OrderLine, ...]
    delivery_fee: Money
    slot: Slot
    warehouse_ids: tuple[str, ...]
    payment_method: str
    time: datetime
    grant: str = ""


@dataclass(frozen=True, slots=True)
class OrderConfirmed:
    """Stock, slot and money are secured: from here on only forward."""

    warehouse_id: str
    payment_method: str


@dataclass(frozen=True, slots=True)
class OrderRejected:
    """The checkout came to a no."""

    reason: str
    skus: tuple[ShortLine, ...] = ()
    decline_code: str = ""


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """The order was called off. What was taken is given back."""

    from_state: State
    refund: Money | None = None


@dataclass(frozen=True, slots=True)
class ShipmentPlanned:
    """The shipment exists."""

    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class OrderPickingStarted:
    """Somebody began to pick."""


@dataclass(frozen=True, slots=True)
class OrderPicked:
    """The picking was finished; stock, money and shipment have to follow."""

    lines: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class OrderPaymentDue:
    """The money could not be taken."""

    amount: Money


@dataclass(frozen=True, slots=True)
class PaymentRetried:
    """Another attempt to take the money began, by other means if `payment_method` names them.

    `grant` is what was agreed to with it; where the same is only tried again, nothing was.
    """

    number: int
    payment_id: UUID
    payment_method: str
    grant: str = ""


@dataclass(frozen=True, slots=True)
class PaymentRetryFailed:
    """That attempt came to a no as well."""

    decline_code: str


@dataclass(frozen=True, slots=True)
class OrderReady:
    """Packed, and paid or to be paid at the door."""

    payment_id: UUID
    payment_method: str
    captured: Money | None


@dataclass(frozen=True, slots=True)
class OrderOutForDelivery:
    """A courier took it along."""

    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class OrderDelivered:
    """It was handed over."""

    shipment_id: UUID
    cash_collected: Money | None
    time: datetime


@dataclass(frozen=True, slots=True)
class OrderDeliveryFailed:
    """It could not be handed over."""

    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class RedeliveryPlanned:
    """It is to go out once more."""

    number: int
    hold_id: UUID
    shipment_id: UUID
    slot: Slot


@dataclass(frozen=True, slots=True)
class RedeliveryFailed:
    """The slot of that attempt was lost before it was secured."""

    reason: str


@dataclass(frozen=True, slots=True)
class OrderReturnRequested:
    """The customer means to give something back."""

    number: int
    lines: tuple[Quantity, ...]
    refund: Money


@dataclass(frozen=True, slots=True)
class OrderReturnApproved:
    """A return was approved: the money goes back, and what is fit goes on sale again."""

    refund: Money
    restock: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class OrderReturnRefused:
    """A return was refused."""


@dataclass(frozen=True, slots=True)
class PaymentNoted:
    """How far a payment is taken and given back in all, as the payment service says."""

    payment_id: UUID
    captured: Money
    refunded: Money


Event = (
    OrderPlaced
    | OrderConfirmed
    | OrderRejected
    | OrderCancelled
    | ShipmentPlanned
    | OrderPickingStarted
    | OrderPicked
    | OrderPaymentDue
    | PaymentRetried
    | PaymentRetryFailed
    | OrderReady
    | OrderOutForDelivery
    | OrderDelivered
    | OrderDeliveryFailed
    | RedeliveryPlanned
    | RedeliveryFailed
    | OrderReturnRequested
    | OrderReturnApproved
    | OrderReturnRefused
    | PaymentNoted
)
