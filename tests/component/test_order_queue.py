"""The queue for people: what waits for a decision or is refused again and again, and how it leaves the queue."""

from datetime import timedelta
from uuid import UUID

import pytest

from mercato.api.order.v1 import order_pb2 as pb
from mercato.errors import NotFound, Unavailable
from mercato.money import Money
from mercato.ops.stuck import NothingToRetry, Stuck
from mercato.postgres import Database
from mercato.testing import at_once
from services.order.domain import first_payment
from services.order.events import Quantity
from services.order.refusals import PaymentDeclined, TooMuchHeld
from tests.component.order_neighbours import Claim, no
from tests.component.order_shop import Shop, patient, state


@pytest.fixture
def shop(order_database: Database) -> Shop:
    return Shop(order_database)


def queue(shop: Shop) -> list[Stuck]:
    return list(shop.parts.queue.find(None, 100))


def only(shop: Shop) -> Stuck:
    (stuck,) = queue(shop)
    assert shop.parts.queue.count() == 1
    return stuck


def due(shop: Shop) -> UUID:
    """An order whose money could not be taken."""
    order = shop.finish(shop.picking("pm_capture_fails"))
    assert state(order) == "PAYMENT_DUE"
    return UUID(order.id)


def test_an_order_that_goes_its_way_waits_for_nobody(shop: Shop) -> None:
    shop.brought()
    assert not queue(shop)
    assert (shop.parts.queue.count(), shop.parts.queue.in_flight()) == (0, 0)


def test_money_that_cannot_be_taken_waits_for_other_means_and_leaves_with_them(shop: Shop) -> None:
    order_id = due(shop)
    stuck = only(shop)
    assert (stuck.id, stuck.state, stuck.waits_for) == (str(order_id), "PAYMENT_DUE", "another means of payment")
    assert f"/v1/orders/{order_id}:retryPayment" in stuck.advice
    with shop.acting(shop.customer), pytest.raises(PaymentDeclined):
        shop.orders.retry_payment(order_id, "pm_declined")
    assert only(shop).last_reason
    with shop.acting(shop.customer):
        shop.orders.retry_payment(order_id, "pm_card_visa")
    assert not queue(shop)
    assert state(shop.order(str(order_id))) == "READY"


def test_a_retry_of_money_due_tries_the_same_means_again(shop: Shop) -> None:
    order_id = due(shop)
    payment = shop.payments.payments[first_payment(order_id)]
    assert shop.parts.queue.retry(str(order_id)) == 1
    assert not queue(shop)  # somebody is at it
    shop.rest()
    assert only(shop).state == "PAYMENT_DUE"
    payment.method = "pm_card_visa"
    shop.parts.queue.retry(str(order_id))
    shop.rest()
    assert state(shop.order(str(order_id))) == "READY"
    assert payment.captured == Money(910, "USD")


def test_a_delivery_that_failed_waits_for_a_slot_or_a_refund(shop: Shop) -> None:
    order = shop.turned_back()
    assert only(shop).waits_for == "another delivery, or a refund"
    with pytest.raises(NothingToRetry) as refusal:
        shop.parts.queue.retry(order.id)
    assert ":redeliver" in str(refusal.value)
    with shop.acting(shop.support, "again"):
        shop.orders.redeliver(UUID(order.id), shop.other_slot_id)
    assert not queue(shop)


def test_a_delivery_that_failed_and_is_refunded_leaves_the_queue(shop: Shop) -> None:
    order = shop.turned_back()
    with shop.acting(shop.support, "cancel"):
        shop.orders.cancel_order(UUID(order.id), "nobody there", "")
    assert not queue(shop)
    assert shop.order(order.id).refunded_total.units == 9


