"""The stage of a scenario: an arena, people who do as they are told, and what is to be seen afterwards."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import Any, LiteralString, TypeVar

import psycopg

from chaos.nemesis.arena import Arena
from chaos.nemesis.goods import APART
from chaos.nemesis.history import History, Json, Operation
from chaos.nemesis.people import Person, Place, Shopper, decide, patiently
from chaos.nemesis.staff import Member, Refunder
from chaos.nemesis.verdict import Check, judge
from chaos.rest import come_to_rest, unrest_of
from chaos.sweep.control import Controls
from mercato.auth import Signer
from mercato.rpc.channel import Channels
from shop import city

T = TypeVar("T")

VISA = "pm_card_visa"
PATIENCE = 40.0
# A build that is sound is at rest long before.
REST_WITHIN = 25.0


class Stuck(Exception):
    """What was waited for never came true."""


class Stage:
    """What a scenario has at hand."""

    def __init__(self, arena: Arena, history: History, controls: Controls) -> None:
        self.arena = arena
        self.proxies = arena.proxies
        self.controls = controls
        self._history = history
        self._place = Place(arena.mesh.url, arena.mesh.demo_password, 0, history)
        self._numbers = count()
        self._skus = iter(APART)
        self._staff: dict[str, Member] = {}
        self._shoppers: list[Shopper] = []

    def close(self) -> None:
        """Everybody leaves."""
        for person in [*self._staff.values(), *self._shoppers]:
            person.close()

    # Who and what is there.

    def shopper(self) -> Shopper:
        """Somebody new, with an address."""
        shopper = Shopper(self._place, 4 * next(self._numbers))  # each in the first zone
        self._shoppers.append(shopper)
        return shopper

    def staff(self, role: str) -> Member:
        """A member of the staff."""
        if role not in self._staff:
            self._staff[role] = Member(self._place, role)
        return self._staff[role]

    def sku(self) -> str:
        """Something that no other scenario sells; there are a hundred of it."""
        return next(self._skus)

    def scarce(self, left: int) -> str:
        """Something of which there are only so many, all in one warehouse."""
        sku, warehouse = self.sku(), self.staff("warehouse")
        for level in self.read(warehouse, f"/v1/stock/{sku}")["levels"]:
            keep = left if level["warehouseId"] == city.RIVERSIDE.id else 0
            delta = keep - int(level["onHand"])
            etag = self.read(warehouse, f"/v1/stock/{sku}")["etag"]
            body = {"warehouseId": level["warehouseId"], "delta": delta, "reason": "COUNT", "etag": etag}
            patiently(partial(warehouse.visitor.post, f"/v1/stock/{sku}:adjust", body, secrets.token_hex(8)))
        return sku

    def channels(self, service: str) -> Channels:
        """The channels of a service, for whoever plays it."""
        return Channels(Signer.load(self.arena.home.keys, service), self.arena.mesh.targets)

    def ask_database(self, query: LiteralString, *values: object) -> Any:
        """The first column of the first row of an answer; None without one."""
        with closing(psycopg.connect(self.arena.database_url, autocommit=True)) as connection:
            row = connection.execute(query, values).fetchone()
        return row[0] if row else None

    # What people do.

    def order(self, shopper: Shopper, sku: str, quantity: int = 1, method: str = VISA) -> Operation:
        """Place an order, whatever comes of it; asked again until one hears of it, for a scenario goes on with it."""
        operation = shopper.ask("place", "/v1/orders", self.wish(shopper, sku, quantity, method))
        deadline = time.monotonic() + PATIENCE
        while not operation.decided and time.monotonic() < deadline:
            time.sleep(0.2)
            shopper.again(operation)
        return operation

    def wish(self, shopper: Shopper, sku: str, quantity: int = 1, method: str = VISA) -> Json:
        """An order of one line."""
        lines = [{"sku": sku, "quantity": quantity}]
        slot = shopper.slots[-1 - len(self._shoppers) % 5]
        return {"lines": lines, "addressId": shopper.address_id, "slotId": slot, "paymentMethod": method}

    def bought(self, shopper: Shopper, sku: str, quantity: int = 1, method: str = VISA) -> str:
        """An order that is CONFIRMED, its shipment planned."""
        order_id = self.order(shopper, sku, quantity, method).order_id
        self.sees(shopper, order_id, "CONFIRMED")
        self.until(lambda: self.read(shopper, f"/v1/orders/{order_id}").get("shipmentId"), "it has a shipment")
        return order_id

    def packed(self, shopper: Shopper, sku: str, quantity: int = 1, picked: int | None = None) -> str:
        """An order that is READY, all of it or so many units."""
        order_id = self.bought(shopper, sku, quantity)
        self.pick(order_id, sku, quantity if picked is None else picked)
        self.sees(shopper, order_id, "READY")
        return order_id

    def pick(self, order_id: str, sku: str, picked: int) -> None:
        """Pick so many units."""
        warehouse = self.staff("warehouse")
        warehouse.ask("startPicking", f"/v1/orders/{order_id}:startPicking")
        body = {"lines": [{"sku": sku, "pickedQuantity": picked}]}
        warehouse.ask("finishPicking", f"/v1/orders/{order_id}:finishPicking", body)

    def deliver(self, shopper: Shopper, order_id: str) -> None:
        """Bring a READY order to its customer."""
        courier, shipment_id = self.staff("courier"), self.shipment_of(shopper, order_id)
        self.staff("warehouse").ask("assign", f"/v1/shipments/{shipment_id}:assign", {"courierId": courier.id})
        courier.ask("pickUp", f"/v1/shipments/{shipment_id}:pickUp")
        courier.ask("deliver", f"/v1/shipments/{shipment_id}:deliver")
        self.sees(shopper, order_id, "DELIVERED")

    def cancel(self, shopper: Shopper, order_id: str) -> Operation:
        """Call an order off."""
        return shopper.ask("cancel", f"/v1/orders/{order_id}:cancel", {"reason": "thought better of it"})

    # What is waited for.

    def read(self, person: Person, path: str) -> Json:
        """What lies there, as somebody sees it."""
        return patiently(partial(person.visitor.get, path)) or {}

    def shipment_of(self, shopper: Shopper, order_id: str) -> str:
        """How an order is brought."""
        return str(self.read(shopper, f"/v1/orders/{order_id}")["shipmentId"])

    def sees(self, shopper: Shopper, order_id: str, *states: str) -> None:
        """An order comes to one of these states."""
        self.until(
            lambda: self.read(shopper, f"/v1/orders/{order_id}")["state"] in states,
            f"order {order_id} is {' or '.join(states)}",
        )

    def until(self, look: Callable[[], T], what: str, within: float = PATIENCE) -> T:
        """What a look gives, once it gives something. Stuck."""
        deadline = time.monotonic() + within
        while not (found := patiently(look)):
            if time.monotonic() > deadline:
                raise Stuck(what)
            time.sleep(0.1)
        return found

    def said(self, service: str, what: str) -> int:
        """How often a service has written something into its log."""
        return self.arena.home.log(service).read_text(errors="replace").count(what)

    def at_rest(self) -> None:
        """Nothing is under way any more."""
        self.until(lambda: not unrest_of(self.arena.mesh), "all is at rest")

    @contextmanager
    def armed(self, *points: str) -> Iterator[None]:
        """Within the block, somebody fails at these places; whoever hangs there goes on after it."""
        self.controls.arm(*points)
        try:
            yield
        finally:
            self.controls.disarm()

    def struck(self, service: str, place: str) -> bool:
        """Whether a process of the service has come to an armed place."""
        return any(process.struck(place) for process in self.controls.processes(service))

    # What is found.

    def judge(self) -> list[Check]:
        """Heal, wait for rest, and check everything."""
        self.controls.disarm()
        self.arena.heal()
        finance = Refunder(self._place)
        people: Sequence[Person] = [*self._shoppers, *self._staff.values(), finance]
        undecided = decide(people, lambda: self._history.undecided, REST_WITHIN)
        rest = come_to_rest(self.arena.mesh, REST_WITHIN)
        unrest = [*rest.unrest, *(f"{each.what} {each.path} is never answered" for each in undecided)]
        with closing(finance):
            return [
                Check("I6", "Everything comes to rest.", 1, unrest),
                *judge(self.arena, self._history, people, finance),
            ]
