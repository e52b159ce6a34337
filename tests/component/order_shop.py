"""The order service on a real PostgreSQL, among neighbours made by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from mercato.api.order.v1 import order_pb2 as pb
from mercato.grants import Sign
from mercato.ids import uuid7
from mercato.money import Money
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.rpc import Key, Principal
from mercato.testing import FixedClock, a_customer, acting, staff
from services.order.app import Neighbourhood, wire
from services.order.config import OrderConfig
from services.order.events import Quantity
from services.order.messages import order_to_pb
from services.order.personal import Address, Place
from services.order.queries import OrderShown
from services.order.store import OrderWork
from services.order.usecases import Placement
from tests.component.order_neighbours import Deliveries, Inventory, Payments, Points, Products, Users

# All but the events, which nobody can delete.
TABLES = ("process", "personal", "order_view", "erased_customer", "cart", "outbox", "idempotency", "awaited_decision")
ANN = Address("Annabel Lee", "Road 1", "2nd floor", "10115", "Berlin", "DE", "+49 30 12345", Place(52.5, 13.4))


def patient(**told: Any) -> OrderConfig:
    """The service's settings, with callers who wait for as long as a busy machine may need."""
    return OrderConfig(**{"patience": timedelta(minutes=1), **told})


class Watched:
    """A database whose commits are points that a process may die at."""

    def __init__(self, database: Database, points: Points) -> None:
        self._database = database
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A transaction between two points."""
        with self._database.transaction() as connection:
            yield connection
            self._points.at("commit.before")
        self._points.at("commit.after")


@dataclass
class Shop:
    """Everything that an order meets, and who acts on it."""

    database: Database
    config: OrderConfig = field(default_factory=patient)
    clock: FixedClock = field(default_factory=FixedClock)
    points: Points = field(default_factory=Points)

    def __post_init__(self) -> None:
        # With so few rows quicker than to truncate.
        self.sql("; ".join(f"delete from {table}" for table in TABLES))
        self.products, self.users = Products(self.points), Users(self.points)
        self.inventory, self.deliveries = Inventory(self.points), Deliveries(self.points)
        self.payments = Payments(self.points)
        self.sign: Sign = self.payments.sign
        self.customer, self.support = a_customer(str(uuid7())), staff("support")
        self.warehouse = staff("warehouse", subject=str(uuid7()))
        self.address_id, self.slot_id, self.other_slot_id = uuid7(), uuid7(), uuid7()
        self.users.addresses[UUID(self.customer.subject), self.address_id] = ANN
        for sku, price, units in (("milk", 150, 10), ("rye", 320, 10)):
            self.products.prices[sku], self.inventory.free[sku] = Money(price, "USD"), units
        for slot_id in (self.slot_id, self.other_slot_id):
            self.deliveries.open_slot(slot_id, self.clock.now() + timedelta(hours=2))
        self.start()

    def start(self) -> None:
        """A process of the service, which knows nothing of an earlier one."""
        asked = Neighbourhood(self.products, self.users, self.inventory, self.deliveries, self.payments)
        watched: Any = Watched(self.database, self.points)
        self.parts = wire(self.config, watched, self.clock, PageTokens("secret"), asked, self.sign)
        self.orders, self.carts, self.following = self.parts.orders, self.parts.carts, self.parts.following

    def sql(self, statement: Any, *values: object) -> list[Any]:
        """Ask the database."""
        with self.database.transaction() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def acting(self, principal: Principal, key: str = "") -> Iterator[None]:
        """Who acts, with which idempotency key."""
        own = principal.subject if "customer" in principal.roles else None
        named = Key(principal.subject, "Test.Call", key, key.encode()) if key else None
        with acting(principal, only_of=own, key=named):
            yield

    def wanted(self, lines: Sequence[Quantity] = (), payment_method: str = "pm_card_visa", **more: Any) -> Placement:
        """Two bottles of milk and a loaf, or other lines."""
        basket = tuple(lines) or (Quantity("milk", 2), Quantity("rye", 1))
        return Placement(basket, self.address_id, self.slot_id, payment_method, note="ring twice", **more)

    def place(self, wanted: Placement | None = None, key: str = "place") -> pb.Order:
        """The customer orders."""
        with self.acting(self.customer, key):
            return shown(self.orders.place_order(wanted or self.wanted()))

    def order(self, order_id: str) -> pb.Order:
        """The order as its customer sees it."""
        with self.acting(self.customer):
            return shown(self.orders.get_order(UUID(order_id)))

    def picking(self, payment_method: str = "pm_card_visa") -> pb.Order:
        """An order that is being picked."""
        order = self.place(self.wanted(payment_method=payment_method))
        with self.acting(self.warehouse):
            return shown(self.orders.start_picking(UUID(order.id)))

    def finish(self, order: pb.Order, **picked: int) -> pb.Order:
        """All is picked, or what is said."""
        with self.acting(self.warehouse):
            return shown(self.orders.finish_picking(UUID(order.id), picked))

    def ready(self, payment_method: str = "pm_card_visa") -> pb.Order:
        """An order that is ready."""
        return self.finish(self.picking(payment_method))

    def work(self) -> OrderWork:
        """A transaction, as a consumer has one."""
        return OrderWork(self.database, service="order")

    def picked_up(self, order: pb.Order) -> None:
        """The courier takes it along."""
        shipment_id = self.shipment_of(order)
        self.deliveries.shipments[shipment_id].state = "PICKED_UP"
        with self.work() as work:
            self.following.shipment_picked_up(work, UUID(order.id), shipment_id)

    def delivered(self, order: pb.Order, cash: Money | None = None) -> None:
        """The courier hands it over."""
        shipment_id = self.shipment_of(order)
        self.deliveries.shipments[shipment_id].state = "DELIVERED"
        with self.work() as work:
            self.following.shipment_delivered(work, UUID(order.id), shipment_id, cash)

    def failed(self, order: pb.Order) -> None:
        """The courier finds nobody."""
        shipment_id = self.shipment_of(order)
        self.deliveries.shipments[shipment_id].state = "FAILED"
        with self.work() as work:
            self.following.shipment_failed(work, UUID(order.id), shipment_id)

    def shipment_of(self, order: pb.Order) -> UUID:
        """The order's present shipment."""
        return UUID(self.order(order.id).shipment_id)

    def brought(self, payment_method: str = "pm_card_visa", cash: Money | None = None) -> pb.Order:
        """An order that was delivered."""
        order = self.ready(payment_method)
        self.picked_up(order)
        self.delivered(order, cash)
        return self.order(order.id)

    def turned_back(self) -> pb.Order:
        """An order that could not be delivered."""
        order = self.ready()
        self.picked_up(order)
        self.failed(order)
        return self.order(order.id)

    def rest(self) -> None:
        """Let a process that starts anew do all that is left, however long it would have to wait."""
        self.points.crash_at = None
        self.start()
        for _ in range(40):
            self.sql("update process set lease_until = clock_timestamp(), next_run_at = clock_timestamp()")
            if not self.parts.process.run_once():
                return
        raise AssertionError(f"no rest: {self.sql('select kind, attempt from process')}")

    def left(self) -> list[str]:
        """What is still to be done."""
        return [row[0] for row in self.sql("select kind from process order by order_id, version")]

    def told(self, order_id: str) -> list[str]:
        """The public events of an order, by name."""
        return [
            str(row[0]).rpartition(".")[2]
            for row in self.sql("select type from outbox where aggregate_id = %s order by version", order_id)
        ]


def shown(row: OrderShown) -> pb.Order:
    """An order with all of it."""
    return order_to_pb(row.document, row.personal)


def state(order: pb.Order) -> str:
    """Where it stands."""
    return pb.Order.State.Name(order.state)
