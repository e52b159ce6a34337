"""What Kafka carries, listened to from a moment on: no group, no offsets kept, nobody disturbed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Message, TopicPartition
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from mercato.api.delivery.v1 import delivery_events_pb2
from mercato.api.inventory.v1 import inventory_events_pb2
from mercato.api.order.v1 import order_events_pb2
from mercato.api.payment.v1 import payment_events_pb2
from mercato.api.product.v1 import product_events_pb2
from mercato.api.user.v1 import user_events_pb2
from mercato.config import Brokers

_CONTRACTS = (
    product_events_pb2,
    inventory_events_pb2,
    order_events_pb2,
    payment_events_pb2,
    delivery_events_pb2,
    user_events_pb2,
)
TOPICS = tuple(f"mercato.{contract.DESCRIPTOR.package.split('.')[2]}.v1" for contract in _CONTRACTS)
"""mercato.product.v1 and its like, one for each service that has events."""
_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Carried:
    """An event as it came."""

    topic: str
    name: str
    ids: frozenset[str]
    """The ids that its fields name: its order, its user, its payment."""


class Tape:
    """A recording of all topics."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                **Brokers.client(bootstrap),
                "group.id": "demo",  # never joined, nothing is committed: the client only wants a name
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        self._new: list[Carried] = []
        self._taken: list[Carried] = []
        self._consumer.assign([self._end(topic, partition) for topic, partition in self._partitions()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def take(self, ids: Collection[str], wanted: Collection[str], within: float = _TIMEOUT) -> list[Carried]:
        """The events about some ids that came since the last time.

        Listens until all that are wanted have come, now or at any time before, or until time is up.
        """
        deadline = time.monotonic() + within
        self._listen()
        while self.missing(ids, wanted) and time.monotonic() < deadline:
            self._listen()
        taken = [event for event in self._new if event.ids & set(ids)]
        self._new = [event for event in self._new if not event.ids & set(ids)]
        self._taken += taken
        return taken

    def missing(self, ids: Collection[str], wanted: Collection[str]) -> set[str]:
        """Those of the wanted events that never came so far."""
        return set(wanted) - {event.name for event in (*self._taken, *self._new) if event.ids & set(ids)}

    def _listen(self) -> None:
        for message in self._consumer.consume(500, timeout=0.05):
            if message.error() is None:
                self._new.append(_read(message))

    def _partitions(self) -> list[tuple[str, int]]:
        known = self._consumer.list_topics(timeout=_TIMEOUT).topics
        return [(topic, partition) for topic in TOPICS if topic in known for partition in known[topic].partitions]

    def _end(self, topic: str, partition: int) -> TopicPartition:
        """The place behind the last event, found now, so that nothing that comes later is missed."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
        return TopicPartition(topic, partition, high)


def _read(message: Message) -> Carried:
    headers: Mapping[str, Any] = dict(message.headers() or [])
    kind = bytes(headers.get("ce_type") or b"").decode()
    return Carried(str(message.topic()), kind.rpartition(".")[2], _ids(kind, message.value() or b""))


def _ids(kind: str, value: bytes | str) -> frozenset[str]:
    try:
        descriptor = Default().FindMessageTypeByName(kind)
    except KeyError:
        return frozenset()  # from a newer contract than ours
    event = GetMessageClass(descriptor).FromString(value if isinstance(value, bytes) else value.encode())
    return frozenset(str(content) for field, content in event.ListFields() if field.name.endswith("_id"))
