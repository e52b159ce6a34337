"""One shopper and the staff, through the gateway's door only: from looking for yogurt to the courier's ring."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from shop import city
from shop.rest import Json, Visitor, cents, shown
from shop.tape import Carried, Tape

WANTED = ("bananas", "yogurt", "frozen pizza")
QUANTITIES = (2, 1, 3)
SHORT = 1
"""How many of the last line are missing when it is picked."""
STAFF = ("warehouse", "courier", "finance")
PAYS = "pm_card_visa"
_SETTLED = ("OrderConfirmed", "OrderRejected")
_PATIENCE = 20.0


class Broken(Exception):
    """Something is not as promised."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, what came of it, how long it took, and what Kafka carried."""

    name: str
    outcome: str
    seconds: float
    events: Sequence[Carried]


@dataclass(slots=True)
class Story:
    """What is known so far."""

    products: list[Json] = field(default_factory=list)
    quantities: dict[str, int] = field(default_factory=dict)
    address: Json = field(default_factory=dict)
    slot: Json = field(default_factory=dict)
    order: Json = field(default_factory=dict)
    expected: int = 0
    ids: set[str] = field(default_factory=set)


class Shopper:
    """Plays the story, step by step; each step is told when it is over."""

    def __init__(self, enter: Callable[[], Visitor], password: str, tape: Tape, tell: Callable[[Step], None]) -> None:
        self._enter = enter
        self._password = password
        self._tape = tape
        self._tell = tell
        self._story = Story()
        self._rooms = ExitStack()
        self._staff: dict[str, Visitor] = {}
        self._shopper = self._rooms.enter_context(enter())

    def play(self) -> None:
        """The whole story. Raises Broken, or Refused, where it goes another way than promised."""
        with self._rooms:
            self._step("find products", self._find)
            self._step("fill a cart as a guest", self._fill)
            self._step("register and sign in", self._register, "UserRegistered")
            self._step("see the cart come along", self._cart)
            self._step("add an address", self._settle)
            self._step("choose a slot", self._choose)
            self._step("order", self._order, "OrderPlaced")
            self._step("watch it become CONFIRMED", self._watch, *_CHECKOUT)
            self._step("sign the staff in", self._sign_staff_in)
            self._step("start picking", self._start_picking, "OrderPickingStarted")
            self._step(f"pick, {SHORT} short", self._finish_picking, "StockConsumed", "PaymentCaptured", "OrderReady")
            self._step("assign a courier", self._assign, "ShipmentAssigned")
            self._step("pick up", self._pick_up, "ShipmentPickedUp", "OrderOutForDelivery")
            self._step("deliver", self._deliver, "ShipmentDelivered", "OrderDelivered")
            self._step("look at the bill", self._bill)
            self._step("balance the books", self._books)

    def _step(self, name: str, act: Callable[[], str], *events: str) -> None:
        began = time.monotonic()
        outcome = act()
        took = time.monotonic() - began
        carried = self._tape.take(self._story.ids, events) if self._story.ids else []
        self._tell(Step(name, outcome, took, carried))
        if missing := self._tape.missing(self._story.ids, events):
            raise Broken(f"{name}: Kafka carried no {', '.join(sorted(missing))}")

    # --- the shopper

    def _find(self) -> str:
        for word in WANTED:
            self._story.products.append(self._first(word))
        return "; ".join(f"{product['title']} at {shown(_price(product))}" for product in self._story.products)

    def _first(self, word: str) -> Json:
        """The best match that is in stock. Right after a seed the stock is still on its way through Kafka."""
        found: Sequence[Json] = _until(lambda: self._search(word), f"nothing in stock is called {word!r}")
        return found[0]

    def _search(self, word: str) -> Sequence[Json]:
        found = self._shopper.get("/v1/products:search", q=word, inStock="true", pageSize=5)
        return [product for product in found["products"] if product not in self._story.products]

    def _fill(self) -> str:
        self._shopper.token = self._shopper.post("/v1/sessions:guest")["token"]
        for product, quantity in zip(self._story.products, QUANTITIES, strict=True):
            sku = product["variants"][0]["sku"]
            cart = self._shopper.put(f"/v1/cart/lines/{sku}", {"quantity": quantity})
            self._story.quantities[sku] = quantity
        self._same("the cart", _quantities(cart["lines"]), self._story.quantities)
        return f"{len(cart['lines'])} lines, {shown(cart['subtotal'])}"

    def _register(self) -> str:
        email, password = f"shopper-{secrets.token_hex(4)}@mercato.example", secrets.token_urlsafe(12)
        user = self._shopper.post("/v1/users", {"email": email, "password": password, "displayName": "Demo Shopper"})
        self._story.ids.add(user["id"])
        self._shopper.sign_in(email, password)
        return email

    def _cart(self) -> str:
        cart = self._shopper.get("/v1/cart")
        self._same("the cart", _quantities(cart["lines"]), self._story.quantities)
        return f"{len(cart['lines'])} lines, {shown(cart['subtotal'])}"

    def _settle(self) -> str:
        self._story.address = add_address(self._shopper, city.SERVED)
        return f"zone {self._story.address['zoneId']}"

    def _choose(self) -> str:
        self._story.slot = open_slots(self._shopper, self._story.address["zoneId"])[0]
        return f"{self._story.slot['startTime']}, {self._story.slot['available']} places left"

    def _order(self) -> str:
        wish = {
            "addressId": self._story.address["id"],
            "slotId": self._story.slot["id"],
            "paymentMethod": PAYS,
        }
        reply = self._shopper.send("POST", "/v1/orders", body=wish)
        self._story.order = reply.body
        self._story.ids.add(reply.body["id"])
        self._same("the order", _quantities(reply.body["lines"]), self._story.quantities)
        return f"{reply.status} {reply.body['state']}, {shown(reply.body['total'])}"

    def _watch(self) -> str:
        with self._shopper.events(f"/v1/orders/{self._story.order['id']}/events") as types:
            seen = []
            for kind in types:
                seen.append(kind)
                if kind in _SETTLED:
                    break
        self._look("CONFIRMED")
        if self._shopper.get("/v1/cart").get("lines"):
            raise Broken("the cart was not emptied by the order")
        return " → ".join(seen)

    # --- the staff

    def _sign_staff_in(self) -> str:
        for role in STAFF:
            visitor = self._rooms.enter_context(self._enter())
            visitor.sign_in(f"{role}@mercato.example", self._password)
            self._staff[role] = visitor
        return ", ".join(STAFF)

    def _start_picking(self) -> str:
        self._staff["warehouse"].post(f"/v1/orders/{self._story.order['id']}:startPicking")
        return str(self._look("PICKING")["state"])

    def _finish_picking(self) -> str:
        *full, short = self._story.order["lines"]
        picked = [{"sku": line["sku"], "pickedQuantity": line["quantity"]} for line in full]
        picked.append({"sku": short["sku"], "pickedQuantity": short["quantity"] - SHORT})
        self._staff["warehouse"].post(f"/v1/orders/{self._story.order['id']}:finishPicking", {"lines": picked})
        order = self._look("READY")
        self._story.expected = cents(order["total"]) - SHORT * cents(short["unitPrice"])
        self._same("what was captured", cents(order["capturedTotal"]), self._story.expected)
        return f"{short['title']}: {short['quantity'] - SHORT} of {short['quantity']}"

    def _assign(self) -> str:
        warehouse = self._staff["warehouse"]
        shipment = _until(lambda: self._look("READY").get("shipmentId"), "no shipment was made")
        courier = self._staff["courier"]
        warehouse.post(f"/v1/shipments/{shipment}:assign", {"courierId": courier.get("/v1/users/me")["id"]})
        self._story.ids.add(shipment)
        return courier.name

    def _pick_up(self) -> str:
        self._staff["courier"].post(f"/v1/shipments/{self._shipment}:pickUp")
        return str(self._look("OUT_FOR_DELIVERY")["state"])

    def _deliver(self) -> str:
        self._staff["courier"].post(f"/v1/shipments/{self._shipment}:deliver")
        return str(self._look("DELIVERED")["state"])

    def _bill(self) -> str:
        payment = self._shopper.get(f"/v1/payments/{self._look('DELIVERED')['paymentId']}")
        self._same("the payment", (payment["state"], cents(payment["captured"])), ("CAPTURED", self._story.expected))
        return f"{shown(payment['captured'])} captured of {shown(payment['authorized'])} by {payment['method']}"

    def _books(self) -> str:
        accounts = self._staff["finance"].get("/v1/ledger/accounts", pageSize=200)["accounts"]
        debits, credits_ = (sum(cents(account[side]) for account in accounts) for side in ("debits", "credits"))
        self._same("the sum of all debits", debits, credits_)
        return f"{debits / 100:,.2f} debited and credited on {len(accounts)} accounts"

    # --- how

    @property
    def _shipment(self) -> str:
        return str(self._story.order["shipmentId"])

    def _look(self, state: str) -> Json:
        """The order as its owner sees it, once it is in a state: what follows from events takes a moment."""
        path = f"/v1/orders/{self._story.order['id']}"

        def arrived() -> bool:
            self._story.order = self._shopper.get(path)
            return bool(self._story.order["state"] == state)

        _until(arrived, lambda: f"the order is {self._story.order['state']}, not {state}")
        return self._story.order

    def _same(self, what: str, found: object, promised: object) -> None:
        if found != promised:
            raise Broken(f"{what} is {found}, not {promised}")


