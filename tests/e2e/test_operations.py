"""Operations of a whole mesh: what each service tells of itself, and the queue for people from end to end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.town import Shop, ordered, until

SERVICES = ("product", "inventory", "order", "payment", "delivery", "user")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_how_it_does(shop: Shop, service: str) -> None:
    admin = shop.staff("admin")
    told = admin.get(f"/v1/ops/{service}")
    assert told["service"] == service
    assert int(told.get("deadLetters", 0)) == 0


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_audits_itself_and_finds_nothing(shop: Shop, service: str) -> None:
    admin = shop.staff("admin")
    audit = admin.post(f"/v1/ops/{service}:audit")
    assert audit["rules"] > 3
    assert not audit.get("findings")
    assert admin.get(f"/v1/ops/{service}")["lastAudit"] == audit


def stuck(shop: Shop, order_id: str) -> list[Any]:
    """What waits for people about an order."""
    found = shop.staff("admin").get("/v1/ops/order/stuck", pageSize=200).get("stuck", ())
    return [each for each in found if each["id"] == order_id]


def test_money_that_could_not_be_taken_waits_for_a_person_until_it_is_paid_otherwise(shop: Shop) -> None:
    buyer, sku = shop.buyer(), shop.sku()
    order = buyer.order(buyer.wish(shop.slot(), ordered(sku), method="pm_capture_fails"))
    shop.pick(order["id"])
    buyer.sees(order["id"], "PAYMENT_DUE")
    (waiting,) = stuck(shop, order["id"])
    assert (waiting["state"], waiting["waitsFor"]) == ("PAYMENT_DUE", "another means of payment")
    assert f"/v1/orders/{order['id']}:retryPayment" in waiting["advice"]
    shop.staff("admin").post(f"/v1/ops/order/stuck/{order['id']}:retry")  # the same means: refused again
    until(lambda: stuck(shop, order["id"]), "it waits again")
    buyer.post(f"/v1/orders/{order['id']}:retryPayment", {"paymentMethod": "pm_card_visa"})
    buyer.sees(order["id"], "READY")
    assert not stuck(shop, order["id"])


def test_customers_and_other_staff_see_no_operations(shop: Shop) -> None:
    for person in (shop.buyer(), shop.staff("support"), shop.staff("finance")):
        answer = person.http.get("/v1/ops/order")
        assert (answer.status_code, answer.json()["reason"]) == (403, "FORBIDDEN")
