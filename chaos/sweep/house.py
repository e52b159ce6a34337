"""Stories of what surrounds an order: accounts, the catalogue, stock, and what runs out by itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

from chaos.nemesis.goods import SKUS
from chaos.sweep.client import insist
from chaos.sweep.town import PASSWORD, ZONE, Buyer, Town, same, until
from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.ids import uuid7
from mercato.money import Money
from mercato.wire import money_to_pb
from shop import city
from shop.rest import Refused
from shop.shopper import add_address

Plot = Iterator[None]
NEW_PASSWORD = PASSWORD.replace("play", "game")


def already(done: Refused, *reasons: str) -> None:
    """A refusal that only says that it is done: so one hears when the first answer was lost."""
    if done.reason not in reasons:
        raise done


def remove(buyer: Buyer, path: str) -> None:
    """Delete something; that it is gone already is as good."""
    try:
        buyer.send("DELETE", path)
    except Refused as refusal:
        already(refusal, "NOT_FOUND", "UNAUTHENTICATED")


def registered(town: Town) -> Plot:
    """A guest becomes a customer, and signs out."""
    somebody = town.stranger()
    yield
    somebody.token = somebody.post("/v1/sessions:guest")["token"]
    somebody.register()
    user = somebody.sign_in(somebody.email, PASSWORD)
    same("the name", user["displayName"], "Somebody")
    remove(somebody, "/v1/sessions/current")


def moved(town: Town) -> Plot:
    """An address comes, changes and goes."""
    buyer = town.buyer()
    yield
    path = f"/v1/users/me/addresses/{add_address(buyer, ZONE.doorstep)['id']}"
    change(buyer, path, label="work")
    same("addresses", len(buyer.get("/v1/users/me/addresses")["addresses"]), 2)
    remove(buyer, path)
    same("addresses", len(buyer.get("/v1/users/me/addresses")["addresses"]), 1)


def change(buyer: Any, path: str, **fields: Any) -> None:
    """Change fields of what lies there, seen as it is now; as often as somebody (oneself, unheard) was faster."""
    while True:
        known = buyer.get(path)
        if all(known.get(name) == value for name, value in fields.items()):
            return
        try:
            buyer.send("PATCH", path, body={**fields, "etag": known["etag"]})
        except Refused as refusal:
            already(refusal, "ETAG_MISMATCH")


def changed_their_account(town: Town) -> Plot:
    """A new name, a new password, and every other session gone."""
    buyer = town.buyer()
    other = town.stranger()
    other.sign_in(buyer.email, PASSWORD)
    yield
    change(buyer, "/v1/users/me", displayName="Somebody else")
    passwords = {"oldPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    try:
        buyer.post("/v1/users/me:changePassword", passwords)
    except Refused as refusal:
        already(refusal, "WRONG_PASSWORD")
    buyer.sign_in(buyer.email, NEW_PASSWORD)
    for session in buyer.get("/v1/sessions")["sessions"]:
        if not session.get("current"):
            remove(buyer, f"/v1/sessions/{session['id']}")


def promoted(town: Town) -> Plot:
    """Another role."""
    buyer = town.buyer()
    yield
    roles = ["customer", "support"]
    town.staff("admin").put(f"/v1/users/{buyer.id}/roles", {"roles": roles})
    same("roles", sorted(town.staff("admin").get(f"/v1/users/{buyer.id}")["roles"]), roles)


def erased(town: Town) -> Plot:
    """Somebody is forgotten, here and at the neighbours'."""
    buyer = town.buyer()
    order = town.delivered(buyer)
    opened = "select count(*) from users.open_orders where order_id = %s"
    until(lambda: town.sql(opened, order["id"]) == [(0,)], "the accounts know that the order is over")
    yield
    remove(buyer, "/v1/users/me")
    rows = "select count(*) from orders.personal where order_id = %s and erase_time is null"
    until(lambda: town.sql(rows, order["id"]) == [(0,)], "the order forgets")
    same("accounts", town.sql("select count(*) from users.users where email = %s", buyer.email), [(0,)])


def sold_by_the_catalogue(town: Town) -> Plot:
    """A product is created, changed and archived, in a category of its own."""
    staff = town.staff("catalog")
    mark = secrets.token_hex(6)
    variant = {"sku": f"sweep-{mark}", "price": {"currencyCode": "USD", "units": "3", "nanos": 0}}
    yield
    category = staff.post("/v1/categories", {"name": f"Sweep {mark}"})
    change(staff, f"/v1/categories/{category['id']}", name=f"Swept {mark}")
    wish = {"title": f"Broom {mark}", "brand": mark, "categoryId": category["id"], "variants": [variant]}
    product = staff.post("/v1/products", wish)
    change(staff, f"/v1/products/{product['id']}", title=f"Besom {mark}")
    staff.post(f"/v1/products/{product['id']}:archive")
    found = town.sql("select count(*) from catalog.product where brand = %s", mark)
    same("products of the brand", found, [(1,)])


