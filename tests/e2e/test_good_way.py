"""What a shop is for: from a guest's cart to the door, with cards and with cash, and sometimes back again."""

from __future__ import annotations

from itertools import takewhile

from tests.e2e.town import Buyer, Json, Shop, cents, ordered, until

CHECKOUT = ["OrderPlaced", "OrderConfirmed"]
WAY = [*CHECKOUT, "OrderPickingStarted", "OrderReady", "OrderOutForDelivery", "OrderDelivered"]


def types(buyer: Buyer, order_id: str) -> list[str]:
    events = buyer.get(f"/v1/orders/{order_id}/history")["events"]
    return [event["type"] for event in events if event["type"] in WAY]


def captured(buyer: Buyer, order: Json) -> tuple[str, int, int]:
    (payment,) = buyer.payments(order["id"])
    return payment["state"], cents(payment.get("captured")), cents(payment.get("refunded"))


def test_a_guest_fills_a_cart_registers_orders_and_gets_it_one_unit_short(shop: Shop) -> None:
    first, second, slot = shop.sku(), shop.sku(), shop.slot()
    buyer = shop.guest()
    buyer.carry(buyer.post("/v1/sessions:guest")["token"])
    for sku, quantity in ((first, 2), (second, 3)):
        buyer.put(f"/v1/cart/lines/{sku}", {"quantity": quantity})
    buyer.register()
    cart = buyer.get("/v1/cart")
    assert {line["sku"]: line["quantity"] for line in cart["lines"]} == {first: 2, second: 3}
    buyer.settle()

    answer = buyer.ask("/v1/orders", buyer.wish(slot))
    assert answer.status_code == 201, answer.text
    order: Json = answer.json()
    assert answer.headers["Location"] == f"/v1/orders/{order['id']}"
    assert order["state"] == "CONFIRMED"
    assert cents(order["subtotal"]) == cents(cart["subtotal"])
    assert not buyer.get("/v1/cart").get("lines")
    with buyer.watch(order["id"]) as events:
        seen = [*takewhile(lambda type_: type_ != "OrderConfirmed", (type_ for _, type_ in events)), "OrderConfirmed"]
    assert seen == CHECKOUT

    shop.pick(order["id"], {"sku": first, "pickedQuantity": 2}, {"sku": second, "pickedQuantity": 2})
    order = buyer.sees(order["id"], "READY")
    missing = next(line for line in order["lines"] if line["sku"] == second)
    due = cents(order["total"]) - cents(missing["unitPrice"])
    assert (missing["pickedQuantity"], cents(order["capturedTotal"])) == (2, due)
    assert captured(buyer, order) == ("CAPTURED", due, 0)
    assert (shop.stock(first), shop.stock(second)) == ((8, 0), (8, 0))

    with buyer.watch(order["id"], after=int(order["version"])) as events:
        shop.deliver(order)
        assert [type_ for _, type_ in events if type_ in WAY] == ["OrderOutForDelivery", "OrderDelivered"]
    assert types(buyer, order["id"]) == WAY
    (shipment,) = shop.shipments(order["id"])
    assert shipment["state"] == "DELIVERED"


def test_cash_is_owed_until_the_courier_brings_it(shop: Shop) -> None:
    buyer, sku = shop.buyer(), shop.sku()
    order = buyer.order(buyer.wish(shop.slot(), ordered(sku, 2), method="cash_on_delivery"))
    assert order["paymentMethod"] == "cash_on_delivery"
    shop.pick(order["id"])
    order = buyer.sees(order["id"], "READY")
    assert not cents(order.get("capturedTotal"))
    shop.deliver(order, cash=order["total"])
    until(lambda: captured(buyer, order) == ("CAPTURED", cents(order["total"]), 0), "the cash is booked")
    accounts = shop.staff("finance").get("/v1/ledger/accounts", pageSize=200)["accounts"]
    debits, credits_ = (sum(cents(account.get(side)) for account in accounts) for side in ("debits", "credits"))
    assert debits == credits_ > 0


def test_a_cancelled_order_gives_up_stock_slot_money_and_shipment(shop: Shop) -> None:
    buyer, sku, slot = shop.buyer(), shop.sku(), shop.slot()
    places = shop.places(slot)
    order = buyer.order(buyer.wish(slot, ordered(sku, 4)))
    assert (shop.stock(sku), shop.places(slot)) == ((10, 4), places - 1)
    buyer.post(f"/v1/orders/{order['id']}:cancel", {"reason": "changed my mind"})
    buyer.sees(order["id"], "CANCELLED")
    until(lambda: captured(buyer, order) == ("VOIDED", 0, 0), "the payment is void")
    until(lambda: (shop.stock(sku), shop.places(slot)) == ((10, 0), places), "stock and slot are as before")
    until(lambda: {each["state"] for each in shop.shipments(order["id"])} <= {"CANCELLED"}, "nobody drives")


def test_an_order_that_is_being_picked_is_not_cancelled_by_its_customer(shop: Shop) -> None:
    buyer, sku = shop.buyer(), shop.sku()
    order = buyer.order(buyer.wish(shop.slot(), ordered(sku)))
    shop.staff("warehouse").post(f"/v1/orders/{order['id']}:startPicking")
    refusal = buyer.ask(f"/v1/orders/{order['id']}:cancel", {"reason": "too late"})
    assert refusal.status_code == 409, refusal.text


def test_what_comes_back_is_paid_back_and_only_what_is_fit_is_sold_again(shop: Shop) -> None:
    buyer, sku = shop.buyer(), shop.sku()
    order = buyer.order(buyer.wish(shop.slot(), ordered(sku, 3)))
    shop.pick(order["id"])
    order = buyer.sees(order["id"], "READY")
    shop.deliver(order)
    order = buyer.sees(order["id"], "DELIVERED")
    price, paid = cents(order["lines"][0]["unitPrice"]), cents(order["capturedTotal"])
    wanted = {"lines": [ordered(sku, 2)], "reason": "soggy"}
    assert buyer.post(f"/v1/orders/{order['id']}:requestReturn", wanted)["return"]["state"] == "REQUESTED"
    shop.staff("support").post(f"/v1/orders/{order['id']}:approveReturn", {"restock": [ordered(sku, 1)]})
    until(lambda: captured(buyer, order)[1:] == (paid, 2 * price), "two of three are paid back")
    until(lambda: shop.stock(sku) == (8, 0), "one of them is on sale again")
    until(lambda: cents(buyer.sees(order["id"], "DELIVERED").get("refundedTotal")) == 2 * price, "the order knows")
    again = buyer.ask(f"/v1/orders/{order['id']}:requestReturn", wanted)
    assert again.status_code == 409, again.text
