"""A small shop in a whole mesh, and the people who use it: all of them over HTTP."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Self, TypeVar

import httpx

from mercato.auth import Signer
from mercato.local.mesh import Mesh
from mercato.local.part import State
from mercato.rpc.channel import Channels
from shop import city
from tests.e2e.opening import PASSWORD, PRODUCTS, Opening, sku_of

T = TypeVar("T")
Json = Mapping[str, Any]

PAYS, DECLINES = "pm_card_visa", "pm_card_chargeDeclinedInsufficientFunds"
PATIENCE = 60.0


def until(look: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """What a look gives once it gives something: what follows from events, or from a process that starts anew."""
    deadline, pause = time.monotonic() + within, threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline, f"it never came true: {what}"
        pause.wait(0.05)
    return found


def killed(mesh: Mesh, *names: str) -> None:
    """Kill processes at once, and wait for those that the supervisor starts in their place."""
    before = {name: mesh.report(name).pid for name in names}
    for name in names:
        mesh.kill(name)

    def started(name: str) -> bool:
        # Ready it still seems to be for a moment after it was killed.
        report = mesh.report(name)
        return report.state is State.READY and report.pid not in (None, before[name])

    for name in names:
        until(partial(started, name), f"{name} is there again", within=90)


def cents(money: Json | None) -> int:
    """An amount in hundredths; nothing where there is none."""
    money = money or {}
    return int(money.get("units", 0)) * 100 + int(money.get("nanos", 0)) // 10_000_000


def ordered(sku: str, quantity: int = 1) -> Json:
    """A line that somebody orders."""
    return {"sku": sku, "quantity": quantity}


class Person:
    """Somebody at the gateway's door."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=20)
        self.id = ""

    def close(self) -> None:
        """Leave."""
        self.http.close()

    def carry(self, token: str) -> None:
        """Show this session's token from now on."""
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.http.cookies.clear()

    def get(self, path: str, **query: str | int) -> Any:
        """What lies there."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, body: Json) -> Any:
        """Set something."""
        answer = self.http.put(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(self, path: str, body: Json | None = None, key: str = "") -> httpx.Response:
        """Do something; whatever the answer is."""
        headers = {"Idempotency-Key": key or secrets.token_hex(8)}
        answer = self.http.post(path, json=body or {}, headers=headers)
        self.http.cookies.clear()
        return answer

    def post(self, path: str, body: Json | None = None, key: str = "") -> Any:
        """Do something that is not refused."""
        answer = self.ask(path, body, key)
        assert answer.is_success, answer.text
        return answer.json()

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Become somebody."""
        session = self.post("/v1/sessions", {"email": email, "password": password})
        self.id = session["user"]["id"]
        self.carry(session["token"])


@dataclass(frozen=True, slots=True)
class Identity:
    """What nobody but those concerned may learn of a person."""

    name: str
    email: str
    phone: str
    street: str

    @classmethod
    def invented(cls, number: int) -> Identity:
        """Somebody who is found nowhere else."""
        mark = secrets.token_hex(4)
        return cls(
            f"Ysolde {mark}", f"ysolde-{mark}@mercato.example", f"+1513{number:07}", f"{number} Quillon Row {mark}"
        )

    @property
    def words(self) -> tuple[str, ...]:
        """By which one would know the person."""
        return (self.name, self.email, self.phone, self.street)