def stocked(town: Town) -> Plot:
    """Goods come in, and are counted again."""
    sku = town.scarce()
    warehouse = town.staff("warehouse")
    yield
    receipt = {"warehouseId": city.RIVERSIDE.id, "quantity": 7, "reference": "sweep"}
    warehouse.post(f"/v1/stock/{sku}:receive", receipt)
    adjustment = {"warehouseId": city.RIVERSIDE.id, "delta": -2, "reason": "DAMAGE"}
    warehouse.post(f"/v1/stock/{sku}:adjust", {**adjustment, "etag": warehouse.get(f"/v1/stock/{sku}")["etag"]})
    (level,) = (each for each in warehouse.get(f"/v1/stock/{sku}")["levels"] if each["warehouseId"] == "riverside")
    same("what lies there", level["onHand"], 7)


def furnished(town: Town) -> Plot:
    """What operators do: a warehouse, a zone, an account, a courier, a consignment, a list of products."""
    mark = secrets.token_hex(6)
    stock = town.channels.stub(inventory_pb2_grpc.InventoryServiceStub)
    deliveries = town.channels.stub(delivery_pb2_grpc.DeliveryServiceStub)
    users = town.channels.stub(user_pb2_grpc.UserServiceStub)
    products = town.channels.stub(product_pb2_grpc.ProductServiceStub)
    account = user_pb2.PutAccountRequest(email=f"{mark}@mercato.example", password=PASSWORD, display_name="Sweeper")
    account.roles.append("courier")
    row = product_pb2.ImportRow(line=2, sku=f"sweep-{mark}", title=f"Mop {mark}", category_path=["Grocery", "Sweep"])
    row.price.CopyFrom(money_to_pb(Money(500, city.CURRENCY)))
    batch = inventory_pb2.BatchReceiveStockRequest(warehouse_id=city.UPTOWN.id, reference=mark, request_id=mark)
    batch.lines.add(sku=SKUS[0], quantity=5)
    zone = next(z for z in deliveries.ListZones(delivery_pb2.ListZonesRequest(page_size=50)).zones)
    yield
    house = inventory_pb2.Warehouse(id=city.UPTOWN.id, name=f"Uptown {mark}")
    insist(lambda: stock.PutWarehouse(inventory_pb2.PutWarehouseRequest(warehouse=house)), "PutWarehouse")
    insist(lambda: stock.BatchReceiveStock(batch), "BatchReceiveStock")
    user = insist(lambda: users.PutAccount(account), "PutAccount")
    courier = {"courier": {"id": user.id, "name": "Sweeper"}}
    town.staff("warehouse").post("/v1/couriers", courier["courier"], key=mark)
    insist(
        lambda: products.ImportProducts(iter([product_pb2.ImportProductsRequest(rows=[row])])),
        "ImportProducts",
    )
    zone.name = f"Downtown {mark}"
    put = delivery_pb2.PutZoneRequest(zone=zone, slot_capacity=city.SLOT_CAPACITY, first_hour=8, last_hour=22)
    insist(lambda: deliveries.PutZone(put), "PutZone")
    received = town.sql("select count(*) from inventory.movement where reference = %s", mark)
    same("consignments", received, [(1,)])


def ran_out(town: Town) -> Plot:
    """Stock and a place that were held for an order that never came."""
    stock = town.as_order.stub(inventory_pb2_grpc.InventoryServiceStub)
    places = town.as_order.stub(delivery_pb2_grpc.DeliveryServiceStub)
    order_id, reservation_id, hold_id = (str(uuid7()) for _ in range(3))
    reserve = inventory_pb2.ReserveStockRequest(
        reservation_id=reservation_id, order_id=order_id, warehouse_ids=[city.RIVERSIDE.id]
    )
    reserve.lines.add(sku=SKUS[0], quantity=2)
    hold = delivery_pb2.HoldSlotRequest(hold_id=hold_id, order_id=order_id, slot_id=town.slot())
    yield
    insist(partial(stock.ReserveStock, reserve), "ReserveStock")
    insist(partial(places.HoldSlot, hold), "HoldSlot")
    town.sql("update inventory.reservation set expire_time = now() where id = %s", reservation_id)
    town.sql("update delivery.hold set expire_time = now() where id = %s", hold_id)
    gone = "select r.state, h.state from inventory.reservation r, delivery.hold h where r.id = %s and h.id = %s"
    until(lambda: town.sql(gone, reservation_id, hold_id) == [("EXPIRED", "EXPIRED")], "both have run out")


STORIES = (
    *(registered, moved, changed_their_account, promoted, erased),
    *(sold_by_the_catalogue, stocked, furnished, ran_out),
)
