"""The process of an order: whatever dies, is silent or says no, it ends in one right order."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import Barrier, Thread
from typing import TypeVar
from uuid import UUID

import pytest

from mercato.errors import DeadlineExceeded, MercatoError, NotFound, Unavailable
from mercato.ids import derive, uuid7
from mercato.money import Money
from mercato.postgres import Database
from mercato.rpc import current_call
from mercato.testing import all_at_once, at_once
from services.order.domain import first_payment
from services.order.events import Quantity
from services.order.refusals import OrderNotConfirmed, OutOfStock, PaymentDeclined, SlotFull, TooLateToCancel
from tests.component.order_neighbours import Crash, no
from tests.component.order_shop import Shop, patient, shown, state

Step = Callable[[Shop], object]
T = TypeVar("T")


@pytest.fixture
def shop(order_database: Database) -> Shop:
    return Shop(order_database)


def test_an_order_is_confirmed_within_the_call(shop: Shop) -> None:
    order = shop.place()
    assert state(order) == "CONFIRMED"
    assert shop.told(order.id) == ["OrderPlaced", "OrderConfirmed"]
    assert not shop.left()
    assert [claim.state for claim in shop.inventory.claims.values()] == ["COMMITTED"]
    assert [claim.state for claim in shop.deliveries.holds.values()] == ["CONFIRMED"]
    assert [claim.state for claim in shop.payments.payments.values()] == ["AUTHORIZED"]
    assert [str(key) for key in shop.deliveries.shipments] == [order.shipment_id]


# What each story is, and what must be true at its end, wherever it was interrupted.


def placed(shop: Shop) -> None:
    shop.place()


def declined(shop: Shop) -> None:
    with pytest.raises(PaymentDeclined):
        shop.place(shop.wanted(payment_method="pm_declined"))


def cancelled(shop: Shop) -> None:
    order_id = the_order(shop) or shop.place().id
    with shop.acting(shop.customer, "cancel"):
        shop.orders.cancel_order(UUID(order_id), "changed my mind", "")


def begin(shop: Shop, payment_method: str = "pm_card_visa") -> None:
    shop.picking(payment_method)


def picked(shop: Shop, **units: int) -> None:
    with shop.acting(shop.warehouse, "finish"):
        shop.orders.finish_picking(UUID(the_order(shop)), units)


def run_into_debt(shop: Shop) -> None:
    begin(shop, "pm_capture_fails")
    picked(shop)


def paid_otherwise(shop: Shop) -> None:
    with shop.acting(shop.customer, "retry"):
        shop.orders.retry_payment(UUID(the_order(shop)), "pm_card_visa")


def delivered_again(shop: Shop) -> None:
    with shop.acting(shop.support, "redeliver"):
        shop.orders.redeliver(UUID(the_order(shop)), shop.other_slot_id)


def cancelled_at_the_end(shop: Shop) -> None:
    with shop.acting(shop.support, "cancel"):
        shop.orders.cancel_order(UUID(the_order(shop)), "nobody there", "")


def gave_back(shop: Shop) -> None:
    order_id = UUID(the_order(shop))
    with shop.acting(shop.customer, "request"):
        shop.orders.request_return(order_id, [Quantity("milk", 1)], "sour")
    with shop.acting(shop.support, "approve"):
        shop.orders.approve_return(order_id, [Quantity("milk", 1)])


def brought_for_cash(shop: Shop) -> None:
    order = shop.order(the_order(shop))
    if state(order) != "DELIVERED":
        shop.delivered(order, Money(910, "USD"))
    while shop.parts.process.run_once():
        pass


def the_order(shop: Shop) -> str:
    rows = shop.sql("select order_id from order_view")
    assert len(rows) <= 1
    return str(rows[0][0]) if rows else ""


def secured(shop: Shop) -> None:
    assert only(shop.inventory.claims).state == "COMMITTED"
    assert only(shop.deliveries.holds).state == "CONFIRMED"
    assert only(shop.payments.payments).state == "AUTHORIZED"
    assert only(shop.deliveries.shipments).state == "PLANNED"
    assert shop.inventory.free == {"milk": 8, "rye": 9}
    assert shop.told(the_order(shop)) == ["OrderPlaced", "OrderConfirmed"]


def nothing_held(shop: Shop) -> None:
    assert shop.inventory.free == {"milk": 10, "rye": 10}
    assert shop.deliveries.places[str(shop.slot_id)] == 10
    assert all(each.state in ("VOIDED", "DECLINED") for each in shop.payments.payments.values())
    assert all(each.state == "CANCELLED" for each in shop.deliveries.shipments.values())


def captured(amount: int) -> Step:
    def check(shop: Shop) -> None:
        payment = shop.payments.payments[first_payment(UUID(the_order(shop)))]
        assert (payment.state, payment.captured) == ("CAPTURED", Money(amount, "USD"))
        assert shop.order(the_order(shop)).captured_total.units * 100 == amount // 100 * 100
        assert only(shop.deliveries.shipments).state == "READY"
        assert only(shop.inventory.claims).state == "CONSUMED"

    return check


def due(shop: Shop) -> None:
    assert only(shop.payments.payments).captured is None
    assert only(shop.deliveries.shipments).state == "PLANNED"
    assert shop.told(the_order(shop))[-1] == "OrderPaymentDue"


def paid_by_the_second(shop: Shop) -> None:
    first, second = shop.payments.payments.values()
    assert (first.state, second.state, second.captured) == ("VOIDED", "CAPTURED", Money(910, "USD"))
    assert shop.order(the_order(shop)).payment_id == str(derive(UUID(the_order(shop)), "payment:1"))
    assert only(shop.deliveries.shipments).state == "READY"


def on_its_way_again(shop: Shop) -> None:
    first, second = shop.deliveries.shipments.values()
    assert (first.state, second.state) == ("FAILED", "READY")
    assert shop.deliveries.places[str(shop.other_slot_id)] == 9
    assert shop.order(the_order(shop)).slot.id == str(shop.other_slot_id)
    assert only(shop.payments.payments).captured == Money(910, "USD")


def refunded(amount: int) -> Step:
    def check(shop: Shop) -> None:
        assert only(shop.payments.payments).refunded == Money(amount, "USD")
        total = shop.order(the_order(shop)).refunded_total
        assert total.units * 100 + total.nanos // 10**7 == amount

    return check


def returned(shop: Shop) -> None:
    refunded(150)(shop)
    assert shop.inventory.free["milk"] == 9


def settled(shop: Shop) -> None:
    assert only(shop.payments.payments).captured == Money(910, "USD")
    assert shop.order(the_order(shop)).captured_total.units == 9


def only(values: Mapping[UUID, T]) -> T:
    (value,) = values.values()
    return value


def bring_back(shop: Shop) -> None:
    shop.turned_back()


def bring(shop: Shop) -> None:
    shop.brought()


def bring_cash(shop: Shop) -> None:
    shop.picked_up(shop.ready("cash_on_delivery"))


STORIES: dict[str, tuple[Step, Step, str, Step]] = {
    "placed": (lambda _: None, placed, "CONFIRMED", secured),
    "declined": (lambda _: None, declined, "REJECTED", nothing_held),
    "cancelled": (placed, cancelled, "CANCELLED", nothing_held),
    "picked short": (begin, lambda shop: picked(shop, milk=1), "READY", captured(760)),
    "picked nothing": (begin, lambda shop: picked(shop, milk=0, rye=0), "CANCELLED", nothing_held),
    "capture fails": (lambda shop: begin(shop, "pm_capture_fails"), picked, "PAYMENT_DUE", due),
    "paid otherwise": (run_into_debt, paid_otherwise, "READY", paid_by_the_second),
    "delivered again": (bring_back, delivered_again, "READY", on_its_way_again),
    "cancelled at the end": (bring_back, cancelled_at_the_end, "CANCELLED", refunded(910)),
    "given back": (bring, gave_back, "DELIVERED", returned),
    "brought for cash": (bring_cash, brought_for_cash, "DELIVERED", settled),
}


def play(database: Database, story: str, crash_at: int | None) -> Shop | None:
    """Play a story in which the process dies at a point, and the client asks again; None behind the last point."""
    before, act, _, _ = STORIES[story]
    shop = Shop(database)
    before(shop)
    shop.points.passed.clear()
    shop.points.crash_at = crash_at
    try:
        act(shop)
    except Crash:
        shop.rest()
        act(shop)
    else:
        if crash_at is not None:
            return None
    shop.rest()
    return shop


@pytest.mark.parametrize("story", STORIES)
def test_a_process_that_dies_between_any_two_lines_leaves_one_right_order(order_database: Database, story: str) -> None:
    _, _, ends, check = STORIES[story]
    crash_at = 0
    while shop := play(order_database, story, crash_at):
        assert (story, crash_at, state(shop.order(the_order(shop)))) == (story, crash_at, ends)
        check(shop)
        assert not shop.left()
        crash_at += 1
    assert crash_at > 5


@pytest.mark.parametrize("story", ["placed", "cancelled"])
def test_whoever_asks_again_before_anybody_recovered_changes_nothing(order_database: Database, story: str) -> None:
    _, act, ends, check = STORIES[story]
    crash_at, crashed = 0, True
    while crashed:
        shop = Shop(order_database)
        shop.points.crash_at, crashed = crash_at, False
        try:
            act(shop)
        except Crash:
            crashed = True
            shop.points.crash_at = None
            shop.start()
            act(shop)
        shop.rest()
        assert (crash_at, state(shop.order(the_order(shop)))) == (crash_at, ends)
        check(shop)
        crash_at += 1


CHECKOUT = ["ReserveStock", "HoldSlot", "AuthorizePayment", "CommitReservation", "ConfirmSlot"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [*CHECKOUT, "CreateShipment"])
def test_silence_is_never_a_no(shop: Shop, call: str, when: str) -> None:
    shop.points.fail(f"{call}.{when}", Unavailable(), DeadlineExceeded())
    order = shop.place()
    assert state(order) == ("CONFIRMED" if call == "CreateShipment" else "PENDING")
    assert len(shop.left()) == 1
    shop.rest()
    assert state(shop.order(order.id)) == "CONFIRMED"
    secured(shop)


@pytest.mark.parametrize("call", CHECKOUT)
def test_a_refusal_that_is_nobody_s_decision_about_the_order_is_asked_again(shop: Shop, call: str) -> None:
    shop.points.fail(f"{call}.before", no("UNKNOWN_WAREHOUSE"))
    assert state(shop.place()) == "PENDING"
    shop.rest()
    secured(shop)


@pytest.mark.parametrize("call", ["ReleaseReservation", "ReleaseSlot", "VoidPayment"])
def test_a_compensation_that_fails_keeps_none_of_the_others_and_is_asked_for_until_done(shop: Shop, call: str) -> None:
    shop.points.fail(f"{call}.before", *[Unavailable()] * 20)
    with pytest.raises(PaymentDeclined):
        shop.place(shop.wanted(payment_method="pm_declined"))
    others = {"ReleaseReservation", "ReleaseSlot", "VoidPayment"} - {call}
    assert all(f"{other}.after" in shop.points.passed for other in others)
    assert shop.left() == ["COMPENSATE"]
    shop.rest()
    nothing_held(shop)


def test_a_checkout_that_takes_too_long_is_given_up_and_holds_nothing(shop: Shop) -> None:
    shop.points.fail("AuthorizePayment.after", *[Unavailable()] * 3)
    order = shop.place()
    shop.sql("update process set deadline_at = clock_timestamp()")
    shop.rest()
    rejected = shop.order(order.id)
    assert (state(rejected), rejected.rejection.reason) == ("REJECTED", "CHECKOUT_TIMED_OUT")
    nothing_held(shop)


def test_what_expired_meanwhile_is_reserved_afresh(shop: Shop) -> None:
    shop.points.hooks["CommitReservation.before"] = shop.inventory.expire
    order = shop.place()
    assert state(order) == "PENDING"
    shop.rest()
    secured(shop)


def test_what_expired_and_was_sold_meanwhile_is_refused(shop: Shop) -> None:
    def sell() -> None:
        shop.inventory.expire()
        shop.inventory.free["milk"] = 0

    shop.points.hooks["CommitReservation.before"] = sell
    order = shop.place()
    shop.rest()
    rejected = shop.order(order.id)
    assert (state(rejected), rejected.rejection.reason) == ("REJECTED", "OUT_OF_STOCK")
    assert only(shop.payments.payments).state == "VOIDED"


def cancel(shop: Shop) -> None:
    with shop.acting(shop.customer, "cancel"):
        shop.orders.cancel_order(UUID(the_order(shop)), "changed my mind", "")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [*CHECKOUT, "CreateShipment"])
def test_a_cancel_in_the_middle_of_the_checkout_leaves_nothing_held(shop: Shop, call: str, when: str) -> None:
    shop.points.hooks[f"{call}.{when}"] = lambda: cancel(shop)
    assert state(shop.place()) == "CANCELLED"
    shop.rest()
    nothing_held(shop)
    assert shop.told(the_order(shop))[-1] == "OrderCancelled"


@pytest.mark.parametrize("call", CHECKOUT)
def test_one_who_was_paused_beyond_the_lease_decides_nothing(shop: Shop, call: str) -> None:
    shop.points.hooks[f"{call}.after"] = shop.rest
    order = shop.place()
    assert state(order) == "CONFIRMED"
    secured(shop)
    assert shop.sql("select count(*) from events where stream_id = %s", order.id) == [(3,)]


def test_two_workers_never_do_the_same_at_the_same_time(shop: Shop) -> None:
    shop.points.fail("ReserveStock.before", Unavailable())
    shop.place()
    shop.sql("update process set next_run_at = clock_timestamp()")
    worked = at_once(shop.parts.process.run_once, 4)
    assert sorted(map(str, worked)) == ["False", "False", "False", "True"]
    secured(shop)


def test_the_same_key_twenty_times_at_once_is_one_order(shop: Shop) -> None:
    orders = at_once(shop.place, 20)
    ids = {order.id for order in orders if not isinstance(order, Exception)}
    assert len(ids) == 1
    assert not [order for order in orders if isinstance(order, Exception)]
    shop.rest()
    secured(shop)


def test_a_repeat_answers_before_anybody_is_asked_anything(shop: Shop) -> None:
    first = shop.place()
    shop.products.prices.clear()
    shop.users.addresses.clear()
    shop.points.passed.clear()
    assert shop.place().id == first.id
    assert not [point for point in shop.points.passed if not point.startswith("commit")]


def test_a_repeat_of_what_was_rejected_is_refused_alike(shop: Shop) -> None:
    shop.inventory.free["milk"] = 1
    refusals = []
    for _ in range(2):
        with pytest.raises(OutOfStock) as refusal:
            shop.place()
        refusals.append(refusal.value.metadata)
    assert refusals[0] == refusals[1]
    assert refusals[0]["skus"] == [{"sku": "milk", "wanted": 2, "available": 1}]
    assert refusals[0]["order_id"] == the_order(shop)


def test_two_buyers_of_the_last_place_are_one_order_and_one_refusal(shop: Shop) -> None:
    shop.deliveries.places[str(shop.slot_id)] = 1
    keys = iter(["one", "two"])
    outcomes = at_once(lambda: shop.place(key=next(keys)), 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Order", "SlotFull"]
    shop.rest()
    assert shop.inventory.free == {"milk": 8, "rye": 9}
    assert [type(each) for each in outcomes if isinstance(each, MercatoError)] == [SlotFull]


def test_when_too_many_wait_the_next_hears_that_the_order_is_pending(order_database: Database) -> None:
    shop = Shop(order_database, patient(at_once=1))
    pending = []
    shop.points.hooks["ReserveStock.before"] = lambda: pending.append(state(shop.place(key="other")))
    assert state(shop.place()) == "CONFIRMED"
    assert pending == ["PENDING"]
    assert shop.left() == ["CHECK_OUT"]
    assert shop.parts.process.run_once()
    assert not shop.left()


def test_a_caller_waits_no_longer_than_its_patience(order_database: Database) -> None:
    shop = Shop(order_database, patient(patience=timedelta(0)))
    asked: list[float | None] = []
    shop.points.hooks["ReserveStock.before"] = lambda: asked.append(current_call().remaining)
    shop.place()
    assert asked[0] is not None
    assert asked[0] <= 0


def test_a_task_is_put_off_for_longer_each_time(shop: Shop) -> None:
    shop.points.fail("ReserveStock.before", *[Unavailable()] * 4)
    shop.place()
    pauses = []
    for _ in range(3):
        shop.sql("update process set next_run_at = clock_timestamp()")
        shop.parts.process.run_once()
        pauses.append(shop.sql("select extract(epoch from next_run_at - clock_timestamp()) from process")[0][0])
    assert pauses == sorted(pauses)
    assert pauses[-1] > 1.5


def test_money_that_was_taken_after_all_is_given_back(shop: Shop) -> None:
    def take() -> None:
        payment = only(shop.payments.payments)
        payment.state, payment.captured = "CAPTURED", Money(910, "USD")

    shop.points.hooks["VoidPayment.before"] = take
    order = shop.place()
    cancel(shop)
    shop.rest()
    assert state(shop.order(order.id)) == "CANCELLED"
    assert only(shop.payments.payments).refunded == Money(910, "USD")


def test_a_refund_that_finance_was_faster_with_leaves_what_is_left(shop: Shop) -> None:
    order = shop.brought()
    with shop.acting(shop.customer, "request"):
        shop.orders.request_return(UUID(order.id), [Quantity("milk", 2), Quantity("rye", 1)], "sour")
    payment_id = first_payment(UUID(order.id))
    shop.payments.refund_payment(payment_id, Money(900, "USD"), "finance", uuid7())
    with shop.acting(shop.support, "approve"):
        shop.orders.approve_return(UUID(order.id), [])
    shop.rest()
    assert shop.payments.payments[payment_id].refunded == Money(910, "USD")
    refunded(910)(shop)


def test_a_slot_that_is_lost_before_it_is_secured_is_given_up(shop: Shop) -> None:
    order = shop.turned_back()

    def lose() -> None:
        for claim in shop.deliveries.holds.values():
            claim.state = "EXPIRED" if claim.state == "HELD" else claim.state
        shop.deliveries.closed.add(str(shop.other_slot_id))

    hold = {"n": 0}

    def second() -> None:
        hold["n"] += 1
        lose()

    with shop.acting(shop.support):
        shop.points.hooks["HoldSlot.after"] = lambda: shop.points.hooks.update({"HoldSlot.before": second})
        again = shown(shop.orders.redeliver(UUID(order.id), shop.other_slot_id))
    assert hold["n"] == 1
    assert state(again) == "DELIVERY_FAILED"
    assert not shop.left()


def test_what_is_left_of_one_delivery_says_nothing_of_the_next(shop: Shop) -> None:
    """The courier was faster than the answer about the first two shipments, and the slot of the third is lost."""
    order = shop.picking()
    shop.points.fail("ReadyShipment.after", Unavailable(), Unavailable())
    shop.finish(order)
    shop.picked_up(order)
    shop.failed(order)
    with shop.acting(shop.support, "second"):
        shop.orders.redeliver(UUID(order.id), shop.other_slot_id)
    with shop.work() as work:
        shop.following.shipment_picked_up(work, UUID(order.id), derive(UUID(order.id), "shipment:1"))
    shop.failed(order)
    shop.points.fail("ConfirmSlot.before", Unavailable())
    with shop.acting(shop.support, "third"):
        shop.orders.redeliver(UUID(order.id), shop.slot_id)
    assert shop.left() == ["FINISH", "REDELIVER", "REDELIVER"]
    for claim in shop.deliveries.holds.values():
        claim.state = "EXPIRED" if claim.state == "HELD" else claim.state
    shop.deliveries.closed.add(str(shop.slot_id))
    shop.rest()
    assert state(shop.order(order.id)) == "DELIVERY_FAILED"
    assert shop.deliveries.shipments.keys() >= {shop.shipment_of(order)}


def test_a_courier_who_is_faster_than_we_are_is_believed(shop: Shop) -> None:
    order = shop.picking()
    shop.points.crash_at = None

    def pick_up() -> None:
        shop.picked_up(order)

    shop.points.hooks["ReadyShipment.after"] = pick_up
    assert state(shop.finish(order)) == "OUT_FOR_DELIVERY"
    assert not shop.left()
    assert shop.told(order.id)[-2:] == ["OrderReady", "OrderOutForDelivery"]


def test_events_that_come_twice_change_nothing_the_second_time(shop: Shop) -> None:
    order = shop.brought()
    before = shop.order(order.id).version
    shop.picked_up(order)
    shop.delivered(order)
    shop.failed(order)
    payment_id = first_payment(UUID(order.id))
    with shop.work() as work:
        shop.following.payment_captured(work, UUID(order.id), payment_id, Money(910, "USD"))
        shop.following.payment_captured(work, uuid7(), payment_id, Money(910, "USD"))
    assert shop.order(order.id).version == before


def test_refunds_by_whomever_show_in_the_order(shop: Shop) -> None:
    order = shop.brought()
    payment_id = first_payment(UUID(order.id))
    for _ in range(2):
        with shop.work() as work:
            shop.following.payment_refunded(work, UUID(order.id), payment_id, Money(100, "USD"))
    assert shop.order(order.id).refunded_total.units == 1


def test_an_erased_customer_leaves_no_trace_and_no_order_that_could_not_be_brought(shop: Shop) -> None:
    open_, brought = shop.place(), shop.place(key="other")
    with shop.acting(shop.warehouse):
        shop.orders.start_picking(UUID(brought.id))
    for _ in range(2):
        with shop.work() as work:
            shop.following.user_erased(work, UUID(shop.customer.subject))
    shop.rest()
    assert state(shop.order(open_.id)) == "CANCELLED"
    assert state(shop.order(brought.id)) == "PICKING"
    assert not shop.order(brought.id).HasField("address")
    assert shop.order(brought.id).note == ""
    for word in ("Annabel", "Road 1", "30 12345", "ring twice"):
        for table in ("events", "order_view", "personal", "outbox", "cart"):
            dump = shop.sql(f"select string_agg(t::text, '') from {table} t")[0][0] or ""
            assert word not in dump
            assert word.encode().hex() not in dump


def test_an_order_of_somebody_who_is_being_erased_stays_out(shop: Shop) -> None:
    def erase() -> None:
        with shop.work() as work:
            shop.following.user_erased(work, UUID(shop.customer.subject))

    shop.points.hooks["QuoteSlot.after"] = erase
    with pytest.raises(NotFound):
        shop.place()
    assert not shop.sql("select 1 from order_view")


def test_of_a_cancel_and_a_picker_at_once_one_is_too_late(shop: Shop) -> None:
    for _ in range(5):
        order_id = UUID(shop.place(key=str(uuid7())).id)

        def cancel_it(order_id: UUID = order_id) -> str:
            with shop.acting(shop.customer):
                shop.orders.cancel_order(order_id, "changed my mind", "")
            return "CANCELLED"

        def pick_it(order_id: UUID = order_id) -> str:
            with shop.acting(shop.warehouse):
                shop.orders.start_picking(order_id)
            return "PICKING"

        outcomes = all_at_once([cancel_it, pick_it])
        (winner,) = [each for each in outcomes if isinstance(each, str)]
        (loser,) = [each for each in outcomes if isinstance(each, Exception)]
        assert isinstance(loser, TooLateToCancel | OrderNotConfirmed)
        assert state(shop.order(str(order_id))) == winner
        versions = shop.sql("select version from events where stream_id = %s order by version", order_id)
        assert [row[0] for row in versions] == list(range(1, len(versions) + 1))


def test_a_cancel_that_meets_the_pivot_wins_before_it_or_after_it(shop: Shop) -> None:
    for _ in range(5):
        key = str(uuid7())
        ready, cancelled = Barrier(2), list[str]()

        def cancel_at_the_pivot(ready: Barrier = ready, cancelled: list[str] = cancelled) -> None:
            ready.wait()
            (row,) = shop.sql("select order_id from order_view where state in ('PENDING', 'CONFIRMED')")
            with shop.acting(shop.customer):
                shop.orders.cancel_order(row[0], "changed my mind", "")
            cancelled.append(str(row[0]))

        def meet(ready: Barrier = ready) -> None:
            ready.wait()

        canceller = Thread(target=cancel_at_the_pivot)
        canceller.start()
        shop.points.hooks["ConfirmSlot.after"] = meet
        order = shop.place(key=key)
        canceller.join()
        shop.rest()
        assert cancelled == [order.id]
        assert state(shop.order(order.id)) == "CANCELLED"
        nothing_held(shop)
