"""An order service that is killed between any two steps of a checkout: the order ends right, and is one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial

import pytest

from mercato.local.mesh import Mesh
from tests.e2e.town import Buyer, Shop, ordered, until

DOOMED = "order-2"
# The first commit of PlaceOrder stores the order, the second confirms it, the third notes its shipment. What lies
# between two calls is one place, named here for the call before it.
PLACES = [
    "order.PlaceOrder.before_commit=crash:1",
    "order.PlaceOrder.after_commit=crash:1",
    "order.PlaceOrder.call.ReserveStock.after=crash",
    "order.PlaceOrder.call.HoldSlot.after=crash",
    "order.PlaceOrder.call.AuthorizePayment.after=crash",
    "order.PlaceOrder.call.CommitReservation.after=crash",
    "order.PlaceOrder.call.ConfirmSlot.after=crash",
    "order.PlaceOrder.before_commit=crash:2",
    "order.PlaceOrder.after_commit=crash:2",
    "order.PlaceOrder.call.CreateShipment.after=crash",
    "order.PlaceOrder.before_commit=crash:3",
    "order.PlaceOrder.after_commit=crash:3",
]


@pytest.fixture(scope="module")
def buyer(mesh: Mesh, shop: Shop) -> Iterator[Buyer]:
    """Who orders while services die; afterwards both are there again."""
    yield shop.buyer()
    mesh.restart(DOOMED)


def arm(mesh: Mesh, buyer: Buyer, place: str) -> None:
    """Start a process that dies at a place. It has no workers, whose commits would count; and a short lease."""
    told = {"MERCATO_FAILPOINT": place, "MERCATO_ROLES": "serve", "MERCATO_ORDER_LEASE": "1s"}
    log = mesh.home.log(DOOMED)
    written = log.stat().st_size
    mesh.restart(DOOMED, told)

    def answers() -> bool:
        buyer.get("/v1/orders", pageSize=1)
        return b"OrderService.ListOrders" in log.read_bytes()[written:]

    until(answers, "the gateway has found it")


def order_until_it_dies(mesh: Mesh, buyer: Buyer, sku: str, slot: str) -> set[str]:
    """Orders by turns come to either process: the keys of those that were placed until the doomed one has died."""
    keys = set[str]()
    pid, restarts = mesh.report(DOOMED).pid, mesh.report(DOOMED).restarts
    while len(keys) < 8 and mesh.report(DOOMED).pid == pid:
        keys.add(key := secrets.token_hex(8))
        buyer.ask("/v1/orders", buyer.wish(slot, ordered(sku, 2)), key)
    # It dies of nothing but the failpoint, which the next process knows nothing of.
    until(lambda: mesh.report(DOOMED).restarts > restarts, "an order came to the doomed process and it died")
    mesh.stop(DOOMED)  # somebody else must go on; that a service which dies is started again is told elsewhere
    return keys


def repeat(buyer: Buyer, sku: str, slot: str, key: str) -> str:
    """Ask again with the same key, as a client does that got no answer; the order's id."""

    def asked() -> str:
        answer = buyer.ask("/v1/orders", buyer.wish(slot, ordered(sku, 2)), key)
        return str(answer.json()["id"]) if answer.is_success else ""

    return until(asked, "the repeat is answered")


@pytest.mark.parametrize("place", PLACES)
def test_whoever_dies_wherever_there_is_one_right_order(mesh: Mesh, shop: Shop, buyer: Buyer, place: str) -> None:
    sku, slot = shop.sku(stock=40), shop.slot()
    places = shop.places(slot)
    arm(mesh, buyer, place)
    keys = order_until_it_dies(mesh, buyer, sku, slot)

    ids = {repeat(buyer, sku, slot, key) for key in keys}
    assert len(ids) == len(keys)
    for order_id in ids:
        order = buyer.sees(order_id, "CONFIRMED")
        (payment,) = buyer.payments(order_id)
        assert (payment["state"], payment["authorized"]) == ("AUTHORIZED", order["total"])
        (shipment,) = until(partial(shop.shipments, order_id), "it has a shipment")
        assert shipment["state"] == "PLANNED"
    listed = buyer.get("/v1/orders", pageSize=200)["orders"]
    assert {order["id"] for order in listed if order["lines"][0]["sku"] == sku} == ids
    assert (shop.stock(sku), shop.places(slot)) == ((40, 2 * len(ids)), places - len(ids))
