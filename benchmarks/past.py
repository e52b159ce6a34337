"""A shop with a past: any number of orders with all that belongs to them in every schema, consistent to the last cent.

A few fates of an order are played with the order service's own domain (delivered, cancelled, refused, short, returned,
under way …) and then multiplied: events and documents by putting other ids into their bytes, all other rows by a
statement for each table. Triggers are off meanwhile, so that a hundred thousand orders take two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from mercato.ids import derive, uuid7
from mercato.money import Money
from services.order.domain import CASH, Order, evolve, first_payment, hold_of, reservation_of, shipment_of
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
    OrderReturnRequested,
    PaymentNoted,
    Quantity,
    ShipmentPlanned,
    Slot,
    State,
)
from services.order.messages import document
from services.order.public_events import public_event
from services.order.stored import encode

WAREHOUSE, CARD = "centre", "visa •••• 4242"
BASKETS, SKUS = 16, 48
AT_ONCE = 2000
_BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)
_SLOT_ID = UUID("0190a6e0-0000-7000-8000-00000000a000")
_ORDER_ID = UUID("0190a6e0-0000-7000-8000-00000000b000")
_CUSTOMER_ID = UUID("0190a6e0-0000-7000-8000-00000000c000")
_TABLES = Path(__file__).with_name("past.sql")

Way = Callable[[Order], list[Event]]


def _usd(cents: int) -> Money:
    return Money(cents, "USD")


def _all(order: Order) -> tuple[Quantity, ...]:
    return tuple(Quantity(line.sku, line.quantity) for line in order.lines)


def _but_one(order: Order) -> tuple[Quantity, ...]:
    """All, but one unit of the first line is missing."""
    first, *others = _all(order)
    return (Quantity(first.sku, first.quantity - 1), *others)


def _confirmed(order: Order) -> list[Event]:
    return [OrderConfirmed(WAREHOUSE, CASH if order.cash_due else CARD), ShipmentPlanned(shipment_of(order.id))]


def _picked(order: Order, picked: Callable[[Order], tuple[Quantity, ...]] = _all) -> list[Event]:
    return [*_confirmed(order), OrderPickingStarted(), OrderPicked(picked(order))]


def _ready(order: Order, picked: Callable[[Order], tuple[Quantity, ...]] = _all) -> list[Event]:
    due = order.worth(picked(order)) + order.delivery_fee
    cash = order.payment_token == CASH
    return [*_picked(order, picked), OrderReady(order.payment_id, CASH if cash else CARD, None if cash else due)]


def _under_way(order: Order, picked: Callable[[Order], tuple[Quantity, ...]] = _all) -> list[Event]:
    return [*_ready(order, picked), OrderOutForDelivery(shipment_of(order.id))]


def _delivered(order: Order, picked: Callable[[Order], tuple[Quantity, ...]] = _all) -> list[Event]:
    cash = order.payment_token == CASH
    handed = OrderDelivered(shipment_of(order.id), order.total if cash else None, _BEGAN + timedelta(hours=2))
    settled = [PaymentNoted(order.payment_id, order.total, _usd(0))] if cash else []
    return [*_under_way(order, picked), handed, *settled]


def _returned(order: Order) -> list[Event]:
    back = (Quantity(order.lines[0].sku, 1),)
    worth = order.lines[0].unit_price
    return [
        *_delivered(order),
        OrderReturnRequested(1, back, worth),
        OrderReturnApproved(worth, back),
        PaymentNoted(order.payment_id, order.total, worth),
    ]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an order, and the states of what others keep for it; an empty one stands for a tombstone."""

    way: Way
    share: int
    """How many of twenty come to it."""
    reservation: str = ""
    payment: str = ""
    hold: str = ""
    shipment: str = ""
    cash: bool = False


