"""The people of a run: shoppers who order, cancel, look and return; pickers, couriers, and those who give money back.

Each does one thing after the other on a thread of its own, through the gateway, until it is over. What they find in
their way (a refusal, silence) is written down and does not stop them.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from chaos.nemesis.goods import HOT, SKUS
from chaos.nemesis.history import History, Json, Operation, ask
from shop import city
from shop.rest import Refused, Visitor, cents
from shop.shopper import add_address, open_slots

WAYS_TO_PAY = {
    "pm_card_visa": 60,
    "cash_on_delivery": 14,
    "pm_card_visa_chargeDeclined": 6,
    "pm_timeout_then_success": 6,
    "pm_timeout_then_decline": 3,
    "pm_flaky": 5,
    "pm_slow": 3,
    "pm_capture_fails": 3,
}
PAUSE = 0.15  # mean seconds between two things that somebody does


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens: the gateway's door, the staff's password, the dice's seed, and the history."""

    url: str
    password: str
    seed: int
    history: History


class Person:
    """Somebody who does one thing after the other."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.visitor = Visitor(place.url)
        self.history = place.history
        self.dice = random.Random(f"{place.seed} {name}")  # noqa: S311  a play, no secret

    def close(self) -> None:
        """Leave."""
        self.visitor.close()

    def run(self, over: threading.Event) -> None:
        """Live until it is over."""
        while not over.wait(self.dice.expovariate(1 / PAUSE)):
            try:
                self.act()
            except (Refused, httpx.TransportError):
                continue  # a look that was not answered; whatever changes something is in the history

    def act(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    def ask(self, what: str, path: str, body: Json | None = None) -> Operation:
        """Ask for something to be done."""
        operation = self.history.invoke(self.name, what, path, secrets.token_hex(8), body or {})
        return ask(self.history, self.visitor, operation)

    def again(self, operation: Operation) -> None:
        """Ask for the same once more, because nobody knows what became of it."""
        ask(self.history, self.visitor, operation)

    def orders(self, state: str) -> list[Json]:
        """Some orders in a state."""
        found: list[Json] = self.visitor.get("/v1/orders", state=state, pageSize=30)["orders"]
        return found

    def one_of(self, state: str) -> Json | None:
        """An order in a state, if there is one."""
        found = self.orders(state)
        return self.dice.choice(found) if found else None


class Shopper(Person):
    """Orders, looks, thinks better of it, gives back."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(place, f"shopper-{number}")
        email, password = f"nemesis-{secrets.token_hex(6)}@mercato.example", secrets.token_urlsafe(12)
        self.visitor.post("/v1/users", {"email": email, "password": password, "displayName": self.name})
        self.visitor.sign_in(email, password)
        zone = city.ZONES[number % len(city.ZONES)]
        self.address_id = add_address(self.visitor, zone.doorstep)["id"]
        self.slots = [slot["id"] for slot in open_slots(self.visitor, zone.id)]
        self.placed: list[str] = []

    def act(self) -> None:
        """Order most of the time."""
        (do,) = self.dice.choices([self.order, self.cancel, self.look, self.give_back], [60, 12, 20, 8])
        do()

    def order(self) -> None:
        """Place an order; now and then ask again with the same key, as a client does who is not sure."""
        operation = self.ask("place", "/v1/orders", self.wish())
        if operation.order_id:
            self.placed.append(operation.order_id)
        if operation.decided and self.dice.random() < 0.1:
            self.repeat(operation)

    def repeat(self, operation: Operation) -> None:
        """The same key again, as an entry of its own in the history."""
        twin = self.history.invoke(self.name, operation.what, operation.path, operation.key, operation.body)
        ask(self.history, self.visitor, twin)

    def wish(self) -> Json:
        """One to three lines, often of what everybody wants."""
        wanted = [*self.dice.sample(SKUS, self.dice.randint(1, 2)), *self.dice.sample(HOT, self.dice.randint(0, 1))]
        (method,) = self.dice.choices([*WAYS_TO_PAY], [*WAYS_TO_PAY.values()])
        return {
            "lines": [{"sku": sku, "quantity": self.dice.randint(1, 3)} for sku in dict.fromkeys(wanted)],
            "addressId": self.address_id,
            "slotId": self.dice.choice(self.slots),
            "paymentMethod": method,
        }

    def cancel(self) -> None:
        """Call off one of the last orders, in whatever state it is."""
        if self.placed:
            order_id = self.dice.choice(self.placed[-5:])
            self.ask("cancel", f"/v1/orders/{order_id}:cancel", {"reason": "thought better of it"})

    def look(self) -> None:
        """Read one of the own orders."""
        if self.placed:
            self.history.read(self.name, self.visitor.get(f"/v1/orders/{self.dice.choice(self.placed)}"))

    def give_back(self) -> None:
        """Return a unit of something that was delivered."""
        if (order := self.one_of("DELIVERED")) and not order.get("return"):
            lines = [line for line in order["lines"] if line.get("pickedQuantity")]
            if lines:
                body = {"lines": [{"sku": lines[0]["sku"], "quantity": 1}], "reason": "not as expected"}
                self.ask("requestReturn", f"/v1/orders/{order['id']}:requestReturn", body)


class Member(Person):
    """Somebody of the staff."""

    def __init__(self, place: Place, role: str, number: int = 1) -> None:
        super().__init__(place, f"{role}-{number}")
        self.id = self.visitor.sign_in(f"{role}@mercato.example", place.password)["id"]


