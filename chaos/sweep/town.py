"""The town that stories happen in: a mesh of its own with a small shop, its staff, and customers as they are wanted."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from rich.console import Console

from chaos.nemesis.goods import SKUS, catalogue
from chaos.sweep.client import Client
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.auth import Signer
from mercato.local.home import Home
from mercato.local.mesh import Mesh
from mercato.money import Money
from mercato.rpc.channel import Channels
from mercato.wire import money_to_pb
from shop import city
from shop.progress import Stages
from shop.rest import Json, Refused, Visitor
from shop.seed import Seed
from shop.shopper import add_address, open_slots

S = TypeVar("S")
T = TypeVar("T")
PASSWORD = "the password of a play, 1742"  # noqa: S105  nobody's
PAYS, DECLINES, FAILS_LATER, CASH = (
    "pm_card_visa",
    "pm_card_visa_chargeDeclined",
    "pm_capture_fails",
    "cash_on_delivery",
)
PLENTY = 900_000
PATIENCE = 90.0  # a busy machine may take long to start what died, and pauses grow meanwhile
ZONE = city.ZONES[0]
# Everything of its own, whatever the environment names. Nobody waits long, so that a case does not either: who hangs is
# overtaken within a second, as in the long run of things.
ENVIRONMENT: Mapping[str, str] = {
    "MERCATO_PORT": "0",
    "MERCATO_COPIES": "",
    "MERCATO_DATABASE_URL": "",
    "MERCATO_REDIS_URL": "",
    "MERCATO_KAFKA_BOOTSTRAP": "",
    "MERCATO_GATEWAY_RATE_FACTOR": "10000",
    "MERCATO_GATEWAY_DEADLINE": "1500ms",
    # Passwords are work: on a busy machine everybody would be gone before theirs is done.
    "MERCATO_GATEWAY_DEADLINES": "PlaceOrder=2s,RegisterUser=5s,SignIn=5s,ChangePassword=5s",
    "MERCATO_ORDER_LEASE": "1s",
    "MERCATO_ORDER_PATIENCE": "1s",
    "MERCATO_PAYMENT_LEASE": "1s",
    "MERCATO_PAYMENT_PROVIDER_READ": "800ms",
    "MERCATO_PAYMENT_RESOLVE": "100ms",
    "MERCATO_PAYMENT_LONGEST_PAUSE": "2s",
}


class Broken(Exception):
    """Something is not as promised."""


def same(what: str, found: object, wanted: object) -> None:
    """Broken, where what was found is not what was wanted."""
    if found != wanted:
        raise Broken(f"{what}: {found!r} instead of {wanted!r}")


def until(look: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """What a look gives once it gives something. Broken, if that takes too long."""
    deadline, pause = time.monotonic() + within, 0.03
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Broken(f"it never came true: {what}")
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)
    return found


class Buyer(Client):
    """Somebody with an account and an address, who orders."""

    def __init__(self, url: str, slots: Iterator[str]) -> None:
        super().__init__(url)
        self.email = f"sweep-{secrets.token_hex(8)}@mercato.example"
        self.id = ""
        self.address_id = ""
        self._slots = slots

    def register(self) -> None:
        """Open an account. That there is one may only say that the first answer was lost."""
        try:
            self.post("/v1/users", {"email": self.email, "password": PASSWORD, "displayName": "Somebody"})
        except Refused as refusal:
            if refusal.reason != "EMAIL_TAKEN":
                raise

    def settle(self) -> Self:
        """Open an account, sign in, have an address."""
        self.register()
        self.id = str(self.sign_in(self.email, PASSWORD)["id"])
        self.address_id = str(add_address(self, ZONE.doorstep)["id"])
        return self

    def wish(self, method: str = PAYS, quantity: int = 2, **more: Any) -> Json:
        """An order that could be placed."""
        lines = [{"sku": sku, "quantity": quantity} for sku in secrets.SystemRandom().sample(SKUS, 2)]
        return {"lines": lines, **self.delivery(method), **more}

    def delivery(self, method: str = PAYS) -> Json:
        """Where to, when, and how it is paid."""
        return {"addressId": self.address_id, "slotId": next(self._slots), "paymentMethod": method}

    def order(self, wish: Json | None = None) -> Json:
        """Place an order that becomes CONFIRMED."""
        placed = self.post("/v1/orders", wish or self.wish())
        return self.sees(placed["id"], "CONFIRMED")

    def is_refused(self, wish: Json, reason: str) -> None:
        """Place an order that is rejected: at once, or after it was PENDING for a while."""
        try:
            placed = self.post("/v1/orders", wish)
        except Refused as refusal:
            same("the refusal", refusal.reason, reason)
        else:
            self.sees(placed["id"], "REJECTED")

    def sees(self, order_id: str, state: str) -> Json:
        """An order of one's own, once it is in a state."""

        def arrived() -> Json | None:
            order: Json = self.get(f"/v1/orders/{order_id}")
            return order if order["state"] == state else None

        order = until(arrived, f"order {order_id} is {state}")
        assert order
        return order

    def orders(self) -> Sequence[Json]:
        """All that were ever placed."""
        found: Sequence[Json] = self.get("/v1/orders", pageSize=200).get("orders", ())
        return found

    def payments(self, order_id: str) -> list[Json]:
        """What was paid for an order."""
        return list(self.get("/v1/payments", orderId=order_id).get("payments", ()))


