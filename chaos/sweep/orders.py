"""Stories of orders, from the cart to the door and back. What stands before the `yield` is done without faults."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.nemesis.goods import SKUS
from chaos.sweep.town import CASH, DECLINES, FAILS_LATER, Broken, Buyer, Town, same, until
from shop.rest import Json, cents

Plot = Iterator[None]


def paid(buyer: Buyer, order: Json, state: str) -> None:
    """Wait until the order's one payment is in a state."""

    def found() -> bool:
        (payment,) = buyer.payments(order["id"])
        return bool(payment["state"] == state)

    until(found, f"the payment of order {order['id']} is {state}")


def only_one(buyer: Buyer, order: Json) -> None:
    """However often it was asked for."""
    listed = until(buyer.orders, f"order {order['id']} is listed")
    same("the customer's orders", [each["id"] for each in listed], [order["id"]])


def placed_by_card(town: Town) -> Plot:
    """A basket becomes one CONFIRMED order with one authorization."""
    buyer = town.buyer()
    yield
    order = buyer.order()
    only_one(buyer, order)
    (payment,) = buyer.payments(order["id"])
    same("the payment", (payment["state"], payment["authorized"]), ("AUTHORIZED", order["total"]))


def placed_for_cash(town: Town) -> Plot:
    """The same, paid at the door."""
    buyer = town.buyer()
    yield
    only_one(buyer, buyer.order(buyer.wish(CASH)))


def declined(town: Town) -> Plot:
    """A card that says no: nothing stays held."""
    buyer = town.buyer()
    yield
    buyer.is_refused(buyer.wish(DECLINES), "PAYMENT_DECLINED")
    until(lambda: [each["state"] for each in buyer.orders()] == ["REJECTED"], "one order is listed, and is rejected")


def sold_out(town: Town) -> Plot:
    """More than there is."""
    buyer = town.buyer()
    sku = town.scarce()
    yield
    wish = {**buyer.wish(), "lines": [{"sku": SKUS[0], "quantity": 1}, {"sku": sku, "quantity": 3}]}
    buyer.is_refused(wish, "OUT_OF_STOCK")


def ordered_from_the_cart(town: Town) -> Plot:
    """Lines go into the cart and out of it; what is left is ordered."""
    buyer = town.buyer()
    yield
    for sku in SKUS[:3]:
        buyer.put(f"/v1/cart/lines/{sku}", {"quantity": 2})
    buyer.send("DELETE", f"/v1/cart/lines/{SKUS[1]}")
    order = buyer.order(buyer.delivery())
    same("what was ordered", {line["sku"] for line in order["lines"]}, {SKUS[0], SKUS[2]})
    same("the cart", buyer.get("/v1/cart").get("lines", []), [])
    buyer.put(f"/v1/cart/lines/{SKUS[3]}", {"quantity": 1})
    buyer.send("DELETE", "/v1/cart")
    same("the cart", buyer.get("/v1/cart").get("lines", []), [])
    only_one(buyer, order)


def cancelled(town: Town) -> Plot:
    """Called off before anybody picked it."""
    buyer = town.buyer()
    order = buyer.order()
    yield
    buyer.post(f"/v1/orders/{order['id']}:cancel", {"reason": "thought better of it"})
    buyer.sees(order["id"], "CANCELLED")
    paid(buyer, order, "VOIDED")


def picked(town: Town) -> Plot:
    """All of it is there: the whole amount is taken."""
    buyer = town.buyer()
    order = buyer.order()
    yield
    town.pick(order)
    ready = buyer.sees(order["id"], "READY")
    same("what was taken", ready["capturedTotal"], order["total"])
    paid(buyer, order, "CAPTURED")


def picked_short(town: Town) -> Plot:
    """One is missing: less is taken."""
    buyer = town.buyer()
    order = buyer.order()
    yield
    town.pick(order, [1, 2])
    ready = buyer.sees(order["id"], "READY")
    less = cents(order["total"]) - cents(order["lines"][0]["unitPrice"])
    same("what was taken", cents(ready["capturedTotal"]), less)


def picked_nothing(town: Town) -> Plot:
    """Nothing is there: the order is off."""
    buyer = town.buyer()
    order = buyer.order()
    yield
    town.pick(order, [0, 0])
    buyer.sees(order["id"], "CANCELLED")
    paid(buyer, order, "VOIDED")


def paid_with_another_card(town: Town) -> Plot:
    """The capture fails; a second payment takes its place."""
    buyer = town.buyer()
    order = buyer.order(buyer.wish(FAILS_LATER))
    yield
    town.pick(order)
    buyer.sees(order["id"], "PAYMENT_DUE")
    buyer.post(f"/v1/orders/{order['id']}:retryPayment", {"paymentMethod": "pm_card_visa"})
    buyer.sees(order["id"], "READY")
    states = sorted(each["state"] for each in buyer.payments(order["id"]))
    same("the payments", states, ["CAPTURED", "VOIDED"])


