"""What a checkout promises when it is repeated, contested or refused."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import httpx
import pytest

from mercato.ids import uuid7
from mercato.testing import at_once
from tests.e2e.town import DECLINES, Buyer, Shop, ordered, until


def answers(results: Sequence[object]) -> list[httpx.Response]:
    return [result for result in results if isinstance(result, httpx.Response)]


def orders_with(buyer: Buyer, sku: str) -> list[str]:
    listed = buyer.get("/v1/orders", pageSize=200).get("orders", ())
    return [order["id"] for order in listed if sku in {line["sku"] for line in order["lines"]}]


def test_of_two_buyers_of_the_last_unit_one_gets_it(shop: Shop) -> None:
    sku, slot = shop.sku(stock=1), shop.slot()
    buyers = [shop.buyer(), shop.buyer()]
    waiting = iter(buyers)
    replies = answers(at_once(lambda: _order(next(waiting), slot, sku), 2))
    assert sorted(reply.status_code for reply in replies) == [201, 409]
    problem = max(replies, key=lambda reply: reply.status_code).json()
    assert problem["reason"] == "OUT_OF_STOCK"
    assert problem["skus"] == [{"sku": sku, "wanted": 1, "available": 0}]
    assert UUID(problem["orderId"]).version == 7
    assert shop.stock(sku) == (1, 1)


def _order(buyer: Buyer, slot: str, sku: str) -> httpx.Response:
    return buyer.ask("/v1/orders", buyer.wish(slot, ordered(sku)))


def test_the_same_key_twenty_times_at_once_is_one_order(shop: Shop) -> None:
    buyer, sku, slot = shop.buyer(), shop.sku(stock=40), shop.slot()
    places, key = shop.places(slot), secrets.token_hex(8)
    replies = answers(at_once(partial(buyer.ask, "/v1/orders", buyer.wish(slot, ordered(sku, 2)), key), 20))
    assert {reply.status_code for reply in replies} <= {201, 202}
    assert len(replies) == 20
    (order_id,) = {reply.json()["id"] for reply in replies}
    assert sum(reply.headers.get("Idempotent-Replayed") != "true" for reply in replies) == 1
    buyer.sees(order_id, "CONFIRMED")
    assert orders_with(buyer, sku) == [order_id]
    assert len(buyer.payments(order_id)) == 1
    assert (shop.stock(sku), shop.places(slot)) == ((40, 2), places - 1)


def test_a_key_is_for_one_request(shop: Shop) -> None:
    buyer, sku, slot = shop.buyer(), shop.sku(), shop.slot()
    key = secrets.token_hex(8)
    buyer.order(buyer.wish(slot, ordered(sku)), key)
    other = buyer.ask("/v1/orders", buyer.wish(slot, ordered(sku, 2)), key)
    assert (other.status_code, other.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert shop.stock(sku) == (10, 1)


def test_a_declined_card_gives_stock_and_slot_back(shop: Shop) -> None:
    buyer, sku, slot = shop.buyer(), shop.sku(), shop.slot()
    places, key = shop.places(slot), secrets.token_hex(8)
    wish = buyer.wish(slot, ordered(sku, 3), method=DECLINES)
    declined = buyer.ask("/v1/orders", wish, key)
    problem = declined.json()
    assert (declined.status_code, problem["reason"]) == (402, "PAYMENT_DECLINED")
    assert problem["declineCode"] == "insufficient_funds"
    assert buyer.get(f"/v1/orders/{problem['orderId']}")["state"] == "REJECTED"
    until(lambda: (shop.stock(sku), shop.places(slot)) == ((10, 0), places), "stock and slot are as before")
    again = buyer.ask("/v1/orders", wish, key)
    assert (again.status_code, again.json()["orderId"]) == (402, problem["orderId"])
    assert again.headers["Idempotent-Replayed"] == "true"
    # What was given back can be bought.
    assert buyer.order(buyer.wish(slot, ordered(sku, 10)))


def test_what_is_refused_before_there_is_an_order_leaves_the_key_unused(shop: Shop) -> None:
    buyer, sku, slot = shop.buyer(), shop.sku(), shop.slot()
    key = secrets.token_hex(8)
    dear = {"currencyCode": "USD", "units": "1"}
    refused = buyer.ask("/v1/orders", buyer.wish(slot, ordered(sku), expectedTotal=dear), key)
    assert (refused.status_code, refused.json()["reason"]) == (409, "PRICE_CHANGED")
    unknown = buyer.ask("/v1/orders", buyer.wish(slot, ordered("no-such-thing")), key)
    assert (unknown.status_code, unknown.json()["reason"]) == (409, "UNKNOWN_SKU")
    assert buyer.ask("/v1/orders", buyer.wish(slot), key).json()["reason"] == "EMPTY_CART"
    assert buyer.order(buyer.wish(slot, ordered(sku)), key)


@pytest.mark.parametrize("path", ["", "/history", "/events"])
def test_somebody_elses_order_is_as_if_there_were_none(shop: Shop, path: str) -> None:
    owner, other = shop.buyer(), shop.buyer()
    theirs = owner.order(owner.wish(shop.slot(), ordered(shop.sku())))["id"]
    foreign, missing = (_told(other, order_id, path) for order_id in (theirs, str(uuid7())))
    assert foreign == missing
    assert b'"status":404' in foreign[1]


def _told(person: Buyer, order_id: str, path: str) -> tuple[dict[str, str], bytes]:
    """What a person is told of an order, but for what names the request itself."""
    answer = person.http.get(f"/v1/orders/{order_id}{path}")
    body = answer.content.replace(answer.json()["requestId"].encode(), b"-").replace(order_id.encode(), b"-")
    unlike = {"x-request-id", "date"}
    return {name: value for name, value in answer.headers.items() if name not in unlike}, body


def test_somebody_elses_order_cannot_be_cancelled(shop: Shop) -> None:
    owner, other = shop.buyer(), shop.buyer()
    theirs = owner.order(owner.wish(shop.slot(), ordered(shop.sku())))["id"]
    refused = other.ask(f"/v1/orders/{theirs}:cancel", {"reason": "mischief"})
    assert (refused.status_code, refused.json()["reason"]) == (404, "NOT_FOUND")
    assert owner.get(f"/v1/orders/{theirs}")["state"] == "CONFIRMED"
