"""Many shoppers at once, ordering what real people bought, and what came of it."""

from __future__ import annotations

import random
import secrets
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import httpx

from shop import city
from shop.baskets import Basket
from shop.rest import Json, Refused, Reply, Visitor, cents
from shop.shopper import PAYS, Broken, add_address, open_slots

EXPECTED = frozenset({"OUT_OF_STOCK", "SLOT_FULL", "SLOT_CLOSED"})
"""Refusals that a shop with finite goods and hours owes nobody an apology for."""
ASKED_TWICE = 20
"""Every so many orders is sent again with its key, and must be answered with the same order."""
SEED = 2017
_SETTLES_WITHIN = 60.0

Enter = Callable[[], Visitor]
"""Makes a new visitor at the gateway's door."""


@dataclass(slots=True)
class Tally:
    """What came of the orders, from all threads."""

    seconds: list[float] = field(default_factory=list)
    confirmed: int = 0
    pending: int = 0
    asked_twice: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    took: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kept(self) -> bool:
        """Whether all is as promised."""
        return not self.broken and self.confirmed > 0

    def quantile(self, share: float) -> float:
        """The time within which a share of the replies came, in seconds."""
        ordered = sorted(self.seconds) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Replay:
    """Baskets, dealt out to shoppers that order at the same time."""

    def __init__(self, enter: Enter, baskets: Sequence[Basket], orders: int, concurrency: int) -> None:
        # Beyond the number of baskets the same ones come again.
        chosen = random.Random(SEED).choices(baskets, k=orders)  # noqa: S311 -- the same baskets every time
        self._next: Iterator[tuple[int, Basket]] = iter(enumerate(chosen))
        self._enter = enter
        self._crowd = concurrency
        self._dealing = threading.Lock()
        self.tally = Tally()

    def run(self, advance: Callable[[int], None]) -> Tally:
        """All orders. First everybody registers, then the clock starts."""
        with ThreadPoolExecutor(self._crowd) as threads:
            buyers = list(filter(None, threads.map(self._begin, range(self._crowd))))
            began = time.monotonic()
            list(threads.map(partial(self._shop, advance), buyers))
            self.tally.took = time.monotonic() - began
            list(threads.map(self._leave, buyers))
        return self.tally

    def _begin(self, number: int) -> Buyer | None:
        visitor = self._enter()
        try:
            return Buyer(visitor, city.ZONES[number % len(city.ZONES)])
        except (Refused, Broken, httpx.TransportError) as trouble:
            visitor.close()
            self._broke(f"shopper {number} could not begin: {trouble}")
            return None

    def _shop(self, advance: Callable[[int], None], buyer: Buyer) -> None:
        while dealt := self._deal():
            self._order(buyer, *dealt)
            advance(1)

    def _leave(self, buyer: Buyer) -> None:
        with buyer.visitor:
            self._check(buyer)

    def _deal(self) -> tuple[int, Basket] | None:
        with self._dealing:
            return next(self._next, None)

    def _order(self, buyer: Buyer, number: int, basket: Basket) -> None:
        try:
            self._placed(buyer, number, basket)
        except Refused as refusal:
            with self.tally.lock:
                self.tally.refused[refusal.reason] += 1
            if refusal.reason not in EXPECTED:
                self._broke(f"order {number}: {refusal}")
        except (Broken, httpx.TransportError) as trouble:
            self._broke(f"order {number}: {trouble!r}")

    def _placed(self, buyer: Buyer, number: int, basket: Basket) -> None:
        key, began = str(uuid.uuid4()), time.monotonic()
        wish = buyer.wish(basket)
        try:
            reply = buyer.visitor.send("POST", "/v1/orders", body=wish, key=key)
        finally:
            with self.tally.lock:
                self.tally.seconds.append(time.monotonic() - began)
        order = buyer.settled(reply)
        with self.tally.lock:
            self.tally.pending += reply.status == 202
            self.tally.confirmed += order["state"] == "CONFIRMED"
        if order["state"] != "CONFIRMED":
            raise Refused(409, order.get("rejection", {}))
        _check_order(order, basket)
        buyer.orders.add(order["id"])
        if number % ASKED_TWICE == 0:
            self._again(buyer, wish, key, order)

    def _again(self, buyer: Buyer, wish: Json, key: str, order: Json) -> None:
        again = buyer.visitor.send("POST", "/v1/orders", body=wish, key=key)
        with self.tally.lock:
            self.tally.asked_twice += 1
        if again.body["id"] != order["id"] or again.headers.get("Idempotent-Replayed") != "true":
            raise Broken(f"asked twice with one key, got {again.body['id']} after {order['id']}")

    def _check(self, buyer: Buyer) -> None:
        """What the shop remembers of a shopper is what the shopper remembers."""
        try:
            remembered = buyer.remembered()
        except (Refused, httpx.TransportError) as trouble:
            self._broke(f"own orders: {trouble}")
            return
        if remembered != buyer.orders:
            self._broke(f"own orders: {len(remembered)} are remembered, {len(buyer.orders)} were confirmed")

    def _broke(self, what: str) -> None:
        with self.tally.lock:
            self.tally.broken.append(what)


class Buyer:
    """A registered shopper with an address, and slots to choose from."""

    def __init__(self, visitor: Visitor, zone: city.Zone) -> None:
        email, password = f"buyer-{secrets.token_hex(6)}@mercato.example", secrets.token_urlsafe(12)
        visitor.post("/v1/users", {"email": email, "password": password, "displayName": "Buyer"})
        visitor.sign_in(email, password)
        self.visitor = visitor
        self.orders: set[str] = set()
        self._address = add_address(visitor, zone.doorstep)
        self._slots = open_slots(visitor, self._address["zoneId"])

    def wish(self, basket: Basket) -> Json:
        """An order for a basket. Slots are taken at random, so that none fills up before the others."""
        return {
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in basket.lines],
            "addressId": self._address["id"],
            "slotId": secrets.choice(self._slots)["id"],
            "paymentMethod": PAYS,
        }

    def settled(self, reply: Reply) -> Json:
        """The order once it is decided."""
        deadline = time.monotonic() + _SETTLES_WITHIN
        order: Json = reply.body
        while order["state"] == "PENDING":
            if time.monotonic() > deadline:
                raise Broken(f"order {order['id']} is still PENDING")
            time.sleep(0.1)
            order = self.visitor.get(f"/v1/orders/{order['id']}")
        return order

    def remembered(self) -> set[str]:
        """The ids of all confirmed orders, as the shop lists them."""
        ids: set[str] = set()
        token = ""
        while True:
            page = self.visitor.get("/v1/orders", state="CONFIRMED", pageSize=200, pageToken=token)
            ids |= {order["id"] for order in page["orders"]}
            if not (token := page.get("nextPageToken", "")):
                return ids


def _check_order(order: Json, basket: Basket) -> None:
    """The order is what was asked for, and adds up."""
    if {line["sku"]: line["quantity"] for line in order["lines"]} != dict(basket.lines):
        raise Broken(f"order {order['id']} holds other lines than were ordered")
    lines = sum(line["quantity"] * cents(line["unitPrice"]) for line in order["lines"])
    if cents(order["total"]) != lines + cents(order.get("deliveryFee", {})):
        raise Broken(f"order {order['id']} does not add up")
