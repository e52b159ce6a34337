"""The order service, wired."""

from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

from mercato.api.delivery.v1.delivery_pb2_grpc import DeliveryServiceStub
from mercato.api.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.api.payment.v1.payment_pb2_grpc import PaymentServiceStub
from mercato.api.product.v1.product_pb2_grpc import ProductServiceStub
from mercato.api.user.v1.user_pb2_grpc import UserServiceStub
from mercato.clock import Clock
from mercato.grants import Granter, Sign
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.runtime import Process, Stack
from services.order.carts import Carts
from services.order.changes import Changes
from services.order.checkout import Checkout
from services.order.config import OrderConfig
from services.order.consent import Consent, nobody
from services.order.consumers import neighbours
from services.order.following import Following
from services.order.fulfilment import Fulfilment
from services.order.holding import Caps
from services.order.neighbours import Deliveries, Inventory, Payments, Products, Users
from services.order.people.queue import OrderQueue
from services.order.people.store import WaitingQueries
from services.order.placing import Placing
from services.order.process import Pace, ProcessManager
from services.order.projections import projections
from services.order.queries import OrderQueries
from services.order.servicer import OrderServicer
from services.order.store import OrderWork
from services.order.stubs import GrpcDeliveries, GrpcInventory, GrpcPayments, GrpcProducts, GrpcUsers
from services.order.usecases import Orders


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Everybody whom orders ask."""

    products: Products
    users: Users
    inventory: Inventory
    deliveries: Deliveries
    payments: Payments


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service consists of."""

    orders: Orders
    placing: Placing
    carts: Carts
    servicer: OrderServicer
    process: ProcessManager
    following: Following
    queue: OrderQueue


# Seconds between two looks for what is due: it is put off for a quarter of a second at least.
FIRST_LOOKS, OTHERS_LOOK = 0.25, 1.0


@dataclass(slots=True)
class ProcessWorker:
    """One of those who do what nobody waits for. Each looks only while all before it are at work."""

    number: int
    process: ProcessManager
    name: str = field(init=False)
    wake: Event = field(init=False)
    idle: float = field(init=False)

    def __post_init__(self) -> None:
        self.idle = FIRST_LOOKS if self.number == 0 else OTHERS_LOOK
        self.name, self.wake = f"process-{self.number}", self.process.wake

    def run_once(self, now: datetime) -> bool:  # noqa: ARG002  the database's clock decides what is due
        """Do one thing that is due."""
        return self.process.at_work >= self.number and self.process.run_once()


def wire(
    config: OrderConfig, database: Database, clock: Clock, tokens: PageTokens, asked: Neighbourhood, sign: Sign
) -> Parts:
    """Put the parts together, whoever the neighbours are, and whoever signs what customers agree to."""

    def work() -> OrderWork:
        return OrderWork(database, service="order")

    queries = OrderQueries(database)
    changes = Changes(clock, give_up=config.give_up)
    checkout = Checkout(asked.inventory, asked.deliveries, asked.payments)
    fulfilment = Fulfilment(asked.inventory, asked.deliveries, asked.payments, queries.personal_of)
    process = ProcessManager(changes, work, checkout, fulfilment, Pace(config.lease, config.patience, config.at_once))
    carts = Carts(work, asked.products, config.currency)
    placing = Placing(work, changes, Caps(config.most_pending, config.most_units))
    neighbours = (asked.products, asked.users, asked.deliveries)
    orders = Orders(work, queries, changes, process, carts, *neighbours, clock, placing, Consent(sign))
    queue = OrderQueue(WaitingQueries(database, config.queue_after), work, changes, process.wake.set)
    servicer = OrderServicer(orders, carts, queries, tokens)
    return Parts(orders, placing, carts, servicer, process, Following(changes, clock), queue)


def build(config: OrderConfig, stack: Stack) -> Process:
    """Wire the order service."""
    database = stack.database("orders", size=12)
    asked = Neighbourhood(
        products=GrpcProducts(stack.stub(ProductServiceStub)),
        users=GrpcUsers(stack.stub(UserServiceStub)),
        inventory=GrpcInventory(stack.stub(InventoryServiceStub)),
        deliveries=GrpcDeliveries(stack.stub(DeliveryServiceStub)),
        payments=GrpcPayments(stack.stub(PaymentServiceStub), stack.stub(PaymentServiceStub, together=False)),
    )
    parts = wire(config, database, stack.clock, stack.page_tokens, asked, sign_in(stack))
    return Process(
        servicers=[parts.servicer],
        consumers=[neighbours(stack.kafka(), database, parts.following)],
        workers=[ProcessWorker(number, parts.process) for number in range(config.workers)],
        projections=projections(database),
        stuck=parts.queue,
    )


def sign_in(stack: Stack) -> Sign:
    """How a process signs what customers agree to: its key is for those that people ask. UnfitKey if they lack it."""
    settings = stack.settings
    if "serve" not in settings.roles:
        return nobody
    return Granter.load(settings.keys, settings.name, development=settings.development).sign
