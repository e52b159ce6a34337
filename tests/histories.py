"""Histories of orders, made up: any that an order may have, and many more, for replays must stand all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from mercato.event_store import NEW, NewEvent, PostgresEventStore
from mercato.ids import derive, uuid7
from mercato.money import Money
from mercato.postgres import Database
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
    ShortLine,
    Slot,
    State,
)
from services.order.stored import encode

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SOME = Money(1234, "USD")
MILK = (Quantity("milk", 1),)


def placed(order_id: UUID, customer_id: UUID | None = None, payment_method: str = "pm_card_visa") -> OrderPlaced:
    """The beginning of every history."""
    lines = (
        OrderLine("milk", str(derive(order_id, "milk")), "Milk", 2, Money(150, "USD")),
        OrderLine("rye", str(derive(order_id, "rye")), "Rye bread", 1, Money(320, "USD")),
    )
    slot = Slot(str(derive(order_id, "slot")), "downtown", NOON, NOON + timedelta(hours=1))
    customer_id = customer_id or derive(order_id, "customer")
    fee, warehouses, grant = Money(299, "USD"), ("north", "south"), f"grant.of.{derive(order_id, 'payment')}"
    return OrderPlaced(order_id, customer_id, lines, fee, slot, warehouses, payment_method, NOON, grant)


def followers(order_id: UUID) -> tuple[Event, ...]:
    """One of each kind that may come later, and some kinds with and without what may be missing."""
    payment_id, shipment_id = derive(order_id, "payment"), derive(order_id, "shipment")
    slot = Slot(str(derive(order_id, "other")), "downtown", NOON + timedelta(hours=2), NOON + timedelta(hours=3))
    return (
        OrderConfirmed("north", "visa •••• 4242"),
        OrderRejected("OUT_OF_STOCK", (ShortLine("milk", 2, 1),)),
        OrderRejected("PAYMENT_DECLINED", (), "insufficient_funds"),
        OrderRejected("SLOT_FULL"),
        OrderRejected("CHECKOUT_TIMED_OUT"),
        OrderCancelled(State.CONFIRMED),
        OrderCancelled(State.PICKING, SOME),
        ShipmentPlanned(shipment_id),
        OrderPickingStarted(),
        OrderPicked((Quantity("milk", 1), Quantity("rye", 1))),
        OrderPaymentDue(SOME),
        PaymentRetried(1, payment_id, "pm_card_mastercard", "another.grant.still"),
        PaymentRetryFailed("expired_card"),
        OrderReady(payment_id, "visa •••• 4242", SOME),
        OrderReady(payment_id, "", None),
        OrderOutForDelivery(shipment_id),
        OrderDelivered(shipment_id, None, NOON + timedelta(hours=1)),
        OrderDelivered(shipment_id, SOME, NOON + timedelta(hours=1)),
        OrderDeliveryFailed(shipment_id),
        RedeliveryPlanned(1, derive(order_id, "hold"), derive(order_id, "shipment 2"), slot),
        RedeliveryFailed("SLOT_CLOSED"),
        OrderReturnRequested(1, MILK, Money(150, "USD")),
        OrderReturnApproved(Money(150, "USD"), MILK),
        OrderReturnRefused(),
        PaymentNoted(payment_id, SOME, Money(100, "USD")),
        PaymentRetried(2, payment_id, ""),
    )


KINDS = len(followers(UUID(int=1)))
ENDS_A_RETURN = (OrderReturnApproved, OrderReturnRefused)
# Placed, confirmed, its shipment planned, picked, ready, under way, delivered: what becomes of most.
GOOD_WAY = (0, 7, 8, 9, 13, 15, 16)


def history_of(order_id: UUID, choices: Sequence[int], customer_id: UUID | None = None) -> list[Event]:
    """The history that these choices make. A return is decided only after it was asked for."""
    events: list[Event] = [placed(order_id, customer_id, "cash_on_delivery" if sum(choices) % 3 else "pm_card_visa")]
    for choice in choices:
        event = followers(order_id)[choice % KINDS]
        if isinstance(event, ENDS_A_RETURN) and not any(isinstance(each, OrderReturnRequested) for each in events):
            continue
        events.append(event)
    return events


def histories(longest: int = 40) -> st.SearchStrategy[list[Event]]:
    """Any of them."""
    choices = st.lists(st.integers(0, KINDS - 1), max_size=longest)
    return st.builds(history_of, st.uuids(version=4), choices)


def new_events(events: Sequence[Event]) -> list[NewEvent]:
    """Events as they are appended."""
    return [NewEvent(uuid7(), *encode(each)) for each in events]


def happen(database: Database, events: Sequence[Event], after: int = NEW, order_id: UUID | None = None) -> UUID:
    """Have these happen to an order; its id."""
    first = events[0]
    order_id = order_id or (first.order_id if isinstance(first, OrderPlaced) else uuid7())
    with database.transaction() as connection:
        PostgresEventStore(connection, "events").append(order_id, new_events(events), after)
    return order_id