@pytest.mark.parametrize("approved", [True, False])
def test_a_return_waits_until_it_is_decided(shop: Shop, approved: bool) -> None:
    order = shop.brought()
    with shop.acting(shop.customer, "request"):
        shop.orders.request_return(UUID(order.id), [Quantity("milk", 1)], "sour")
    assert only(shop).waits_for == "the decision on a return"
    with shop.acting(shop.support, "decide"):
        if approved:
            shop.orders.approve_return(UUID(order.id), [])
        else:
            shop.orders.refuse_return(UUID(order.id), "it was drunk")
    assert not queue(shop)


def run_once(shop: Shop, times: int) -> None:
    """Let the worker try what is there so many times."""
    for _ in range(times):
        shop.sql("update process set next_run_at = clock_timestamp()")
        assert shop.parts.process.run_once()


def test_a_shipment_that_cannot_be_made_is_shown_and_made_when_it_can_be(shop: Shop) -> None:
    shop.points.fail("CreateShipment.before", *[no("HOLD_UNKNOWN")] * 3)
    order = shop.place()
    run_once(shop, 1)
    assert not queue(shop)  # twice is no pattern yet
    run_once(shop, 1)
    stuck = only(shop)
    assert (stuck.state, stuck.attempts, stuck.last_reason) == ("CONFIRMED", 3, "HOLD_UNKNOWN")
    assert stuck.waits_for == "delivery, to plan the shipment"
    assert shop.parts.queue.retry(order.id) == 1
    assert shop.parts.process.run_once()
    assert not queue(shop)
    assert shop.order(order.id).shipment_id


def test_a_shipment_that_cannot_be_made_may_be_called_off(shop: Shop) -> None:
    shop.points.fail("CreateShipment.before", *[no("HOLD_UNKNOWN")] * 3)
    order = shop.place()
    run_once(shop, 2)
    with shop.acting(shop.support, "cancel"):
        shop.orders.cancel_order(UUID(order.id), "cannot be brought", "")
    assert not queue(shop)
    assert shop.inventory.free == {"milk": 10, "rye": 10}


def test_a_compensation_that_is_refused_again_and_again_is_shown_and_goes_on_for_ever(shop: Shop) -> None:
    shop.points.fail("ReleaseReservation.before", *[no("UNKNOWN_WAREHOUSE")] * 12)
    with pytest.raises(PaymentDeclined):
        shop.place(shop.wanted(payment_method="pm_declined"))
    run_once(shop, 9)
    stuck = only(shop)
    assert (stuck.state, stuck.attempts, stuck.last_reason) == ("REJECTED", 10, "UNKNOWN_WAREHOUSE")
    (pause,) = shop.sql("select next_run_at - clock_timestamp() from process")[0]
    assert timedelta(minutes=1) < pause < timedelta(minutes=5)
    run_once(shop, 3)
    assert not queue(shop)
    assert shop.inventory.free == {"milk": 10, "rye": 10}


def test_a_refund_that_the_provider_refuses_is_shown_and_asked_for_anew(shop: Shop) -> None:
    order = shop.brought()
    with shop.acting(shop.customer, "request"):
        shop.orders.request_return(UUID(order.id), [Quantity("milk", 1)], "sour")
    shop.payments.refusing_refunds = 3
    with shop.acting(shop.support, "approve"):
        shop.orders.approve_return(UUID(order.id), [])
    run_once(shop, 2)
    stuck = only(shop)
    assert (stuck.last_reason, stuck.waits_for) == (
        "REFUND_FAILED",
        "the refund of a return, and its goods to be put back",
    )
    shop.rest()
    assert not queue(shop)
    payment = shop.payments.payments[first_payment(UUID(order.id))]
    assert payment.refunded == Money(150, "USD")
    assert len(payment.refused_refunds) == 3  # each asked for under an id of its own


