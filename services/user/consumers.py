"""Order's events, as far as they say whose orders are not over."""

from uuid import UUID

from mercato.api.order.v1 import order_events_pb2 as orders
from mercato.consumer import Delivery, Handle, handlers
from services.user.store import UserWork
from services.user.usecases import OrdersOfUsers

OPEN_ORDERS = "user.open_orders"  # the name of the position: renaming it reads everything again


def follow_orders(orders_of_users: OrdersOfUsers) -> Handle:
    """What to do with each event of an order."""

    def placed(work: UserWork, event: orders.OrderPlaced, _: Delivery) -> None:
        orders_of_users.order_placed(work, UUID(event.order_id), UUID(event.customer_id))

    def over(
        work: UserWork, event: orders.OrderDelivered | orders.OrderRejected | orders.OrderCancelled, _: Delivery
    ) -> None:
        orders_of_users.order_over(work, UUID(event.order_id))

    return handlers(
        {
            orders.OrderPlaced: placed,
            orders.OrderDelivered: over,
            orders.OrderRejected: over,
            orders.OrderCancelled: over,
        }
    )
