"""The staff of a run: pickers, couriers, their dispatcher, who gives money back, who decides; and the whole crowd."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from chaos.nemesis.goods import SKUS
from chaos.nemesis.history import Json
from chaos.nemesis.people import Person, Place, Shopper, patiently
from shop import city
from shop.rest import cents


class Member(Person):
    """Somebody of the staff."""

    def __init__(self, place: Place, role: str, number: int = 1) -> None:
        super().__init__(place, f"{role}-{number}")
        user = patiently(lambda: self.visitor.sign_in(f"{role}@mercato.example", place.password)) or {}
        self.id = str(user["id"])


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
