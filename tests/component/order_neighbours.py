# ruff: noqa: ARG002  doubles take what their Protocols give
"""The neighbours of the order service, by hand: what they promise of repeats, tombstones and refusals, in memory.

Every call passes two points, `Name.before` and `Name.after`, where a test lets it fail: by silence (it may or may not
have happened), by a refusal, or by the death of whoever called.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid5

from mercato.errors import FailedPrecondition, MercatoError, NotFound, ResourceExhausted
from mercato.grants import Grant, GrantExceeded, GrantExpired, GrantRequired, digest
from mercato.money import Money
from mercato.rpc import current_call
from services.order.events import OrderLine, Quantity, Slot
from services.order.neighbours import Offer, Shipment, SlotQuote, Taken
from services.order.personal import Address, Place
from services.order.refusals import AddressNotServed, BelowMinimum, SlotClosed

T = TypeVar("T")


class Crash(BaseException):
    """The process that was at this point is gone."""


class Points:
    """Where calls pass, and what befalls them there."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.trouble: dict[str, list[BaseException]] = {}
        self.crash_at: int | None = None
        self.hooks: dict[str, Callable[[], None]] = {}
        self.lock = threading.RLock()

    def at(self, name: str) -> None:
        """Pass a point."""
        with self.lock:
            self.passed.append(name)
            number = len(self.passed) - 1
            planned = self.trouble.get(name)
            due = planned.pop(0) if planned else None
        if number == self.crash_at:
            raise Crash(name)
        if hook := self.hooks.pop(name, None):
            hook()
        if due is not None:
            raise due

    def fail(self, name: str, *troubles: BaseException) -> None:
        """Have the next passages of a point fail."""
        self.trouble.setdefault(name, []).extend(troubles)

    def call(self, name: str, act: Callable[[], T]) -> T:
        """A call between its two points."""
        self.at(f"{name}.before")
        with self.lock:
            reply = act()
        self.at(f"{name}.after")
        return reply


def no(reason: str, **metadata: object) -> MercatoError:
    """A refusal."""
    error = FailedPrecondition(reason.lower().replace("_", " "), **metadata)
    error.reason = reason
    return error


@dataclass
class Claim:
    """A reservation, a hold, a payment or a shipment."""

    state: str
    order_id: UUID | None = None
    lines: dict[str, int] = field(default_factory=dict)
    slot_id: str = ""
    method: str = ""
    authorized: Money | None = None
    captured: Money | None = None
    refunded: Money | None = None
    refunds: dict[UUID, Money] = field(default_factory=dict)
    refused_refunds: set[UUID] = field(default_factory=set)
    cash_due: Money | None = None


class Products:
    """Sells what it was told to."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self.prices: dict[str, Money] = {}
        self.availability: dict[str, str] = {}

    def offers(self, skus: Sequence[str]) -> dict[str, Offer]:
        known = [sku for sku in skus if sku in self.prices]
        return self._points.call(
            "BatchGetOffers",
            lambda: {
                sku: Offer(
                    sku,
                    str(uuid5(UUID(int=0), sku)),
                    sku.title(),
                    self.prices[sku],
                    self.availability.get(sku, "IN_STOCK"),
                )
                for sku in known
            },
        )


class Users:
    """Knows the addresses of customers."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self.addresses: dict[tuple[UUID, UUID], Address] = {}

    def get_address(self, customer_id: UUID, address_id: UUID) -> Address:
        def find() -> Address:
            if (customer_id, address_id) not in self.addresses:
                raise NotFound
            return self.addresses[customer_id, address_id]

        return self._points.call("GetAddress", find)


