"""The replay of baskets against a gateway of a few lines, honest or not."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shop.baskets import Basket
from shop.replay import ASKED_TWICE, Replay, Tally
from shop.rest import Visitor

BASKETS = [Basket((("1", 2),)), Basket((("2", 1), ("3", 4)))]
PRICES = {"1": 150, "2": 99, "3": 1000}
FEE = 299


def money(cents: int) -> dict[str, Any]:
    return {"currencyCode": "USD", "units": str(cents // 100), "nanos": cents % 100 * 10_000_000}


class Gateway:
    """A shop that takes every order, unless a subclass has other ideas."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path.split("/")[2:]:
            case "POST", ["sessions"]:
                return httpx.Response(201, json={"token": str(next(self._numbers)), "user": {"id": "u"}})
            case "POST", ["users", "me", "addresses"]:
                return httpx.Response(201, json={"id": "a", "zoneId": "downtown"})
            case "GET", ["slots"]:
                return httpx.Response(200, json={"slots": [{"id": "s", "available": 60}], "nextPageToken": ""})
            case "POST", ["orders"]:
                return self.place(request)
            case "GET", ["orders"]:
                return httpx.Response(200, json={"orders": self.of(request)})
            case "GET", ["orders", given]:
                self.orders[given]["state"] = "CONFIRMED"
                return httpx.Response(200, json=self.orders[given])
            case _:
                return httpx.Response(201, json={"id": "u"})

    def place(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        if key in self.keys:
            return httpx.Response(201, json=self.orders[self.keys[key]], headers={"Idempotent-Replayed": "true"})
        order = self.order(json.loads(request.content)["lines"], request.headers["Authorization"])
        self.keys[key] = order["id"]
        self.orders[order["id"]] = order
        return httpx.Response(202 if order["state"] == "PENDING" else 201, json=order)

    def order(self, lines: list[dict[str, Any]], owner: str) -> dict[str, Any]:
        lines = [{**line, "unitPrice": money(PRICES[line["sku"]])} for line in lines]
        total = FEE + sum(line["quantity"] * PRICES[line["sku"]] for line in lines)
        return {
            "id": f"order-{next(self._numbers)}",
            "owner": owner,
            "state": "CONFIRMED",
            "lines": lines,
            "deliveryFee": money(FEE),
            "total": money(total),
        }

    def of(self, request: httpx.Request) -> list[dict[str, Any]]:
        return [order for order in self.orders.values() if order["owner"] == request.headers["Authorization"]]


def replay(gateway: Callable[[httpx.Request], httpx.Response], orders: int = 40, concurrency: int = 4) -> Tally:
    def enter() -> Visitor:
        return Visitor("http://shop", httpx.MockTransport(gateway))

    done: list[int] = []
    tally = Replay(enter, BASKETS, orders, concurrency).run(done.append)
    assert sum(done) <= orders
    return tally


def test_every_basket_is_ordered_once_and_some_are_asked_for_twice() -> None:
    gateway = Gateway()
    tally = replay(gateway)
    assert (tally.confirmed, len(gateway.orders), len(tally.seconds)) == (40, 40, 40)
    assert tally.asked_twice == 40 // ASKED_TWICE
    assert tally.kept


def test_an_order_that_is_pending_is_waited_for() -> None:
    class Hesitant(Gateway):
        def order(self, lines: list[dict[str, Any]], owner: str) -> dict[str, Any]:
            return {**super().order(lines, owner), "state": "PENDING"}

    tally = replay(Hesitant(), orders=4)
    assert (tally.confirmed, tally.pending) == (4, 4)
    assert tally.kept


def test_an_empty_shelf_is_a_refusal_and_no_broken_promise() -> None:
    class Sparse(Gateway):
        def place(self, request: httpx.Request) -> httpx.Response:
            if b'"3"' in request.content:
                return httpx.Response(409, json={"reason": "OUT_OF_STOCK", "detail": "only 0 left of 3"})
            return super().place(request)

    tally = replay(Sparse())
    assert set(tally.refused) == {"OUT_OF_STOCK"}
    assert tally.confirmed + tally.refused.total() == 40
    assert tally.kept


class Failing(Gateway):
    """Falls over now and then."""

    def place(self, request: httpx.Request) -> httpx.Response:
        if b'"3"' in request.content:
            return httpx.Response(500, json={"status": 500, "reason": "INTERNAL"})
        return super().place(request)


class Forgetful(Gateway):
    """Makes a second order of a repeated one."""

    def place(self, request: httpx.Request) -> httpx.Response:
        self.keys.clear()
        return super().place(request)


class Greedy(Gateway):
    """Asks for more than the lines come to."""

    def order(self, lines: list[dict[str, Any]], owner: str) -> dict[str, Any]:
        return {**super().order(lines, owner), "total": money(10_000)}


class Lossy(Gateway):
    """Loses an order that it confirmed."""

    def of(self, request: httpx.Request) -> list[dict[str, Any]]:
        return super().of(request)[1:]


class Fussy(Gateway):
    """Refuses what it has no reason to refuse."""

    def place(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(409, json={"reason": "PRICE_CHANGED"}, request=request)


class Closed(Gateway):
    """Lets nobody in."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there", request=request)


@pytest.mark.parametrize("gateway", [Failing, Forgetful, Greedy, Lossy, Fussy, Closed])
def test_whatever_is_not_as_promised_is_told(gateway: type[Gateway]) -> None:
    tally = replay(gateway())
    assert tally.broken
    assert not tally.kept


def test_a_quantile_is_a_time_that_was_measured() -> None:
    tally = Tally(seconds=[0.4, 0.1, 0.3, 0.2])
    assert [tally.quantile(share) for share in (0.0, 0.5, 0.95, 0.99)] == [0.1, 0.3, 0.4, 0.4]
    assert Tally().quantile(0.5) == 0.0
