"""What orders follow on Kafka: shipments, payments, and persons who are to be forgotten."""

from uuid import UUID

from mercato.api.delivery.v1 import delivery_events_pb2 as delivery
from mercato.api.payment.v1 import payment_events_pb2 as payment
from mercato.api.user.v1 import user_events_pb2 as user
from mercato.consumer import Consumer, Delivery, handlers
from mercato.kafka import Kafka, topic
from mercato.postgres import Database
from mercato.wire import money_from_pb
from services.order.following import Following
from services.order.store import OrderWork

# The name of the group is part of the interface: under another one everything is read again.
GROUP = "order.neighbours"
TOPICS = (topic("delivery"), topic("payment"), topic("user"))


class Neighbours:
    """Translates events of neighbours; decides nothing."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def shipment_picked_up(self, work: OrderWork, event: delivery.ShipmentPickedUp, _: Delivery) -> None:
        self._following.shipment_picked_up(work, UUID(event.order_id), UUID(event.shipment_id))

    def shipment_delivered(self, work: OrderWork, event: delivery.ShipmentDelivered, _: Delivery) -> None:
        cash = money_from_pb(event.cash_collected) if event.HasField("cash_collected") else None
        self._following.shipment_delivered(work, UUID(event.order_id), UUID(event.shipment_id), cash)

    def shipment_failed(self, work: OrderWork, event: delivery.ShipmentFailed, _: Delivery) -> None:
        self._following.shipment_failed(work, UUID(event.order_id), UUID(event.shipment_id))

    def payment_captured(self, work: OrderWork, event: payment.PaymentCaptured, _: Delivery) -> None:
        captured = money_from_pb(event.amount)
        self._following.payment_captured(work, UUID(event.order_id), UUID(event.payment_id), captured)

    def payment_refunded(self, work: OrderWork, event: payment.PaymentRefunded, _: Delivery) -> None:
        refunded = money_from_pb(event.refunded_total)
        self._following.payment_refunded(work, UUID(event.order_id), UUID(event.payment_id), refunded)

    def user_erased(self, work: OrderWork, event: user.UserErased, _: Delivery) -> None:
        self._following.user_erased(work, UUID(event.user_id))


def neighbours(kafka: Kafka, database: Database, following: Following) -> Consumer[OrderWork]:
    """Follow delivery, payment and user."""
    heard = Neighbours(following)
    handle = handlers(
        {
            delivery.ShipmentPickedUp: heard.shipment_picked_up,
            delivery.ShipmentDelivered: heard.shipment_delivered,
            delivery.ShipmentFailed: heard.shipment_failed,
            payment.PaymentCaptured: heard.payment_captured,
            payment.PaymentRefunded: heard.payment_refunded,
            user.UserErased: heard.user_erased,
        }
    )
    return Consumer(kafka, lambda: OrderWork(database, service="order"), group=GROUP, topics=TOPICS, handle=handle)