class Inventory:
    """One warehouse."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self.free: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()
        self.claims: dict[UUID, Claim] = {}
        self.restocked: dict[UUID, tuple[Quantity, ...]] = {}

    def reserve_stock(
        self, reservation_id: UUID, order_id: UUID, warehouse_ids: Sequence[str], lines: Sequence[OrderLine]
    ) -> str:
        wanted = {line.sku: line.quantity for line in lines}

        def reserve() -> str:
            claim = self.claims.get(reservation_id)
            if claim and claim.state == "RELEASED":
                raise no("RESERVATION_RELEASED")
            if claim and claim.state != "EXPIRED":
                return warehouse_ids[0]
            if short := [sku for sku, units in wanted.items() if self.free[sku] < units]:
                skus = [{"sku": sku, "wanted": wanted[sku], "available": self.free[sku]} for sku in short]
                raise no("OUT_OF_STOCK", skus=skus)
            self.free.subtract(wanted)
            self.claims[reservation_id] = Claim("HELD", order_id, wanted)
            return warehouse_ids[0]

        return self._points.call("ReserveStock", reserve)

    def commit_reservation(self, reservation_id: UUID) -> None:
        def commit() -> None:
            match self._state(reservation_id):
                case "HELD" | "COMMITTED":
                    self.claims[reservation_id].state = "COMMITTED"
                case "":
                    raise NotFound
                case state:
                    raise no(f"RESERVATION_{state}")

        self._points.call("CommitReservation", commit)

    def release_reservation(self, reservation_id: UUID) -> None:
        def release() -> None:
            claim = self.claims.setdefault(reservation_id, Claim("RELEASED"))
            if claim.state == "CONSUMED":
                raise no("RESERVATION_CONSUMED")
            if claim.state in ("HELD", "COMMITTED"):
                self.free.update(claim.lines)
            claim.state = "RELEASED"

        self._points.call("ReleaseReservation", release)

    def consume_reservation(self, reservation_id: UUID, picked: Sequence[Quantity]) -> None:
        def consume() -> None:
            match self._state(reservation_id):
                case "COMMITTED":
                    claim, units = self.claims[reservation_id], {line.sku: line.quantity for line in picked}
                    self.gone.update(units)
                    self.free.update({sku: claimed - units.get(sku, 0) for sku, claimed in claim.lines.items()})
                    claim.state = "CONSUMED"
                case "CONSUMED":
                    pass
                case _:
                    raise no("RESERVATION_NOT_COMMITTED")

        self._points.call("ConsumeReservation", consume)

    def restock_return(self, return_id: UUID, order_id: UUID, warehouse_id: str, lines: Sequence[Quantity]) -> None:
        def restock() -> None:
            if return_id not in self.restocked:
                self.restocked[return_id] = tuple(lines)
                self.free.update({line.sku: line.quantity for line in lines})

        self._points.call("RestockReturn", restock)

    def expire(self) -> None:
        """All that is held runs out."""
        for claim in self.claims.values():
            if claim.state == "HELD":
                self.free.update(claim.lines)
                claim.state = "EXPIRED"

    def _state(self, reservation_id: UUID) -> str:
        return self.claims[reservation_id].state if reservation_id in self.claims else ""


class Deliveries:
    """One zone, with slots of few places."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self.fee = Money(290, "USD")
        self.minimum = Money(0, "USD")
        self.slots: dict[str, Slot] = {}
        self.places: Counter[str] = Counter()
        self.closed: set[str] = set()
        self.holds: dict[UUID, Claim] = {}
        self.shipments: dict[UUID, Claim] = {}
        self.planned: dict[UUID, Shipment] = {}

    def open_slot(self, slot_id: UUID, start: datetime, places: int = 10) -> None:
        """Have a slot."""
        self.slots[str(slot_id)] = Slot(str(slot_id), "mitte", start, start + timedelta(hours=1))
        self.places[str(slot_id)] = places

    def quote_slot(self, slot_id: UUID, place: Place | None, subtotal: Money) -> SlotQuote:
        def quote() -> SlotQuote:
            if place is None or place.latitude < 0:
                raise AddressNotServed
            if str(slot_id) not in self.slots or str(slot_id) in self.closed:
                raise SlotClosed
            if subtotal < self.minimum:
                raise BelowMinimum
            return SlotQuote(self.slots[str(slot_id)], ("north", "south"), self.fee)

        return self._points.call("QuoteSlot", quote)

    def hold_slot(self, hold_id: UUID, order_id: UUID, slot_id: str) -> None:
        def hold() -> None:
            claim = self.holds.get(hold_id)
            if claim and claim.state == "RELEASED":
                raise no("HOLD_RELEASED")
            if claim and claim.state != "EXPIRED":
                return
            if slot_id in self.closed:
                raise no("SLOT_CLOSED")
            if not self.places[slot_id]:
                raise no("SLOT_FULL")
            self.places[slot_id] -= 1
            self.holds[hold_id] = Claim("HELD", order_id, slot_id=slot_id)

        self._points.call("HoldSlot", hold)

    def confirm_slot(self, hold_id: UUID) -> None:
        def confirm() -> None:
            claim = self.holds.get(hold_id)
            if claim is None:
                raise NotFound
            if claim.state not in ("HELD", "CONFIRMED"):
                raise no(f"HOLD_{claim.state}")
            claim.state = "CONFIRMED"

        self._points.call("ConfirmSlot", confirm)

    def release_slot(self, hold_id: UUID) -> None:
        def release() -> None:
            claim = self.holds.setdefault(hold_id, Claim("RELEASED"))
            if claim.state in ("HELD", "CONFIRMED"):
                self.places[claim.slot_id] += 1
            claim.state = "RELEASED"

        self._points.call("ReleaseSlot", release)

    def create_shipment(self, shipment: Shipment) -> None:
        def create() -> None:
            hold = self.holds.get(shipment.hold_id)
            if self._state(shipment.id) == "CANCELLED":
                raise no("SHIPMENT_CANCELLED")
            if self._state(shipment.id):
                return
            if hold is None or hold.state != "CONFIRMED":
                raise no("HOLD_NOT_CONFIRMED")
            self.shipments[shipment.id] = Claim("PLANNED", shipment.order_id, cash_due=shipment.cash_due)
            self.planned[shipment.id] = shipment

        self._points.call("CreateShipment", create)

    def ready_shipment(self, shipment_id: UUID, cash_due: Money | None) -> None:
        def ready() -> None:
            match self._state(shipment_id):
                case "":
                    raise NotFound
                case "CANCELLED":
                    raise no("SHIPMENT_CANCELLED")
                case "PLANNED":
                    self.shipments[shipment_id] = replace(self.shipments[shipment_id], state="READY", cash_due=cash_due)

        self._points.call("ReadyShipment", ready)

    def cancel_shipment(self, shipment_id: UUID) -> None:
        def cancel() -> None:
            if self._state(shipment_id) in ("PICKED_UP", "DELIVERED"):
                raise no("SHIPMENT_UNDER_WAY")
            self.shipments.setdefault(shipment_id, Claim("CANCELLED")).state = "CANCELLED"

        self._points.call("CancelShipment", cancel)

    def _state(self, shipment_id: UUID) -> str:
        return self.shipments[shipment_id].state if shipment_id in self.shipments else ""