def test_goods_that_cannot_be_put_back_never_cost_a_second_refund(shop: Shop) -> None:
    order = shop.brought()
    with shop.acting(shop.customer, "request"):
        shop.orders.request_return(UUID(order.id), [Quantity("milk", 1)], "sour")
    shop.points.fail("RestockReturn.before", *[no("UNKNOWN_WAREHOUSE")] * 4)
    with shop.acting(shop.support, "approve"):
        shop.orders.approve_return(UUID(order.id), [Quantity("milk", 1)])
    shop.rest()
    assert shop.payments.payments[first_payment(UUID(order.id))].refunded == Money(150, "USD")
    assert not queue(shop)


def test_silence_is_shown_when_it_lasts(order_database: Database) -> None:
    shop = Shop(order_database, patient(queue_after=timedelta(minutes=10)))
    shop.points.fail("CreateShipment.before", *[Unavailable()] * 5)
    order = shop.place()
    run_once(shop, 3)
    assert not queue(shop)
    shop.sql("update process set create_time = create_time - interval '11 minutes'")
    assert (only(shop).id, only(shop).last_reason) == (order.id, "UNAVAILABLE")


def test_pages_lead_through_the_queue_the_oldest_first(shop: Shop) -> None:
    orders = []
    for key in ("one", "two", "three"):
        order = shop.place(shop.wanted(payment_method="pm_capture_fails"), key=key)
        with shop.acting(shop.warehouse):
            shop.orders.start_picking(UUID(order.id))
        shop.finish(order)
        orders.append(order.id)
    first = shop.parts.queue.find(None, 2)
    rest = shop.parts.queue.find((first[-1].since, first[-1].id), 2)
    assert [each.id for each in (*first, *rest)] == orders


@pytest.mark.parametrize("what", ["01a1fd6e-71bf-74d8-9ba1-f820f6aaed25", "nothing"])
def test_nothing_is_retried_about_what_is_not_there(shop: Shop, what: str) -> None:
    with pytest.raises(NotFound):
        shop.parts.queue.retry(what)


def test_work_that_was_lost_is_begun_again(shop: Shop) -> None:
    shop.points.fail("CreateShipment.before", Unavailable())
    order = shop.place()
    assert shop.sql("delete from process returning kind") == [("SHIP",)]
    assert shop.parts.queue.retry(order.id) == 1
    shop.rest()
    assert shop.order(order.id).shipment_id
    with pytest.raises(NotFound):
        shop.parts.queue.retry(order.id)


def test_a_compensation_that_was_lost_is_begun_again(shop: Shop) -> None:
    free = +shop.inventory.free
    shop.points.fail("ReleaseReservation.before", Unavailable())
    order = shop.place()
    with shop.acting(shop.customer, "cancel"):
        shop.orders.cancel_order(UUID(order.id), "", "")
    assert shop.sql("delete from process returning kind") == [("COMPENSATE",)]
    assert shop.inventory.free != free
    assert shop.parts.queue.retry(order.id) == 1
    shop.rest()
    assert not shop.sql("select kind from process")
    assert shop.inventory.free == free


def test_a_retry_gives_up_all_that_a_dead_order_still_holds_and_nothing_of_a_live_one(shop: Shop) -> None:
    live, dead = shop.place(key="live"), shop.place(key="dead")
    claims = claims_of(shop, live)
    with shop.acting(shop.customer, "cancel"):
        shop.orders.cancel_order(UUID(dead.id), "", "")
    given_up = claims_of(shop, dead)
    for lost, state_ in zip(given_up, ("COMMITTED", "CONFIRMED", "PLANNED", "AUTHORIZED"), strict=True):
        lost.state = state_  # as if nobody had ever been asked
    assert shop.parts.queue.retry(dead.id) == 1
    shop.rest()
    assert [each.state for each in claims_of(shop, dead)] == ["RELEASED", "RELEASED", "CANCELLED", "VOIDED"]
    assert [each.state for each in claims] == ["COMMITTED", "CONFIRMED", "PLANNED", "AUTHORIZED"]


