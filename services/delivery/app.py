"""What the delivery service is made of."""

from mercato.consumer import Consumer
from mercato.kafka import topic
from mercato.runtime import Process, Stack, every
from services.delivery.config import DeliveryConfig
from services.delivery.consumers import PERSONS, follow_users
from services.delivery.positions import RedisPositions
from services.delivery.queries import DeliveryQueries
from services.delivery.servicer import DeliveryServicer
from services.delivery.store import DeliveryWork
from services.delivery.usecases import Dispatch, Quotes, Slots, Zones


def build(config: DeliveryConfig, stack: Stack) -> Process:
    """Wire the delivery service."""
    database = stack.database("delivery")

    def work() -> DeliveryWork:
        return DeliveryWork(database, service="delivery")

    queries = DeliveryQueries(database)
    zones, slots = Zones(work, stack.clock), Slots(work, config.hold)
    dispatch = Dispatch(work, stack.clock, RedisPositions(stack.redis()))
    return Process(
        servicers=[DeliveryServicer(zones, Quotes(queries), slots, dispatch, queries, stack.page_tokens)],
        consumers=[Consumer(stack.kafka(), work, PERSONS, [topic("user")], follow_users(dispatch))],
        workers=[
            every(config.sweep, slots.expire_holds),
            every(config.roll, zones.roll_slots),
            every(config.tidy, lambda: slots.forget_slots(config.keep), "forget_slots"),
        ],
    )