_CHECKOUT = (
    "StockReserved",
    "SlotHeld",
    "PaymentAuthorized",
    "StockCommitted",
    "SlotConfirmed",
    "OrderConfirmed",
    "ShipmentPlanned",
)


def add_address(visitor: Visitor, place: city.Corner) -> Json:
    """An address of one's own at a place that is served."""
    wish = {
        "label": "home",
        "recipient": "Demo Shopper",
        "line1": "1 Fountain Square",
        "postalCode": "45202",
        "city": "Cincinnati",
        "countryCode": "US",
        "phone": "+15135550100",
        "location": {"latitude": place[0], "longitude": place[1]},
    }
    address: Json = visitor.post("/v1/users/me/addresses", wish)
    if not address.get("zoneId"):
        raise Broken(f"the address at {place} lies in no zone")
    return address


def open_slots(visitor: Visitor, zone_id: str) -> list[Json]:
    """The slots of a zone that still take deliveries, the next first."""
    slots: list[Json] = []
    token = ""
    while True:
        page = visitor.get("/v1/slots", zoneId=zone_id, pageSize=200, pageToken=token)
        slots += [slot for slot in page["slots"] if slot.get("available")]
        token = page.get("nextPageToken", "")
        if not token:
            break
    if not slots:
        raise Broken(f"zone {zone_id} has no open slot")
    return slots


def _quantities(lines: Sequence[Json]) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in lines}


def _price(product: Json) -> Json:
    price: Json = product["variants"][0]["price"]
    return price


def _until(look: Callable[[], Any], otherwise: str | Callable[[], str]) -> Any:
    """What a look gives once it gives something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Broken(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.05)
    return found