def claims_of(shop: Shop, order: pb.Order) -> list[Claim]:
    """What an order holds of stock, place, courier and money."""
    kinds = (shop.inventory.claims, shop.deliveries.holds, shop.deliveries.shipments, shop.payments.payments)
    return [claim for claims in kinds for claim in claims.values() if claim.order_id == UUID(order.id)]


def test_a_defect_puts_off_its_own_task_and_no_other(shop: Shop) -> None:
    shop.points.fail("CreateShipment.before", ValueError("a defect"), Unavailable(), ZeroDivisionError())
    first, second = shop.place(key="one"), shop.place(key="two")
    assert [row[0] for row in shop.sql("select last_reason from process order by 1")] == ["INTERNAL", "UNAVAILABLE"]
    run_once(shop, 2)
    shop.rest()
    assert shop.order(first.id).shipment_id
    assert shop.order(second.id).shipment_id


# What one customer may hold.


def held_up(shop: Shop, orders: int, key: str = "held") -> None:
    """Orders that stay pending: inventory is silent."""
    shop.points.fail("ReserveStock.before", *[Unavailable()] * orders)
    for number in range(orders):
        assert state(shop.place(key=f"{key}{number}")) == "PENDING"


def test_one_customer_s_pending_orders_are_capped_by_number(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_pending=2))
    held_up(shop, 2)
    with pytest.raises(TooMuchHeld) as refusal:
        shop.place(key="one more")
    assert (refusal.value.reason, refusal.value.retry_after, refusal.value.metadata) == (
        "TOO_MUCH_HELD",
        30.0,
        {"pending": 2},
    )
    assert len(shop.sql("select 1 from order_view")) == 2
    assert not shop.sql("select 1 from idempotency where key = 'one more'")
    shop.rest()
    assert state(shop.place(key="one more")) == "CONFIRMED"


def test_one_customer_s_pending_orders_are_capped_by_units(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_units=7))
    held_up(shop, 2)  # three units each
    with pytest.raises(TooMuchHeld) as refusal:
        shop.place(key="one more")
    assert refusal.value.metadata == {"held": 6}
    shop.points.fail("ReserveStock.before", Unavailable())
    assert state(shop.place(shop.wanted([Quantity("milk", 1)]), key="a little one")) == "PENDING"


def test_a_cancelled_order_holds_nothing(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_pending=1))
    held_up(shop, 1)
    (order_id,) = shop.sql("select order_id from order_view")[0]
    with shop.acting(shop.customer):
        shop.orders.cancel_order(order_id, "changed my mind", "")
    assert state(shop.place(key="another")) == "CONFIRMED"


def test_orders_at_once_never_hold_more_than_the_cap(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_pending=3, at_once=0))
    keys = iter(str(number) for number in range(12))
    outcomes = at_once(lambda: shop.place(key=next(keys)), 12)
    assert sum(isinstance(each, TooMuchHeld) for each in outcomes) == 9
    assert shop.left() == ["CHECK_OUT"] * 3


def test_a_repeat_is_answered_though_the_cap_is_reached(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_pending=1))
    held_up(shop, 1)
    assert state(shop.place(key="held0")) == "PENDING"


def test_no_cap_is_no_cap(order_database: Database) -> None:
    shop = Shop(order_database, patient(most_pending=0, most_units=0))
    held_up(shop, 5)


def test_however_long_the_pause_a_checkout_is_looked_at_when_its_deadline_has_come(shop: Shop) -> None:
    shop.points.fail("ReserveStock.before", *[no("UNKNOWN_WAREHOUSE")] * 14)
    order = shop.place()
    run_once(shop, 12)
    (late,) = shop.sql("select next_run_at > deadline_at from process")[0]
    assert not late
    shop.sql("update process set deadline_at = clock_timestamp(), next_run_at = clock_timestamp()")
    assert shop.parts.process.run_once()
    assert shop.order(order.id).rejection.reason == "CHECKOUT_TIMED_OUT"
