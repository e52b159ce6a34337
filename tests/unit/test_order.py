"""Orders: what may happen to one, and what it is after that."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest

from mercato.errors import MercatoError
from mercato.ids import derive, uuid7
from mercato.money import Money
from services.order import decisions, events
from services.order.decisions import Events
from services.order.domain import CASH, Order, evolve, replay
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
from services.order.history import Recorded, history
from services.order.personal import Address, Personal
from services.order.public_events import public_event
from services.order.refusals import (
    DeliveryNotFailed,
    NoOpenReturn,
    OrderNotDelivered,
    OrderNotPicking,
    OwnReturn,
    PickedTooMuch,
    RestockedTooMuch,
    ReturnedTooMuch,
    ReturnOpen,
    ReturnWindowClosed,
    TooLateToCancel,
    UnknownLine,
)
from services.order.stored import decode, encode
from services.order.tasks import Kind, demanded_by

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ORDER_ID, CUSTOMER_ID, SHIPMENT_ID = uuid7(), uuid7(), uuid7()
SLOT = Slot(str(uuid7()), "mitte", NOON + timedelta(hours=2), NOON + timedelta(hours=3))
OTHER_SLOT = replace(SLOT, id=str(uuid7()))
SUPPORT = str(uuid7())


def usd(amount: int) -> Money:
    return Money(amount, "USD")


PLACED = OrderPlaced(
    order_id=ORDER_ID,
    customer_id=CUSTOMER_ID,
    lines=(OrderLine("milk", "p1", "Milk", 2, usd(150)), OrderLine("rye", "p2", "Rye bread", 1, usd(320))),
    delivery_fee=usd(290),
    slot=SLOT,
    warehouse_ids=("north", "south"),
    payment_method="pm_card_visa",
    time=NOON,
)
CONFIRMED = OrderConfirmed("north", "visa •••• 4242")
ALL_PICKED = OrderPicked((Quantity("milk", 2), Quantity("rye", 1)))
READY = OrderReady(derive(ORDER_ID, "payment"), "visa •••• 4242", usd(910))
TO_THE_DOOR: tuple[Event, ...] = (
    CONFIRMED,
    ShipmentPlanned(SHIPMENT_ID),
    OrderPickingStarted(),
    ALL_PICKED,
    READY,
    OrderOutForDelivery(SHIPMENT_ID),
)
DELIVERED: tuple[Event, ...] = (*TO_THE_DOOR, OrderDelivered(SHIPMENT_ID, None, NOON))
FAILED: tuple[Event, ...] = (*TO_THE_DOOR, OrderDeliveryFailed(SHIPMENT_ID))
DUE: tuple[Event, ...] = (*TO_THE_DOOR[:4], OrderPaymentDue(usd(910)))


def after(*more: Event) -> Order:
    """The order after these."""
    order = replay([PLACED, *more])
    assert order is not None
    return order


def then(order: Order, more: Events) -> Order:
    for event in more:
        order = evolve(order, event)
    return order


IN_EVERY_STATE: dict[State, tuple[Event, ...]] = {
    State.PENDING: (),
    State.CONFIRMED: TO_THE_DOOR[:2],
    State.PICKING: TO_THE_DOOR[:3],
    State.PAYMENT_DUE: DUE,
    State.READY: TO_THE_DOOR[:5],
    State.OUT_FOR_DELIVERY: TO_THE_DOOR,
    State.DELIVERED: DELIVERED,
    State.DELIVERY_FAILED: FAILED,
    State.REJECTED: (OrderRejected("OUT_OF_STOCK"),),
    State.CANCELLED: (OrderCancelled(State.PENDING),),
}


def refused(decide: object, order: Order, *arguments: object) -> bool:
    assert callable(decide)
    try:
        decide(order, *arguments)
    except MercatoError:
        return True
    return False


def test_the_histories_of_this_file_lead_to_every_state() -> None:
    assert {state: after(*history).state for state, history in IN_EVERY_STATE.items()} == {s: s for s in State}


@pytest.mark.parametrize("state", State)
def test_a_customer_cancels_before_the_picking_and_never_later(state: State) -> None:
    order = after(*IN_EVERY_STATE[state])
    if state in (State.PENDING, State.CONFIRMED):
        assert decisions.cancel(order, by_staff=False) == [OrderCancelled(state)]
    elif state is State.CANCELLED:
        assert not decisions.cancel(order, by_staff=False)
    else:
        with pytest.raises(TooLateToCancel) as refusal:
            decisions.cancel(order, by_staff=False)
        assert refusal.value.metadata == {"order_id": str(ORDER_ID), "state": state}


def test_support_cancels_what_could_not_be_delivered_and_all_that_was_taken_goes_back() -> None:
    noted = PaymentNoted(READY.payment_id, usd(910), usd(150))
    assert decisions.cancel(after(*FAILED), by_staff=True) == [OrderCancelled(State.DELIVERY_FAILED, usd(910))]
    assert decisions.cancel(after(*FAILED, noted), by_staff=True)[0] == OrderCancelled(State.DELIVERY_FAILED, usd(760))
    with pytest.raises(TooLateToCancel):
        decisions.cancel(after(*FAILED), by_staff=False)


@pytest.mark.parametrize("state", State)
def test_the_checkout_decides_only_about_a_pending_order(state: State) -> None:
    order = after(*IN_EVERY_STATE[state])
    assert bool(decisions.confirm(order, "north", "visa")) == (state is State.PENDING)
    assert bool(decisions.reject(order, OrderRejected("SLOT_FULL"))) == (state is State.PENDING)


@pytest.mark.parametrize("state", State)
def test_only_what_is_confirmed_is_picked(state: State) -> None:
    order = after(*IN_EVERY_STATE[state])
    allowed = state in (State.CONFIRMED, State.PICKING)
    assert refused(decisions.start_picking, order) != allowed
    assert decisions.start_picking(after(*TO_THE_DOOR[:3])) == ()


@pytest.mark.parametrize("state", State)
def test_only_what_is_being_picked_was_picked(state: State) -> None:
    order = after(*IN_EVERY_STATE[state])
    picked_before = order.picked is not None
    assert refused(decisions.finish_picking, order, {}) != (state is State.PICKING or picked_before)


def test_a_line_that_is_not_named_was_picked_whole() -> None:
    picked = decisions.finish_picking(after(*TO_THE_DOOR[:3]), {"milk": 1})
    assert picked == [OrderPicked((Quantity("milk", 1), Quantity("rye", 1)))]


def test_what_was_picked_is_said_once_and_repeated_at_will() -> None:
    order = after(*TO_THE_DOOR[:4])
    assert not decisions.finish_picking(order, {})
    with pytest.raises(OrderNotPicking):
        decisions.finish_picking(order, {"milk": 1})


def test_nothing_picked_at_all_calls_the_order_off_once() -> None:
    nothing = {"milk": 0, "rye": 0}
    cancelled = decisions.finish_picking(after(*TO_THE_DOOR[:3]), nothing)
    assert cancelled == [OrderCancelled(State.PICKING)]
    assert not decisions.finish_picking(then(after(*TO_THE_DOOR[:3]), cancelled), nothing)


def test_no_more_is_picked_than_was_ordered_and_nothing_else() -> None:
    with pytest.raises(PickedTooMuch):
        decisions.finish_picking(after(*TO_THE_DOOR[:3]), {"milk": 3})
    with pytest.raises(UnknownLine):
        decisions.finish_picking(after(*TO_THE_DOOR[:3]), {"caviar": 0})


def test_what_is_owed_follows_what_was_picked_and_the_fee_stays() -> None:
    order = after(*TO_THE_DOOR[:3], OrderPicked((Quantity("milk", 1), Quantity("rye", 0))))
    assert order.total == usd(910)
    assert order.due == usd(150 + 290)


def test_a_courier_s_event_that_comes_before_our_own_makes_the_order_ready_too() -> None:
    early = decisions.picked_up(after(*TO_THE_DOOR[:4]), SHIPMENT_ID)
    assert [type(event) for event in early] == [OrderReady, OrderOutForDelivery]
    order = then(after(*TO_THE_DOOR[:4]), early)
    assert (order.state, order.captured_total) == (State.OUT_FOR_DELIVERY, usd(910))
    assert not decisions.ready(order, READY.payment_id, "", usd(910))


def test_a_courier_s_event_before_the_shipment_was_noted_notes_it() -> None:
    history = [event for event in TO_THE_DOOR[:4] if not isinstance(event, ShipmentPlanned)]
    order = then(after(*history), decisions.picked_up(after(*history), SHIPMENT_ID))
    assert decisions.delivered(order, SHIPMENT_ID, None, NOON)


@pytest.mark.parametrize("state", State)
def test_events_of_a_shipment_that_is_not_the_order_s_change_nothing(state: State) -> None:
    order, stranger = after(*IN_EVERY_STATE[state]), uuid7()
    assert not decisions.delivered(order, stranger, None, NOON)
    assert not decisions.delivery_failed(order, stranger)
    if order.picked is None or state not in (State.PICKING, State.PAYMENT_DUE):
        assert not decisions.picked_up(order, stranger)


@pytest.mark.parametrize("state", State)
def test_a_payment_is_tried_again_only_when_it_is_due(state: State) -> None:
    assert refused(decisions.retry_payment, after(*IN_EVERY_STATE[state]), "") != (state is State.PAYMENT_DUE)


def test_other_means_get_a_payment_of_their_own_and_win_only_with_the_money() -> None:
    order = after(*DUE)
    (retried,) = decisions.retry_payment(order, "pm_other")
    assert isinstance(retried, PaymentRetried)
    assert retried.payment_id != order.payment_id
    trying = evolve(order, retried)
    assert not decisions.retry_payment(trying, "pm_third")
    failed = then(trying, decisions.payment_failed(trying, "card_declined"))
    assert (failed.state, failed.payment_id, failed.decline_code) == (
        State.PAYMENT_DUE,
        order.payment_id,
        "card_declined",
    )
    (again,) = decisions.retry_payment(failed, "pm_other")
    assert isinstance(again, PaymentRetried)
    assert again.payment_id != retried.payment_id
    paid = then(evolve(failed, again), decisions.ready(evolve(failed, again), again.payment_id, "visa", usd(910)))
    assert (paid.state, paid.payment_id, paid.payment_token) == (State.READY, again.payment_id, "pm_other")


def test_the_same_means_are_tried_with_the_same_payment() -> None:
    (retried,) = decisions.retry_payment(after(*DUE), "")
    assert retried == PaymentRetried(1, after(*DUE).payment_id, "")


def test_cash_is_due_at_the_door_for_what_was_picked() -> None:
    cash = replay([replace(PLACED, payment_method=CASH), *TO_THE_DOOR[:4]])
    assert cash is not None
    assert cash.cash_due == usd(910)
    assert after(*TO_THE_DOOR[:4]).cash_due is None


@pytest.mark.parametrize("state", State)
def test_only_what_could_not_be_delivered_goes_out_once_more(state: State) -> None:
    order = after(*IN_EVERY_STATE[state])
    assert refused(decisions.redeliver, order, uuid7(), OTHER_SLOT) != (state is State.DELIVERY_FAILED)


def test_another_delivery_has_a_shipment_of_its_own_and_a_lost_slot_takes_it_back() -> None:
    (planned,) = decisions.redeliver(after(*FAILED), uuid7(), OTHER_SLOT)
    assert isinstance(planned, RedeliveryPlanned)
    order = evolve(after(*FAILED), planned)
    assert not decisions.redeliver(order, uuid7(), OTHER_SLOT)
    with pytest.raises(DeliveryNotFailed):
        decisions.redeliver(order, uuid7(), SLOT)
    with pytest.raises(TooLateToCancel):
        decisions.cancel(order, by_staff=True)
    ready = then(order, decisions.ready_again(order, planned))
    assert (ready.state, ready.slot, ready.shipment_id) == (State.READY, OTHER_SLOT, planned.shipment_id)
    assert ready.captured_total == usd(910)
    lost = then(order, decisions.redelivery_failed(order, planned, "SLOT_FULL"))
    (next_one,) = decisions.redeliver(lost, uuid7(), SLOT)
    assert isinstance(next_one, RedeliveryPlanned)
    again = evolve(lost, next_one)
    assert not decisions.ready_again(again, planned)
    assert not decisions.redelivery_failed(again, planned, "SLOT_FULL")


def test_what_the_payment_service_says_is_taken_over_once() -> None:
    order, payment_id = after(*DELIVERED), READY.payment_id
    assert not decisions.note_payment(order, payment_id, usd(910), None)
    order = then(order, decisions.note_payment(order, payment_id, None, usd(100)))
    assert (order.captured_total, order.refunded_total) == (usd(910), usd(100))
    assert not decisions.note_payment(order, payment_id, None, usd(100))
    assert not decisions.note_payment(order, payment_id, None, usd(50))


MILK = (Quantity("milk", 1),)


def returned(*lines: Quantity) -> tuple[Event, ...]:
    requested = decisions.request_return(after(*DELIVERED), lines, NOON)
    return (*DELIVERED, *requested)


def test_no_more_comes_back_than_was_delivered_and_not_yet_given_back() -> None:
    requested = returned(Quantity("milk", 1))
    approved = decisions.approve_return(after(*requested), MILK, SUPPORT)
    order = after(*requested, *approved)
    assert order.returned["milk"] == 1
    with pytest.raises(ReturnedTooMuch):
        decisions.request_return(order, [Quantity("milk", 2)], NOON)
    assert decisions.request_return(order, MILK, NOON)


def test_a_line_that_was_not_picked_cannot_come_back() -> None:
    short = [OrderPicked((Quantity("milk", 2), Quantity("rye", 0))) if e == ALL_PICKED else e for e in DELIVERED]
    with pytest.raises(ReturnedTooMuch):
        decisions.request_return(after(*short), [Quantity("rye", 1)], NOON)
    with pytest.raises(UnknownLine):
        decisions.request_return(after(*short), [Quantity("caviar", 1)], NOON)


def test_goods_come_back_within_fourteen_days_of_delivery() -> None:
    last = NOON + timedelta(days=14)
    assert decisions.request_return(after(*DELIVERED), MILK, last)
    with pytest.raises(ReturnWindowClosed):
        decisions.request_return(after(*DELIVERED), MILK, last + timedelta(seconds=1))
    with pytest.raises(OrderNotDelivered):
        decisions.request_return(after(*TO_THE_DOOR), MILK, NOON)


def test_one_return_is_decided_before_the_next_and_never_by_who_asked() -> None:
    open_ = after(*returned(*MILK))
    with pytest.raises(ReturnOpen):
        decisions.request_return(open_, MILK, NOON)
    for decide in (decisions.refuse_return, lambda order, by: decisions.approve_return(order, (), by)):
        with pytest.raises(OwnReturn):
            decide(open_, str(CUSTOMER_ID))
        with pytest.raises(NoOpenReturn):
            decide(after(*DELIVERED), SUPPORT)
    closed = then(open_, decisions.refuse_return(open_, SUPPORT))
    assert decisions.request_return(closed, MILK, NOON)


def test_a_return_refunds_its_goods_but_never_more_than_is_left_of_what_was_taken() -> None:
    requested = returned(*MILK)
    assert decisions.approve_return(after(*requested), (), SUPPORT) == [OrderReturnApproved(usd(150), ())]
    almost_all = PaymentNoted(READY.payment_id, usd(910), usd(900))
    assert decisions.approve_return(after(*requested, almost_all), (), SUPPORT) == [OrderReturnApproved(usd(10), ())]


def test_no_more_goes_back_on_sale_than_comes_back() -> None:
    with pytest.raises(RestockedTooMuch):
        decisions.approve_return(after(*returned(*MILK)), [Quantity("milk", 2)], SUPPORT)
    with pytest.raises(UnknownLine):
        decisions.approve_return(after(*returned(*MILK)), [Quantity("rye", 1)], SUPPORT)


def test_a_history_begins_with_the_placing_and_only_there() -> None:
    assert replay([]) is None
    with pytest.raises(ValueError, match="begin"):
        evolve(None, CONFIRMED)
    with pytest.raises(ValueError, match="once"):
        replay([PLACED, PLACED])


ONE_OF_EACH: Sequence[Event] = (
    PLACED,
    CONFIRMED,
    OrderRejected("OUT_OF_STOCK", (ShortLine("milk", 2, 1),)),
    OrderRejected("PAYMENT_DECLINED", (), "code"),
    OrderCancelled(State.DELIVERY_FAILED, usd(5)),
    OrderCancelled(State.PENDING),
    ShipmentPlanned(SHIPMENT_ID),
    OrderPickingStarted(),
    OrderPicked((Quantity("milk", 0), Quantity("rye", 1))),
    OrderPaymentDue(usd(910)),
    PaymentRetried(2, uuid7(), "pm_other"),
    PaymentRetryFailed("card_declined"),
    READY,
    OrderReady(uuid7(), CASH, None),
    OrderOutForDelivery(SHIPMENT_ID),
    OrderDelivered(SHIPMENT_ID, usd(0), NOON),
    OrderDelivered(SHIPMENT_ID, None, NOON),
    OrderDeliveryFailed(SHIPMENT_ID),
    RedeliveryPlanned(1, uuid7(), uuid7(), SLOT),
    RedeliveryFailed("SLOT_FULL"),
    OrderReturnRequested(1, MILK, usd(150)),
    OrderReturnApproved(usd(150), MILK),
    OrderReturnRefused(),
    PaymentNoted(uuid7(), usd(910), usd(0)),
)


def test_the_samples_of_this_file_hold_every_event() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(get_args(events.Event))


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_what_is_kept_is_what_happened(event: Event) -> None:
    assert decode(*encode(event)) == event


def test_each_transition_is_told_under_its_own_name_and_nothing_else_is() -> None:
    private = {"ShipmentPlanned", "OrderPicked", "PaymentRetried", "PaymentRetryFailed", "PaymentNoted"}
    private |= {"RedeliveryPlanned", "RedeliveryFailed"}
    asked = after(*returned(*MILK))
    for event in ONE_OF_EACH:
        told = public_event(asked, event)
        name = type(event).__name__
        assert (told.DESCRIPTOR.name if told else None) == (None if name in private else name)


def test_the_history_tells_what_the_public_events_tell_in_sentences() -> None:
    stream = [PLACED, *DELIVERED]
    recorded = [Recorded(number, NOON, event) for number, event in enumerate(stream, start=1)]
    entries = list(history(recorded))
    order: Order | None = None
    told = []
    for event in stream:
        order = evolve(order, event)
        if public_event(order, event):
            told.append(type(event).__name__)
    assert [entry.type for entry in entries] == told
    assert all(entry.text.endswith(".") for entry in entries)
    assert entries[0].text == "Placed: 3 items for 9.10 USD."
    assert [entry.version for entry in history(recorded, after_version=6)] == [7, 8]


def test_every_sort_of_event_has_its_sentence_or_is_told_nobody() -> None:
    for event in ONE_OF_EACH[1:]:
        recorded = [Recorded(1, NOON, PLACED)]
        for number, each in enumerate((*returned(*MILK), event), start=2):
            recorded.append(Recorded(number, NOON, each))
        entries = list(history(recorded, after_version=len(recorded) - 1))
        told = public_event(after(*returned(*MILK)), event)
        assert [entry.type for entry in entries] == ([type(event).__name__] if told else [])


def test_work_follows_from_the_event_that_demands_it() -> None:
    order, cash = after(*DELIVERED), replay([replace(PLACED, payment_method=CASH), *TO_THE_DOOR[:4]])
    assert cash is not None
    demanded = {type(event).__name__: demanded_by(event, order) for event in ONE_OF_EACH}
    assert {name: kind for name, kind in demanded.items() if kind} == {
        "OrderPlaced": Kind.CHECK_OUT,
        "OrderConfirmed": Kind.SHIP,
        "OrderRejected": Kind.COMPENSATE,
        "OrderCancelled": Kind.COMPENSATE,
        "OrderPicked": Kind.FINISH,
        "PaymentRetried": Kind.FINISH,
        "RedeliveryPlanned": Kind.REDELIVER,
        "OrderReturnApproved": Kind.TAKE_BACK,
    }
    assert demanded_by(OrderDelivered(SHIPMENT_ID, usd(910), NOON), cash) is Kind.SETTLE
    assert demanded_by(OrderDelivered(SHIPMENT_ID, None, NOON), cash) is None


def test_a_person_is_shown_to_who_needs_it() -> None:
    personal = Personal(Address("Ann", "Road 1", phone="+49 30 12345"), "ring twice", "stale")
    owner = str(CUSTOMER_ID)
    assert personal.shown_to(owner, frozenset({"customer"}), owner) == personal
    assert personal.shown_to(SUPPORT, frozenset({"admin"}), owner) == personal
    for role in ("finance", "warehouse", "catalog", "courier"):
        assert personal.shown_to(SUPPORT, frozenset({role}), owner) == Personal()
    masked = personal.shown_to(SUPPORT, frozenset({"support"}), owner)
    assert masked.address is not None
    assert (masked.address.recipient, masked.address.phone) == ("Ann", "••••••••••45")
    assert masked.note == "ring twice"


def test_ids_of_an_order_s_steps_are_the_same_every_time() -> None:
    assert after().payment_id == derive(ORDER_ID, "payment") == UUID(str(after().payment_id))
