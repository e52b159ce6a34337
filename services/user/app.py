"""What the user service is made of."""

from mercato.api.delivery.v1.delivery_pb2_grpc import DeliveryServiceStub
from mercato.consumer import Consumer
from mercato.kafka import topic
from mercato.runtime import Process, Stack, every
from services.user.config import UserConfig
from services.user.consumers import OPEN_ORDERS, follow_orders
from services.user.copies import RedisSessionCopies
from services.user.passwords import Passwords
from services.user.queries import UserQueries
from services.user.servicer import UserServicer
from services.user.store import UserWork
from services.user.stubs import GrpcDeliveries
from services.user.usecases import Accounts, AddressBook, OrdersOfUsers, SignIns


def build(config: UserConfig, stack: Stack) -> Process:
    """Wire the user service."""
    database = stack.database("users")
    copies = RedisSessionCopies(stack.redis())
    passwords = Passwords(config.hashers, config.hash_queue)

    def work() -> UserWork:
        return UserWork(database, service="user")

    accounts = Accounts(work, passwords, copies)
    sign_ins = SignIns(work, passwords, copies, config.session)
    addresses = AddressBook(work, GrpcDeliveries(stack.stub(DeliveryServiceStub)))
    queries = UserQueries(database)
    return Process(
        servicers=[UserServicer(accounts, sign_ins, addresses, queries, copies, stack.page_tokens)],
        consumers=[
            Consumer(stack.kafka(), work, OPEN_ORDERS, [topic("order")], follow_orders(OrdersOfUsers())),
        ],
        workers=[
            every(config.sweep, sign_ins.drop_stale_copies),
            every(config.tidy, sign_ins.forget_ended),
        ],
    )