class TooManyDeclines(ResourceExhausted):
    """The payment service stops whoever tries out cards."""


class Payments:
    """A provider that knows a few tokens, and takes nothing that its customer did not agree to."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self.refusing_refunds = 0
        self.payments: dict[UUID, Claim] = {}
        self.grants: list[Grant] = []
        self.expired: set[str] = set()

    def sign(self, grant: Grant) -> str:
        """What stands for a grant's signature: where it lies."""
        self.grants.append(grant)
        return f"grant {len(self.grants) - 1}"

    def _agreed(self, rpc: str, amount: Money, **named: object) -> None:
        """That the present call shows a grant for this."""
        call = current_call()
        if not call.grant:
            raise GrantRequired
        if call.grant in self.expired:
            raise GrantExpired
        grant = self.grants[int(call.grant.rpartition(" ")[2])]
        assert (f"payment.{rpc}" in grant.steps, grant.customer_id) == (True, call.principal.subject)
        assert {name: grant.names[name] for name in named} == {name: str(value) for name, value in named.items()}
        if amount > grant.cap:
            raise GrantExceeded(amount, grant.cap)

    def authorize_payment(
        self, payment_id: UUID, order_id: UUID, customer_id: UUID, amount: Money, payment_method: str
    ) -> str:
        def authorize() -> str:
            named = {"payment_id": payment_id, "order_id": order_id, "customer_id": customer_id}
            self._agreed("AuthorizePayment", amount, **named, payment_method=digest(payment_method))
            if payment_method == "pm_tried_too_often":
                raise TooManyDeclines
            claim = self.payments.get(payment_id)
            if claim is None:
                state = "DECLINED" if payment_method == "pm_declined" else "AUTHORIZED"
                claim = Claim(state, order_id, method=payment_method, authorized=amount)
                self.payments[payment_id] = claim
            if claim.state == "DECLINED":
                raise no("PAYMENT_DECLINED", decline_code="card_declined")
            if claim.state == "VOIDED":
                raise no("PAYMENT_VOIDED")
            return f"masked {payment_method}"

        return self._points.call("AuthorizePayment", authorize)

    def capture_payment(self, payment_id: UUID, amount: Money) -> None:
        def capture() -> None:
            self._agreed("CapturePayment", amount, payment_id=payment_id)
            claim = self.payments[payment_id]
            if claim.state == "CAPTURED":
                return
            if claim.method == "pm_capture_fails" or claim.authorized is None or amount > claim.authorized:
                raise no("CAPTURE_FAILED", decline_code="expired_card")
            if claim.state != "AUTHORIZED":
                raise no("PAYMENT_VOIDED")
            claim.state, claim.captured = "CAPTURED", amount

        self._points.call("CapturePayment", capture)

    def void_payment(self, payment_id: UUID) -> None:
        def void() -> None:
            claim = self.payments.setdefault(payment_id, Claim("VOIDED"))
            if claim.state == "CAPTURED":
                raise no("PAYMENT_CAPTURED")
            if claim.state == "AUTHORIZED":
                claim.state = "VOIDED"

        self._points.call("VoidPayment", void)

    def refund_payment(self, payment_id: UUID, amount: Money, reason: str, request_id: UUID) -> Taken:
        def refund() -> Taken:
            claim = self.payments[payment_id]
            zero = Money.zero(amount.currency)
            # A refund that was refused stays so, however often it is asked for.
            if request_id not in claim.refunds and len(claim.refused_refunds) < self.refusing_refunds:
                claim.refused_refunds.add(request_id)
            if request_id in claim.refused_refunds:
                raise no("REFUND_FAILED")
            if request_id not in claim.refunds:
                refunded = (claim.refunded or zero) + amount
                if refunded > (claim.captured or zero):
                    raise no("REFUND_EXCEEDS_CAPTURE")
                claim.refunds[request_id], claim.refunded = amount, refunded
            return Taken(claim.captured, claim.refunded)

        return self._points.call("RefundPayment", refund)

    def settle_cash(self, payment_id: UUID, amount: Money) -> Taken:
        def settle() -> Taken:
            claim = self.payments[payment_id]
            if claim.method != "cash_on_delivery":
                raise no("NOT_CASH")
            claim.state, claim.captured = "CAPTURED", claim.captured or amount
            return Taken(claim.captured, claim.refunded)

        return self._points.call("SettleCash", settle)

    def get_payment(self, payment_id: UUID) -> Taken:
        def get() -> Taken:
            claim = self.payments[payment_id]
            return Taken(claim.captured, claim.refunded)

        return self._points.call("GetPayment", get)
