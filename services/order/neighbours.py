"""The neighbours as an order sees them: what it asks of each, and what it needs to know of the answer.

Every call that changes something names it by an id of ours, and may be repeated: the neighbour does it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mercato.money import Money
from services.order.events import OrderLine, Quantity, Slot
from services.order.personal import Address, Personal, Place


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be bought of a SKU now."""

    sku: str
    product_id: str
    title: str
    unit_price: Money
    availability: str


@dataclass(frozen=True, slots=True)
class SlotQuote:
    """What an order needs to know of its slot."""

    slot: Slot
    warehouse_ids: tuple[str, ...]
    fee: Money


@dataclass(frozen=True, slots=True)
class Shipment:
    """A delivery to be planned."""

    id: UUID
    order_id: UUID
    hold_id: UUID
    customer_id: UUID
    personal: Personal
    cash_due: Money | None


@dataclass(frozen=True, slots=True)
class Taken:
    """How far a payment is taken and given back in all."""

    captured: Money | None
    refunded: Money | None


class Products(Protocol):
    """Knows what is sold, and for how much."""

    def offers(self, skus: Sequence[str]) -> dict[str, Offer]:
        """What can be bought of these; what cannot is left out."""
        ...


class Users(Protocol):
    """Knows where customers live."""

    def get_address(self, customer_id: UUID, address_id: UUID) -> Address:
        """An address of the customer's own. NotFound for any other."""
        ...


class Inventory(Protocol):
    """Keeps the stock."""

    def reserve_stock(
        self, reservation_id: UUID, order_id: UUID, warehouse_ids: Sequence[str], lines: Sequence[OrderLine]
    ) -> str:
        """Hold every line in one warehouse, which is answered. OUT_OF_STOCK."""
        ...

    def commit_reservation(self, reservation_id: UUID) -> None:
        """Keep it for good. RESERVATION_EXPIRED, RESERVATION_RELEASED."""
        ...

    def release_reservation(self, reservation_id: UUID) -> None:
        """Give it back, now or when it arrives late."""
        ...

    def consume_reservation(self, reservation_id: UUID, picked: Sequence[Quantity]) -> None:
        """Take out what was picked, and give back the rest."""
        ...

    def restock_return(self, return_id: UUID, order_id: UUID, warehouse_id: str, lines: Sequence[Quantity]) -> None:
        """Put back what came back and is fit."""
        ...


class Deliveries(Protocol):
    """Brings the goods."""

    def quote_slot(self, slot_id: UUID, place: Place | None, subtotal: Money) -> SlotQuote:
        """What a delivery there and then costs. AddressNotServed, SlotClosed, BelowMinimum."""
        ...

    def hold_slot(self, hold_id: UUID, order_id: UUID, slot_id: str) -> None:
        """Take one place of the slot for a while. SLOT_FULL, SLOT_CLOSED."""
        ...

    def confirm_slot(self, hold_id: UUID) -> None:
        """Keep it for good. HOLD_EXPIRED, HOLD_RELEASED."""
        ...

    def release_slot(self, hold_id: UUID) -> None:
        """Give it back, now or when it arrives late."""
        ...

    def create_shipment(self, shipment: Shipment) -> None:
        """Plan the delivery in the confirmed slot."""
        ...

    def ready_shipment(self, shipment_id: UUID, cash_due: Money | None) -> None:
        """Say that the goods are packed."""
        ...

    def cancel_shipment(self, shipment_id: UUID) -> None:
        """Call it off, now or when it arrives late."""
        ...


class Payments(Protocol):
    """Takes the money, and gives it back."""

    def authorize_payment(
        self, payment_id: UUID, order_id: UUID, customer_id: UUID, amount: Money, payment_method: str
    ) -> str:
        """Reserve the amount; the means of payment, masked, is answered. PAYMENT_DECLINED."""
        ...

    def capture_payment(self, payment_id: UUID, amount: Money) -> None:
        """Take the amount, and give the rest of the authorization back. CAPTURE_FAILED."""
        ...

    def void_payment(self, payment_id: UUID) -> None:
        """Take nothing, now or when it arrives late. PAYMENT_CAPTURED."""
        ...

    def refund_payment(self, payment_id: UUID, amount: Money, reason: str, request_id: UUID) -> Taken:
        """Give some of it back. REFUND_EXCEEDS_CAPTURE."""
        ...

    def settle_cash(self, payment_id: UUID, amount: Money) -> Taken:
        """Book what the courier collected."""
        ...

    def get_payment(self, payment_id: UUID) -> Taken:
        """How far it is taken."""
        ...