def brought(town: Town) -> Plot:
    """From the shelf to the door."""
    buyer = town.buyer()
    order = town.ready(buyer)
    yield
    shipment = town.take_along(order)
    buyer.sees(order["id"], "OUT_FOR_DELIVERY")
    town.work("courier", f"{shipment}/positions", {"latitude": 39.1, "longitude": -84.5})
    town.work("courier", f"{shipment}:deliver")
    buyer.sees(order["id"], "DELIVERED")


def brought_for_cash(town: Town) -> Plot:
    """The courier collects, and it is booked."""
    buyer = town.buyer()
    order = town.ready(buyer, CASH)
    yield
    town.work("courier", f"{town.take_along(order)}:deliver", {"cashCollected": order["total"]})
    buyer.sees(order["id"], "DELIVERED")
    paid(buyer, order, "CAPTURED")


def brought_at_the_second_try(town: Town) -> Plot:
    """Nobody at home; another slot."""
    buyer = town.buyer()
    order = town.ready(buyer)
    yield
    town.work("courier", f"{town.take_along(order)}:fail", {"reason": "nobody was at home"})
    buyer.sees(order["id"], "DELIVERY_FAILED")
    slot = buyer.delivery()["slotId"]
    town.work("support", f"/v1/orders/{order['id']}:redeliver", {"slotId": slot})
    again = buyer.sees(order["id"], "READY")
    same("the slot", again["slot"]["id"], slot)


def never_brought(town: Town) -> Plot:
    """Nobody at home; the money goes back."""
    buyer = town.buyer()
    order = town.ready(buyer)
    town.work("courier", f"{town.take_along(order)}:fail", {"reason": "nobody was at home"})
    buyer.sees(order["id"], "DELIVERY_FAILED")
    yield
    town.work("support", f"/v1/orders/{order['id']}:cancel", {"reason": "nobody was at home"})
    buyer.sees(order["id"], "CANCELLED")
    paid(buyer, order, "REFUNDED")


def given_back(town: Town) -> Plot:
    """One unit comes back, and is fit to be sold again."""
    buyer = town.buyer()
    order = town.delivered(buyer)
    line = order["lines"][0]
    yield
    lines = [{"sku": line["sku"], "quantity": 1}]
    buyer.post(f"/v1/orders/{order['id']}:requestReturn", {"lines": lines, "reason": "soggy"})
    town.work("support", f"/v1/orders/{order['id']}:approveReturn", {"restock": lines})
    price = cents(line["unitPrice"])
    until(lambda: cents(buyer.sees(order["id"], "DELIVERED").get("refundedTotal") or {}) >= price, "it is paid back")
    same("what was paid back", cents(buyer.sees(order["id"], "DELIVERED")["refundedTotal"]), price)


def not_taken_back(town: Town) -> Plot:
    """A return that is refused."""
    buyer = town.buyer()
    order = town.delivered(buyer)
    yield
    lines = [{"sku": order["lines"][0]["sku"], "quantity": 1}]
    buyer.post(f"/v1/orders/{order['id']}:requestReturn", {"lines": lines, "reason": "soggy"})
    told = town.work("support", f"/v1/orders/{order['id']}:refuseReturn", {"reason": "it was eaten"})
    same("the return", told["return"]["state"], "REFUSED")


def refunded_out_of_goodwill(town: Town) -> Plot:
    """Finance gives some of it back; the books are compared with the provider's."""
    buyer = town.buyer()
    order = town.delivered(buyer)
    (payment,) = buyer.payments(order["id"])
    amount = {"currencyCode": "USD", "units": "1", "nanos": 0}
    yield
    town.work("finance", f"/v1/payments/{payment['id']}:refund", {"amount": amount, "reason": "goodwill"})
    until(lambda: cents(buyer.sees(order["id"], "DELIVERED").get("refundedTotal") or {}) == 100, "the order knows")
    (after,) = buyer.payments(order["id"])
    if cents(after["refunded"]) != 100:
        raise Broken(f"{after['refunded']} was paid back")


STORIES = (
    *(placed_by_card, placed_for_cash, declined, sold_out, ordered_from_the_cart, cancelled),
    *(picked, picked_short, picked_nothing, paid_with_another_card),
    *(brought, brought_for_cash, brought_at_the_second_try, never_brought),
    *(given_back, not_taken_back, refunded_out_of_goodwill),
)