class Buyer(Person):
    """Somebody with an account and an address."""

    def __init__(self, url: str, identity: Identity) -> None:
        super().__init__(url)
        self.identity = identity
        self.address_id = ""

    def register(self) -> None:
        """Open an account and sign in; what was in the guest's cart comes along."""
        account = {"email": self.identity.email, "password": PASSWORD, "displayName": self.identity.name}
        self.post("/v1/users", account)
        self.sign_in(self.identity.email)

    def settle(self, zone: city.Zone = city.ZONES[0]) -> None:
        """Have an address in a zone."""
        address = {
            "label": "home",
            "recipient": self.identity.name,
            "line1": self.identity.street,
            "postalCode": "45202",
            "city": "Cincinnati",
            "countryCode": "US",
            "phone": self.identity.phone,
            "location": {"latitude": zone.doorstep[0], "longitude": zone.doorstep[1]},
        }
        known = self.post("/v1/users/me/addresses", address)
        assert known["zoneId"] == zone.id
        self.address_id = known["id"]

    def wish(self, slot_id: str, *lines: Json, method: str = PAYS, **more: Any) -> Json:
        """An order that could be placed. Without lines, what is in the cart."""
        wish = {"addressId": self.address_id, "slotId": slot_id, "paymentMethod": method, **more}
        return {**wish, "lines": lines} if lines else wish

    def order(self, wish: Json, key: str = "") -> Json:
        """Place an order that is CONFIRMED, at once or soon."""
        placed: Json = self.post("/v1/orders", wish, key)
        return self.sees(placed["id"], "CONFIRMED")

    def sees(self, order_id: str, state: str) -> Json:
        """An order of one's own, once it is in a state."""

        def arrived() -> Json | None:
            order: Json = self.get(f"/v1/orders/{order_id}")
            return order if order["state"] == state else None

        order = until(arrived, f"order {order_id} is {state}")
        assert order
        return order

    def payments(self, order_id: str) -> list[Json]:
        """What was paid for an order."""
        return list(self.get("/v1/payments", orderId=order_id)["payments"])

    @contextmanager
    def watch(self, order_id: str, after: int = 0) -> Iterator[Iterator[tuple[int, str]]]:
        """An order's events as they happen: version and type."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)} if after else {}
        with self.http.stream("GET", f"/v1/orders/{order_id}/events", headers=headers) as answer:
            assert answer.status_code == 200
            yield _frames(answer.iter_lines())


def _frames(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    version = 0
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "id":
            version = int(value)
        elif field == "event":
            yield version, value


class Shop:
    """A shop with four zones, two warehouses, a staff, and products of which each test takes its own."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.identities: list[Identity] = []
        self._rooms = ExitStack()
        self._staff: dict[str, Person] = {}
        self._numbers = count(1)
        self._skus = (sku_of(number) for number in range(PRODUCTS))

    def __enter__(self) -> Self:
        channels = Channels(Signer.load(self.mesh.home.keys, "operator"), self.mesh.targets)
        try:
            Opening(channels).open()
        finally:
            channels.close()
        slots = self.slots()
        # The last ones first: their cut-off is far away, whatever the time is.
        self._slots = reversed([slot["id"] for slot in slots.values()])
        return self

    def __exit__(self, *_: object) -> None:
        self._rooms.close()

    # What a test takes for itself.

    def sku(self, stock: int = 10) -> str:
        """A product that no other test knows, and so many of it in the first warehouse."""
        sku = next(self._skus)
        receipt = {"warehouseId": city.RIVERSIDE.id, "quantity": stock, "reference": "tests"}
        self.staff("warehouse").post(f"/v1/stock/{sku}:receive", receipt)
        return sku

    def slot(self) -> str:
        """A slot in the first zone that no other test knows."""
        return str(next(self._slots))

    def guest(self) -> Buyer:
        """Somebody who has no account yet."""
        buyer = Buyer(self.mesh.url, Identity.invented(next(self._numbers)))
        self.identities.append(buyer.identity)
        self._rooms.callback(buyer.close)
        return buyer

    def buyer(self) -> Buyer:
        """Somebody new who can order."""
        buyer = self.guest()
        buyer.register()
        buyer.settle()
        return buyer

    def staff(self, role: str) -> Person:
        """A member of the staff, signed in when first needed."""
        if role not in self._staff:
            person = Person(self.mesh.url)
            self._rooms.callback(person.close)
            person.sign_in(f"{role}@mercato.example")
            self._staff[role] = person
        return self._staff[role]

    # What is to be seen.

    def slots(self) -> dict[str, Json]:
        """The open slots of the first zone, the next first."""
        visitor, token, slots = self.staff("warehouse"), "", dict[str, Json]()
        while True:
            page = visitor.get("/v1/slots", zoneId=city.ZONES[0].id, pageSize=200, pageToken=token)
            slots |= {slot["id"]: slot for slot in page["slots"]}
            if not (token := page.get("nextPageToken", "")):
                return slots

    def places(self, slot_id: str) -> int:
        """How many more a slot takes."""
        return int(self.slots()[slot_id].get("available", 0))

    def stock(self, sku: str) -> tuple[int, int]:
        """How many lie in the first warehouse, and how many of them are reserved."""
        levels = self.staff("warehouse").get(f"/v1/stock/{sku}")["levels"]
        here = next(level for level in levels if level["warehouseId"] == city.RIVERSIDE.id)
        return int(here.get("onHand", 0)), int(here.get("reserved", 0))

    def shipments(self, order_id: str) -> list[Json]:
        """How an order is delivered."""
        return list(self.staff("warehouse").get("/v1/shipments", orderId=order_id).get("shipments", ()))

    # What the staff does.

    def pick(self, order_id: str, *lines: Json) -> None:
        """Pick an order: all of it, or the given lines."""
        warehouse = self.staff("warehouse")
        warehouse.post(f"/v1/orders/{order_id}:startPicking")
        warehouse.post(f"/v1/orders/{order_id}:finishPicking", {"lines": lines} if lines else {})

    def deliver(self, order: Json, cash: Json | None = None) -> None:
        """Bring a READY order to its customer."""
        courier, shipment = self.staff("courier"), order["shipmentId"]
        self.staff("warehouse").post(f"/v1/shipments/{shipment}:assign", {"courierId": courier.id})
        courier.post(f"/v1/shipments/{shipment}:pickUp")
        courier.post(f"/v1/shipments/{shipment}:deliver", {"cashCollected": cash} if cash else {})