class Town:
    """A mesh with a shop in it, whose processes can be told to fail."""

    def __init__(self, folder: Path, console: Console, environment: Mapping[str, str]) -> None:
        """Nothing is started yet. The environment is added to that of every town."""
        self.mesh = Mesh(folder, environment={**ENVIRONMENT, **environment}, follow=True)
        self._console = console
        self._rooms = ExitStack()
        self._staff: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._slots: Iterator[str] = iter(())

    @property
    def home(self) -> Home:
        """The mesh's state folder."""
        return self.mesh.home

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.mesh)
            self.channels = Channels(Signer.load(self.home.keys, "operator"), self.mesh.targets)
            opening.callback(self.channels.close)
            self.as_order = Channels(Signer.load(self.home.keys, "order"), self.mesh.targets)
            opening.callback(self.as_order.close)
            self._open()
            self._rooms = opening.pop_all()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._rooms.close()

    def _open(self) -> None:
        if not self.mesh.seeded:
            groceries = catalogue(self.home.folder / "panel")
            Seed(self.channels, self.mesh.demo_password, Stages(self._console), groceries).run()
            self._stock_up()
            self.mesh.keep_seeded(self.mesh.demo_password)
        slots = [str(slot["id"]) for slot in open_slots(self.staff("warehouse"), ZONE.id)]
        # The first ones close soon; the others are taken by turns, so that none is full before the sweep is over.
        self._slots = itertools.cycle(slots[3:])

    def _stock_up(self) -> None:
        stub = self.channels.stub(inventory_pb2_grpc.InventoryServiceStub)
        lines = [inventory_pb2.StockLine(sku=sku, quantity=PLENTY) for sku in SKUS]
        for house in city.WAREHOUSES:
            asked = inventory_pb2.BatchReceiveStockRequest(warehouse_id=house.id, lines=lines, reference="sweep")
            asked.request_id = f"sweep-{house.id}"
            stub.BatchReceiveStock(asked)

    # People.

    def buyer(self) -> Buyer:
        """Somebody new who can order."""
        return self.enter(Buyer(self.mesh.url, self._slots)).settle()

    def stranger(self) -> Buyer:
        """Somebody who has no account yet."""
        return self.enter(Buyer(self.mesh.url, self._slots))

    def enter(self, visitor: S) -> S:
        """Let somebody stay until the town is closed."""
        assert isinstance(visitor, Visitor)
        with self._lock:
            self._rooms.callback(visitor.close)
        return visitor

    def slot(self) -> str:
        """One that is open."""
        return next(self._slots)

    def scarce(self) -> str:
        """A product of which there are two."""
        sku = f"scarce-{secrets.token_hex(6)}"
        row = product_pb2.ImportRow(line=2, sku=sku, title=sku, category_path=["Grocery", "Scarce"])
        row.price.CopyFrom(money_to_pb(Money(700, city.CURRENCY)))
        products = self.channels.stub(product_pb2_grpc.ProductServiceStub)
        products.ImportProducts(iter([product_pb2.ImportProductsRequest(rows=[row])]))
        receipt = {"warehouseId": city.RIVERSIDE.id, "quantity": 2, "reference": "sweep"}
        self.work("warehouse", f"/v1/stock/{sku}:receive", receipt)
        return sku

    def staff(self, role: str) -> Client:
        """A member of the staff, signed in when first needed."""
        with self._lock:
            if role not in self._staff:
                person = self._staff[role] = Client(self.mesh.url)
                self._rooms.callback(person.close)
                person.id = str(person.sign_in(f"{role}@mercato.example", self.mesh.demo_password)["id"])
            return self._staff[role]

    # What the staff does.

    def pick(self, order: Json, quantities: Sequence[int] = ()) -> None:
        """Pick an order: all of it, or so many of each line."""
        pairs = zip(order["lines"], quantities, strict=False)
        lines = [{"sku": line["sku"], "pickedQuantity": quantity} for line, quantity in pairs]
        self.work("warehouse", f"/v1/orders/{order['id']}:startPicking")
        self.work("warehouse", f"/v1/orders/{order['id']}:finishPicking", {"lines": lines} if lines else {})

    def work(self, role: str, path: str, body: Json | None = None) -> Any:
        """Have the staff do something."""
        return self.staff(role).post(path, body)

    def ready(self, buyer: Buyer, method: str = PAYS) -> Json:
        """An order that is packed."""
        order = buyer.order(buyer.wish(method))
        self.pick(order)
        return buyer.sees(order["id"], "READY")

    def take_along(self, order: Json) -> str:
        """Give a packed order to the courier; the shipment."""
        shipment = f"/v1/shipments/{order['shipmentId']}"
        self.work("warehouse", f"{shipment}:assign", {"courierId": self.staff("courier").id})
        self.work("courier", f"{shipment}:pickUp")
        return shipment

    def delivered(self, buyer: Buyer) -> Json:
        """An order that was brought."""
        order = self.ready(buyer)
        self.work("courier", f"{self.take_along(order)}:deliver")
        return buyer.sees(order["id"], "DELIVERED")

    # What is to be seen past the gateway.

    @property
    def database_url(self) -> str:
        """The database, as its superuser."""
        return str(self.mesh.setup_environment["MERCATO_DATABASE_URL"])

    def sql(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