FATES: Mapping[str, Fate] = {
    "delivered": Fate(_delivered, 8, "CONSUMED", "CAPTURED", "CONFIRMED", "DELIVERED"),
    "delivered_for_cash": Fate(_delivered, 1, "CONSUMED", "CAPTURED", "CONFIRMED", "DELIVERED", cash=True),
    "delivered_short": Fate(partial(_delivered, picked=_but_one), 1, "CONSUMED", "CAPTURED", "CONFIRMED", "DELIVERED"),
    "returned": Fate(_returned, 1, "CONSUMED", "CAPTURED", "CONFIRMED", "DELIVERED"),
    "cancelled": Fate(
        lambda o: [*_confirmed(o), OrderCancelled(State.CONFIRMED)], 1, "RELEASED", "VOIDED", "RELEASED", "CANCELLED"
    ),
    "out_of_stock": Fate(lambda _: [OrderRejected("OUT_OF_STOCK")], 1),
    "declined": Fate(
        lambda _: [OrderRejected("PAYMENT_DECLINED", decline_code="insufficient_funds")],
        1,
        "RELEASED",
        "DECLINED",
        "RELEASED",
    ),
    "confirmed": Fate(_confirmed, 1, "COMMITTED", "AUTHORIZED", "CONFIRMED", "PLANNED"),
    "payment_due": Fate(
        lambda o: [*_picked(o), OrderPaymentDue(o.total)], 1, "CONSUMED", "AUTHORIZED", "CONFIRMED", "PLANNED"
    ),
    "ready": Fate(_ready, 1, "CONSUMED", "CAPTURED", "CONFIRMED", "READY"),
    "under_way": Fate(_under_way, 1, "CONSUMED", "CAPTURED", "CONFIRMED", "PICKED_UP"),
    "delivery_failed": Fate(
        lambda o: [*_under_way(o), OrderDeliveryFailed(shipment_of(o.id))],
        1,
        "CONSUMED",
        "CAPTURED",
        "CONFIRMED",
        "FAILED",
    ),
}


@dataclass(frozen=True, slots=True)
class Template:
    """One order that others are made from: its events as they are kept, whether each is told, and what it became."""

    number: int
    fate: str
    order: Order
    events: Sequence[tuple[str, int, bytes]]
    told: Sequence[tuple[int, str]]
    """Version and type of the public events."""

    @property
    def columns(self) -> tuple[Any, ...]:
        """It as a row of the table that the statements read."""
        fate, order = FATES[self.fate], self.order
        states = (fate.reservation, fate.payment, fate.hold, fate.shipment)
        due = order.due.amount if order.picked else None
        return (
            *(self.number, str(order.state), order.version, *states, fate.cash, order.total.amount, due),
            *(order.captured_total.amount, order.refunded_total.amount),
            *([version for version, _ in self.told], [type_ for _, type_ in self.told]),
        )


def _template(number: int, fate: str) -> Template:
    placed = OrderPlaced(
        order_id=_ORDER_ID,
        customer_id=_CUSTOMER_ID,
        lines=_basket(number),
        delivery_fee=_usd(299),
        slot=Slot(str(_SLOT_ID), "downtown", _BEGAN + timedelta(hours=1), _BEGAN + timedelta(hours=2)),
        warehouse_ids=(WAREHOUSE,),
        payment_method=CASH if FATES[fate].cash else "pm_card_visa",
        time=_BEGAN,
    )
    order = evolve(None, placed)
    events: list[Event] = [placed]
    told = [(1, _type_of(order, placed))]
    for event in FATES[fate].way(order):
        order = evolve(order, event)
        events.append(event)
        told.append((order.version, _type_of(order, event)))
    return Template(number, fate, order, [encode(each) for each in events], [each for each in told if each[1]])


def _type_of(order: Order, event: Event) -> str:
    message = public_event(order, event)
    return message.DESCRIPTOR.full_name if message else ""


def _basket(number: int) -> tuple[OrderLine, ...]:
    """One to six lines, the same for the same number."""
    skus = [(number * 7 + step * 5) % SKUS for step in range(1 + number % 6)]
    return tuple(
        OrderLine(f"sku-{sku:02}", str(derive(_SLOT_ID, str(sku))), f"Goods {sku}", 2 + sku % 3, _usd(99 + sku * 13))
        for sku in skus
    )