class Picker(Member):
    """Picks what is confirmed, now and then less than was ordered; brings new goods."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(place, "warehouse", number)

    def act(self) -> None:
        """Pick, or put something on the shelf."""
        (do,) = self.dice.choices([self.start, self.finish, self.receive], [45, 45, 10])
        do()

    def start(self) -> None:
        """Begin with an order."""
        if order := self.one_of("CONFIRMED"):
            self.ask("startPicking", f"/v1/orders/{order['id']}:startPicking")

    def finish(self) -> None:
        """Be done with an order."""
        if order := self.one_of("PICKING"):
            body = {"lines": [self.picked(line) for line in order["lines"]]} if self.dice.random() < 0.4 else {}
            self.ask("finishPicking", f"/v1/orders/{order['id']}:finishPicking", body)

    def picked(self, line: Json) -> Json:
        """All of a line, or less."""
        return {"sku": line["sku"], "pickedQuantity": self.dice.randint(0, int(line["quantity"]))}

    def receive(self) -> None:
        """Goods come in."""
        body = {"warehouseId": city.RIVERSIDE.id, "quantity": self.dice.randint(1, 20), "reference": "nemesis"}
        self.ask("receive", f"/v1/stock/{self.dice.choice(SKUS)}:receive", body)


class Dispatcher(Member):
    """Gives what is packed to the courier."""

    def __init__(self, place: Place, courier: Courier) -> None:
        super().__init__(place, "warehouse", 9)
        self._courier = courier

    def act(self) -> None:
        """Assign one."""
        if (order := self.one_of("READY")) and order.get("shipmentId"):
            body = {"courierId": self._courier.id}
            self.ask("assign", f"/v1/shipments/{order['shipmentId']}:assign", body)


class Courier(Member):
    """Brings what was assigned, and now and then finds nobody at home."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "courier")

    def act(self) -> None:
        """Pick one up, or deliver one."""
        shipments = self.visitor.get("/v1/shipments", pageSize=100)["shipments"]
        if mine := [each for each in shipments if each["state"] in ("ASSIGNED", "PICKED_UP")]:
            shipment = self.dice.choice(mine)
            self.bring(shipment) if shipment["state"] == "PICKED_UP" else self.take(shipment)

    def take(self, shipment: Json) -> None:
        """Pick it up."""
        self.ask("pickUp", f"/v1/shipments/{shipment['id']}:pickUp")

    def bring(self, shipment: Json) -> None:
        """Deliver it, with the cash that is due; or come back with it."""
        if self.dice.random() < 0.1:
            self.ask("fail", f"/v1/shipments/{shipment['id']}:fail", {"reason": "nobody was at home"})
        else:
            cash = shipment.get("cashDue")
            self.ask("deliver", f"/v1/shipments/{shipment['id']}:deliver", {"cashCollected": cash} if cash else {})


class Refunder(Member):
    """Gives a little money back where some was taken."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "finance")

    def act(self) -> None:
        """Refund a part of a payment."""
        payments = self.visitor.get("/v1/payments", pageSize=50)["payments"]
        taken = [each for each in payments if cents(each.get("captured") or {}) > cents(each.get("refunded") or {})]
        if taken and self.dice.random() < 0.3:
            payment = self.dice.choice(taken)
            amount = {**payment["captured"], "units": "0", "nanos": self.dice.randint(1, 60) * 10_000_000}
            body = {"amount": amount, "reason": "goodwill"}
            self.ask("refund", f"/v1/payments/{payment['id']}:refund", body)


class Support(Member):
    """Decides what waits for a human."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "support")

    def act(self) -> None:
        """One of: a return, a payment that is due, a delivery that failed."""
        self.dice.choice([self.decide_return, self.retry, self.give_up])()

    def decide_return(self) -> None:
        """Take goods back, or not."""
        waiting = [each for each in self.orders("DELIVERED") if (each.get("return") or {}).get("state") == "REQUESTED"]
        if waiting:
            order = self.dice.choice(waiting)
            restock = [{"sku": line["sku"], "quantity": line["quantity"]} for line in order["return"]["lines"]]
            if self.dice.random() < 0.7:
                self.ask("approveReturn", f"/v1/orders/{order['id']}:approveReturn", {"restock": restock})
            else:
                self.ask("refuseReturn", f"/v1/orders/{order['id']}:refuseReturn", {"reason": "it was used"})

    def retry(self) -> None:
        """Another card."""
        if order := self.one_of("PAYMENT_DUE"):
            body = {"paymentMethod": "pm_card_visa"}
            self.ask("retryPayment", f"/v1/orders/{order['id']}:retryPayment", body)

    def give_up(self) -> None:
        """What could not be delivered is called off, and refunded."""
        if order := self.one_of("DELIVERY_FAILED"):
            self.ask("cancel", f"/v1/orders/{order['id']}:cancel", {"reason": "nobody was at home"})


def crowd(place: Place, shoppers: int) -> list[Person]:
    """Everybody of a run, signed in."""
    courier = Courier(place)
    return [
        *(Shopper(place, number) for number in range(shoppers)),
        *(Picker(place, number) for number in (1, 2)),
        courier,
        Dispatcher(place, courier),
        Refunder(place),
        Support(place),
    ]


def live(people: Sequence[Person], over: threading.Event) -> list[threading.Thread]:
    """Let everybody live, each on a thread, until it is over."""
    threads = [threading.Thread(target=each.run, args=(over,), name=each.name, daemon=True) for each in people]
    for thread in threads:
        thread.start()
    return threads
