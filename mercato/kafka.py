"""Kafka: the settings under which nothing is lost or put out of order, and the topics."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from mercato.config import Brokers
from mercato.errors import Unavailable
from mercato.rights import WARM_UP, Right
from mercato.topic import dead_letters, topic

__all__ = ["Kafka", "KafkaConsumer", "Producer", "dead_letters", "topic"]

T = TypeVar("T")
PARTITIONS = 6
# The client's own lines, as warnings of ours: it says a lot about brokers that come and go.
_log = logging.getLogger("mercato.kafka.client")
CLIENT: Mapping[str, Any] = {
    "log_level": 3,
    "logger": _log,
    "socket.keepalive.enable": True,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "allow.auto.create.topics": False,
}
PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,
    # Records never give up by themselves: one that did, while a later one of its key arrives, would be taken for old by
    # every reader. Whoever produces decides when to give up, and then on all of them.
    "message.timeout.ms": 0,
    "enable.gapless.guarantee": True,
    # Not waited for: whoever produces flushes. A batch that left sooner would carry little, and costs Kafka the same.
    "linger.ms": 1000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 100_000,
    "delivery.report.only.error": True,
}
# A client would hold 64 MB ahead of whoever reads, and ask for 50 at once; and keep the memory after the first flood.
SMALL: Mapping[str, Any] = {"queued.max.messages.kbytes": 1_024, "fetch.max.bytes": 2_000_000}
CONSUMER: Mapping[str, Any] = {
    **SMALL,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6_000,  # the least that brokers allow: a killed reader's partitions are read again soon
    "heartbeat.interval.ms": 1_500,
    "max.poll.interval.ms": 120_000,
    "fetch.wait.max.ms": 500,  # answers come as soon as there is a record; this is only how long an empty one waits
    "fetch.error.backoff.ms": 100,
}
STATISTICS = 5_000


def _binding(right: Right, operation: str) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL
    who = (f"User:{right.principal}", "*", AclOperation[operation], AclPermissionType.ALLOW)
    return AclBinding(ResourceType[right.kind], right.name, pattern, *who)


class Kafka:
    """One cluster, reached by its bootstrap address."""

    def __init__(self, bootstrap: str, *, patience: float = 5.0) -> None:
        """Nothing is connected before it is needed. `patience`: seconds that an administrative request may take.

        Who signs in there is part of the address: `mercato.config.Brokers`.
        """
        self.bootstrap = bootstrap
        self._patience = patience
        self._made: set[str] = set()
        self._lock = threading.Lock()

    def producer(self) -> Producer:
        """A new idempotent producer."""
        return Producer({**Brokers.client(self.bootstrap), **CLIENT, **PRODUCER})

    def consumer(self, group: str, steady: Callable[[], object] | None = None) -> KafkaConsumer:
        """A new reader of a group. It stores no offsets by itself.

        While it is a member of its group, its polls call `steady` every few seconds.
        """
        settings = {**Brokers.client(self.bootstrap), "group.id": group, **CLIENT, **CONSUMER}
        if steady is not None:
            settings |= {"statistics.interval.ms": STATISTICS, "stats_cb": partial(_tell_if_steady, steady)}
        return KafkaConsumer(settings)

    def ensure_topics(self, services: Iterable[str]) -> None:
        """Have the topics of services, and those of their dead letters; and have the broker ready for producers."""
        names = [topic(service) for service in services]
        self.make([*names, *map(dead_letters, names)])
        self.warm_up()

    def make(self, names: Iterable[str], partitions: int = PARTITIONS) -> None:
        """Have topics, whoever makes them. Those that this process knows of cost nothing. Unavailable."""
        with self._lock:
            if missing := [name for name in names if name not in self._made]:
                self._ask(lambda admin: self._create(admin, missing, partitions))
                self._made.update(missing)

    def forget(self) -> None:
        """Look again which topics there are, when they are next needed: somebody may have removed one."""
        self._made.clear()

    def topic_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        """The id of each topic: a topic that was removed and made again has another one. Unavailable."""

        def ids(admin: AdminClient) -> Mapping[str, str]:
            found = admin.describe_topics(TopicCollection([*names]), request_timeout=self._patience)
            return {name: str(future.result(2 * self._patience).topic_id) for name, future in found.items()}

        return self._ask(ids)

    def ends(self, names: Iterable[str]) -> Mapping[tuple[str, str, int], int]:
        """The offset behind the last record of each partition of topics, by (topic, its id, partition). Unavailable."""

        def ends(admin: AdminClient) -> Mapping[tuple[str, str, int], int]:
            described = admin.describe_topics(TopicCollection([*names]), request_timeout=self._patience)
            topics = [future.result(2 * self._patience) for future in described.values()]
            latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library types half of it
            places = {(each.name, part.id): str(each.topic_id) for each in topics for part in each.partitions}
            wanted = {TopicPartition(*place): latest for place in places}
            found = admin.list_offsets(wanted, request_timeout=self._patience)
            return {
                (at.topic, places[at.topic, at.partition], at.partition): future.result(2 * self._patience).offset
                for at, future in found.items()
            }

        return self._ask(ends)

    def permit(self, rights: Iterable[Right]) -> None:
        """Have rights, whoever gave them. Unavailable, also where this client may not give any."""
        bindings = [_binding(right, each) for right in rights for each in right.operations]

        def give(admin: AdminClient) -> None:
            for future in admin.create_acls(bindings, request_timeout=self._patience).values():
                future.result(2 * self._patience)

        self._ask(give)

    def warm_up(self) -> None:
        """Produce one record to nobody, so that the first real one does not wait for the broker's coordinator."""
        self.make([WARM_UP], partitions=1)
        producer = self.producer()
        producer.produce(WARM_UP, b"")
        producer.flush(self._patience)

    def _ask(self, question: Callable[[AdminClient], T]) -> T:
        settings = {**CLIENT, **Brokers.client(self.bootstrap), "allow.auto.create.topics": True}
        try:
            return question(AdminClient(settings))
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(f"Kafka at {self.bootstrap} does not answer") from error

    def _create(self, admin: AdminClient, names: list[str], partitions: int) -> None:
        wanted = [NewTopic(name, num_partitions=partitions) for name in names]
        for future in admin.create_topics(wanted, request_timeout=self._patience).values():
            try:
                future.result(2 * self._patience)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def close(self) -> None:
        """Nothing is held: producers and readers belong to whoever asked for them."""


def _tell_if_steady(steady: Callable[[], object], statistics: str) -> None:
    """Judge by what a client says of itself whether it is a member of its group."""
    group = json.loads(statistics).get("cgrp", {})
    if (group.get("state"), group.get("join_state")) == ("up", "steady"):
        steady()
