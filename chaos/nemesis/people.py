"""The people of a run: what they have in common, and the shoppers, who order, cancel, look and return.

Each does one thing after the other on a thread of its own, through the gateway, until it is over. What they find in
their way (a refusal, silence) is written down and does not stop them.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import httpx

from chaos.nemesis.goods import HOT, SKUS
from chaos.nemesis.history import History, Json, Operation, ask, is_silence
from shop import city
from shop.rest import Refused, Visitor
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
T = TypeVar("T")

PATIENCE = 40.0  # seconds for what must be there before a run begins, or after it has ended
PAUSE = 0.15  # mean seconds between two things that somebody does
AFTER_SILENCE = 1.0  # and where the first of them was not answered
ASKED_AT_ONCE, AFTER_ANSWERS = 6, 0.5  # when all that is unknown is asked again, in the end


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens: the gateway's door, the staff's password, the dice's seed, and the history."""

    url: str
    password: str
    seed: int
    history: History


def patiently(act: Callable[[], T], *, within: float = PATIENCE, done: frozenset[str] = frozenset()) -> T | None:
    """What an act gives, tried again while the answer is silence; None where it is refused as done already."""
    deadline = time.monotonic() + within
    while True:
        try:
            return act()
        except (Refused, httpx.TransportError) as trouble:
            if isinstance(trouble, Refused) and trouble.reason in done:
                return None
            if (isinstance(trouble, Refused) and not is_silence(trouble)) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


class Person:
    """Somebody who does one thing after the other."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.visitor = Visitor(place.url)
        self.history = place.history
        self.heard = True
        """Whether the last thing that was asked for was answered."""
        self.dice = random.Random(f"{place.seed} {name}")  # noqa: S311  a play, no secret

    def close(self) -> None:
        """Leave."""
        self.visitor.close()

    def run(self, over: threading.Event) -> None:
        """Live until it is over."""
        while not over.wait(self.dice.expovariate(1 / (PAUSE if self.heard else AFTER_SILENCE))):
            self.heard = True
            try:
                self.act()
            except (Refused, httpx.TransportError):
                self.heard = False  # a look that was not answered; whatever changes something is in the history

    def act(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    def ask(self, what: str, path: str, body: Json | None = None) -> Operation:
        """Ask for something to be done."""
        operation = self.history.invoke(self.name, what, path, secrets.token_hex(8), body or {})
        ask(self.history, self.visitor, operation)
        self.heard = operation.decided
        return operation

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
        account = {"email": email, "password": password, "displayName": self.name}
        patiently(lambda: self.visitor.post("/v1/users", account), done=frozenset({"EMAIL_TAKEN"}))
        patiently(lambda: self.visitor.sign_in(email, password))
        zone = city.ZONES[number % len(city.ZONES)]
        address = patiently(lambda: add_address(self.visitor, zone.doorstep)) or {}
        self.address_id = str(address["id"])
        self.slots = [slot["id"] for slot in patiently(lambda: open_slots(self.visitor, zone.id)) or ()]
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


def decide(people: Sequence[Person], undecided: Callable[[], Sequence[Operation]], within: float) -> list[Operation]:
    """Have everybody ask again, with their keys, until everything is known; what is not in the end."""
    known = {person.name: person for person in people}
    deadline = time.monotonic() + within

    def ask_again(operation: Operation) -> None:
        if time.monotonic() < deadline:
            known[operation.who].again(operation)

    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        while (left := undecided()) and time.monotonic() < deadline:
            list(threads.map(ask_again, left))
            time.sleep(AFTER_ANSWERS)
    return [*undecided()]
