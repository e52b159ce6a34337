"""What orders hear on Kafka of shipments, payments and persons: once each, whatever comes twice."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from google.protobuf.message import Message

from mercato.api.delivery.v1 import delivery_events_pb2 as delivery
from mercato.api.payment.v1 import payment_events_pb2 as payment
from mercato.api.user.v1 import user_events_pb2 as user
from mercato.bookkeeping import Place
from mercato.consumer import Consumer
from mercato.errors import Unavailable
from mercato.kafka import PARTITIONS, Kafka
from mercato.money import Money
from mercato.outbox import OutboxRelay
from mercato.postgres import Database, Work
from mercato.wire import money_to_pb
from services.order.consumers import TOPICS, neighbours
from services.order.domain import first_payment
from services.order.store import OrderWork
from tests.component.order_shop import Shop, state
from tests.component.reader import until


class Wire:
    """Events of neighbours on their way through Kafka, and the consumer at its end."""

    def __init__(self, shop: Shop, kafka: Kafka) -> None:
        self.shop = shop
        self._kafka = kafka
        self._relay = OutboxRelay(shop.database, kafka)
        self._consumer: Consumer[OrderWork] = neighbours(kafka, shop.database, shop.following)

    def tell(self, service: str, aggregate_id: UUID | str, version: int, event: Message) -> None:
        """A service publishes an event."""
        with Work(self.shop.database, service) as work:
            work.publish(event, str(aggregate_id), version)

    def carry(self) -> None:
        """Publish all, and hear all."""
        now = self.shop.clock.now()
        while self.shop.sql("select 1 from outbox limit 1"):
            self._relay.run_once(now)
        until(lambda: len(self._consumer.places) == PARTITIONS * len(TOPICS), self._consumer)
        until(self._all_heard, self._consumer)

    def _all_heard(self) -> bool:
        """By what Kafka holds, not by what was told here: others of this run may use these topics too."""
        try:
            ends = self._kafka.ends(TOPICS)
        except Unavailable:  # topics that were made this moment have no leader yet
            return False
        return all(self._consumer.places.get(Place(*at), 0) >= end for at, end in ends.items())

    def close(self) -> None:
        """Leave the group, and the buckets."""
        self._consumer.close()
        self._relay.close()


@pytest.fixture
def wire(order_database: Database, kafka: Kafka) -> Iterator[Wire]:
    wire = Wire(Shop(order_database), kafka)
    yield wire
    wire.close()


def test_an_order_follows_its_shipment_and_its_payment_however_often_they_tell(wire: Wire) -> None:
    shop = wire.shop
    order = shop.ready("cash_on_delivery")
    order_id, shipment_id, payment_id = order.id, shop.shipment_of(order), first_payment(UUID(order.id))
    told: list[tuple[str, UUID | str, int, Message]] = [
        ("delivery", shipment_id, 3, delivery.ShipmentPickedUp(shipment_id=str(shipment_id), order_id=order_id)),
        (
            "delivery",
            shipment_id,
            4,
            delivery.ShipmentDelivered(
                shipment_id=str(shipment_id), order_id=order_id, cash_collected=money_to_pb(Money(910, "USD"))
            ),
        ),
        (
            "payment",
            payment_id,
            2,
            payment.PaymentCaptured(
                payment_id=str(payment_id), order_id=order_id, amount=money_to_pb(Money(910, "USD"))
            ),
        ),
        (
            "payment",
            payment_id,
            3,
            payment.PaymentRefunded(
                payment_id=str(payment_id),
                order_id=order_id,
                amount=money_to_pb(Money(100, "USD")),
                refunded_total=money_to_pb(Money(100, "USD")),
            ),
        ),
    ]
    for _ in range(2):
        for event in told:
            wire.tell(*event)
        wire.carry()
    after = shop.order(order_id)
    assert (state(after), after.captured_total.units, after.refunded_total.units) == ("DELIVERED", 9, 1)
    assert shop.left() == ["SETTLE"]
    shop.rest()
    assert shop.payments.payments[payment_id].captured == Money(910, "USD")


def test_a_person_is_forgotten_when_the_news_comes(wire: Wire) -> None:
    order = wire.shop.place()
    customer_id = wire.shop.customer.subject
    wire.tell("user", customer_id, 9, user.UserErased(user_id=customer_id))
    wire.carry()
    after = wire.shop.order(order.id)
    assert (state(after), after.HasField("address"), after.note) == ("CANCELLED", False, "")


def test_a_shipment_that_fails_and_events_of_strangers(wire: Wire) -> None:
    shop = wire.shop
    order = shop.ready()
    shop.picked_up(order)
    shipment_id = shop.shipment_of(order)
    stranger = str(UUID(int=7))
    wire.tell("delivery", stranger, 1, delivery.ShipmentFailed(shipment_id=stranger, order_id=stranger))
    wire.tell("delivery", shipment_id, 5, delivery.ShipmentFailed(shipment_id=str(shipment_id), order_id=order.id))
    wire.carry()
    assert state(shop.order(order.id)) == "DELIVERY_FAILED"
