"""What customers agree to with their orders, and that it is shown by whoever works on them later."""

from uuid import UUID

import pytest

from mercato.grants import digest
from mercato.keys import UnfitKey
from mercato.money import Money
from mercato.postgres import Database
from services.order.consent import STEPS, nobody
from services.order.domain import first_payment
from services.order.refusals import PaymentDeclined
from tests.component.order_neighbours import Crash
from tests.component.order_shop import Shop, state


@pytest.fixture
def shop(order_database: Database) -> Shop:
    return Shop(order_database)


def test_with_an_order_its_customer_agrees_to_its_total_by_the_means_that_they_named(shop: Shop) -> None:
    order = shop.place()
    [grant] = shop.payments.grants
    assert (grant.customer_id, grant.order_id) == (shop.customer.subject, order.id)
    assert (grant.payment_id, grant.method) == (str(first_payment(UUID(order.id))), digest("pm_card_visa"))
    assert (grant.cap, grant.steps) == (Money(910, "USD"), STEPS)


def test_a_repeat_agrees_to_nothing_more(shop: Shop) -> None:
    assert shop.place() == shop.place()
    assert len(shop.payments.grants) == 1


def without_the_key(shop: Shop) -> None:
    """From now on a process is at work that cannot sign."""
    shop.sign = nobody
    shop.start()


def test_a_process_without_the_key_brings_accepted_orders_to_their_end_and_takes_none(shop: Shop) -> None:
    shop.points.hooks["ReserveStock.before"] = die
    with pytest.raises(Crash):
        shop.place()
    without_the_key(shop)
    shop.rest()
    [(order_id,)] = shop.sql("select order_id from order_view")
    order = shop.order(str(order_id))
    assert state(order) == "CONFIRMED"
    with shop.acting(shop.warehouse):
        shop.orders.start_picking(order_id)
    assert state(shop.finish(order)) == "READY"
    with pytest.raises(UnfitKey):
        shop.place(key="another")
    assert len(shop.payments.grants) == 1


def die() -> None:
    """The process ends between the acceptance and the first step."""
    raise Crash("accepted")


def due(shop: Shop) -> UUID:
    """An order whose picked goods were not paid for: what was agreed to is too long ago."""
    order = shop.picking()
    shop.payments.expired.add("grant 0")
    order = shop.finish(order, milk=1)
    assert (state(order), shop.payments.payments[first_payment(UUID(order.id))].captured) == ("PAYMENT_DUE", None)
    return UUID(order.id)


def test_what_was_agreed_to_too_long_ago_is_asked_for_anew(shop: Shop) -> None:
    order_id = due(shop)
    with shop.acting(shop.customer, "pay"):
        shop.orders.retry_payment(order_id, "")
    assert state(shop.order(str(order_id))) == "READY"
    first, again = shop.payments.grants
    assert (again.payment_id, again.method, again.cap) == (first.payment_id, first.method, Money(760, "USD"))


def test_other_means_are_agreed_to_with_a_payment_of_their_own(shop: Shop) -> None:
    order_id = due(shop)
    with shop.acting(shop.support, "pay"):
        shop.orders.retry_payment(order_id, "pm_card_mastercard")
    assert state(shop.order(str(order_id))) == "READY"
    first, other = shop.payments.grants
    assert first.payment_id != other.payment_id
    assert (other.customer_id, other.method) == (shop.customer.subject, digest("pm_card_mastercard"))
    assert other.cap == Money(760, "USD"), "what was picked, and no more"


def test_what_nobody_agreed_to_anew_is_tried_again_by_what_was_agreed_to_before(shop: Shop) -> None:
    order_id = due(shop)
    shop.parts.queue.retry(str(order_id))
    shop.rest()
    assert state(shop.order(str(order_id))) == "PAYMENT_DUE"
    shop.payments.expired.clear()
    shop.parts.queue.retry(str(order_id))
    shop.rest()
    assert state(shop.order(str(order_id))) == "READY"
    assert len(shop.payments.grants) == 1


def test_other_means_that_were_declined_leave_what_was_agreed_to_before_as_it_was(shop: Shop) -> None:
    order_id = due(shop)
    shop.payments.expired.clear()
    with shop.acting(shop.customer, "pay"), pytest.raises(PaymentDeclined):
        shop.orders.retry_payment(order_id, "pm_declined")
    shop.parts.queue.retry(str(order_id))
    shop.rest()
    assert state(shop.order(str(order_id))) == "READY"
    assert len(shop.payments.grants) == 2


def test_an_expired_grant_is_in_nobody_s_way_who_gives_back(shop: Shop) -> None:
    order = shop.place()
    shop.payments.expired.add("grant 0")
    with shop.acting(shop.customer, "cancel"):
        shop.orders.cancel_order(UUID(order.id), "", "")
    assert not shop.left()
    assert shop.payments.payments[first_payment(UUID(order.id))].state == "VOIDED"