def templates() -> list[Template]:
    """Twenty fates by sixteen baskets, in an order in which they may be dealt out."""
    fates = [name for name, fate in FATES.items() for _ in range(fate.share)]
    return [_template(number, fates[number % len(fates)]) for number in range(len(fates) * BASKETS)]


@dataclass(frozen=True, slots=True)
class Made:
    """One order that was made from a template."""

    template: Template
    order_id: UUID
    customer_id: UUID

    def ids(self) -> tuple[UUID, ...]:
        """The ids of all that belongs to it."""
        of = self.order_id
        return (first_payment(of), reservation_of(of), hold_of(of), shipment_of(of), derive(of, "return:1"))

    def renamed(self, content: bytes) -> bytes:
        """The template's bytes as those of this order: the ids in them are text, and all of the same length."""
        for old, new in (
            (_ORDER_ID, self.order_id),
            (_CUSTOMER_ID, self.customer_id),
            (first_payment(_ORDER_ID), first_payment(self.order_id)),
            (shipment_of(_ORDER_ID), shipment_of(self.order_id)),
        ):
            content = content.replace(str(old).encode(), str(new).encode())
        return content


def fill(database_url: str, orders: int) -> list[dict[str, Any]]:
    """Fill an empty database, as its superuser; what the provider would say of it, in the words of its log."""
    dealt = [Made(template, uuid7(), uuid7()) for template in islice(cycle(templates()), orders)]
    with psycopg.connect(database_url) as connection:
        connection.execute("set session_replication_role = replica; set local synchronous_commit = off")
        _copy_templates(connection)
        for begin in range(0, orders, AT_ONCE):
            _copy_orders(connection, begin, dealt[begin : begin + AT_ONCE])
        connection.execute(_TABLES.read_bytes())
        return [dict(line) for row in connection.execute("select line from provider_line order by n") for line in row]


def _copy_templates(connection: psycopg.Connection[Any]) -> None:
    connection.execute(_STAGES)
    cursor = connection.cursor()
    kinds = {each.number: each for each in templates()}
    with cursor.copy("copy template from stdin") as copy:
        for each in kinds.values():
            copy.write_row(each.columns)
    with cursor.copy("copy template_line from stdin") as copy:
        for each in kinds.values():
            for row in _lines(each):
                copy.write_row(row)


def _lines(template: Template) -> Iterator[tuple[Any, ...]]:
    order = template.order
    for line in order.lines:
        picked = (order.picked or {}).get(line.sku, 0)
        yield template.number, line.sku, line.quantity, picked, order.returned.get(line.sku, 0)


def _copy_orders(connection: psycopg.Connection[Any], begin: int, dealt: Sequence[Made]) -> None:
    cursor = connection.cursor()
    with cursor.copy("copy made from stdin") as copy:
        for n, each in enumerate(dealt, begin):
            copy.write_row((n, each.template.number, each.order_id, each.customer_id, *each.ids()))
    with cursor.copy("copy orders.events (stream_id, version, event_id, type, schema, payload) from stdin") as copy:
        for each in dealt:
            for version, (type_, schema, payload) in enumerate(each.template.events, 1):
                copy.write_row((each.order_id, version, uuid7(), type_, schema, each.renamed(payload)))
    with cursor.copy("copy orders.order_view from stdin") as copy:
        for each in dealt:
            order = each.template.order
            shown = each.renamed(document(order, _BEGAN + timedelta(hours=3)))
            place = (order.warehouse_id, order.slot.start_time, _BEGAN, _BEGAN + timedelta(hours=2))
            copy.write_row((each.order_id, each.customer_id, str(order.state), order.version, *place, shown))


_STAGES = """
    create temp table template (
        number int primary key, state text, version int, reservation text, payment text, hold text, shipment text,
        cash boolean, total bigint, due bigint, captured bigint, refunded bigint, versions int[], types text[]
    );
    create temp table template_line (number int, sku text, quantity int, picked int, returned int);
    create temp table made (
        n int, number int, order_id uuid, customer_id uuid, payment_id uuid, reservation_id uuid, hold_id uuid,
        shipment_id uuid, return_id uuid
    );
"""
