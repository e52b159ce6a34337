"""The rest after the faults: what is unknown is asked again, and what is under way comes to its end, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from chaos.nemesis.arena import Arena
from chaos.nemesis.history import Operation
from chaos.nemesis.people import Person
from mercato.local.table import SERVICES
from shop.rest import Refused

PAUSE = 0.5
AT_ONCE = 6
KAFKA_PATIENCE = 5.0

# What is still to be done. What waits for a human (a payment that is due, a return) is at rest.
UNDER_WAY: dict[str, LiteralString] = {
    "orders in checkout": "select count(*) from orders.order_view where state = 'PENDING'",
    "tasks of orders": "select count(*) from orders.process",
    "questions to the provider": "select count(*) from payments.attempt where state = 'PENDING'",
}
OUTBOX: LiteralString = "select count(*) from {schema}.outbox"
POSITIONS: LiteralString = (
    "select topic, partition, max(next_offset) from {schema}.consumer_position group by 1, 2, consumer"
)


@dataclass(frozen=True, slots=True)
class Rest:
    """How the mesh came to rest: after how many seconds, and what did not."""

    seconds: float
    unrest: Sequence[str]


def decide(people: Sequence[Person], undecided: Callable[[], Sequence[Operation]], within: float) -> list[Operation]:
    """Have everybody ask again, with their keys, until everything is known; what is not in the end."""
    known = {person.name: person for person in people}
    deadline = time.monotonic() + within

    def ask(operation: Operation) -> None:
        if time.monotonic() < deadline:
            known[operation.who].again(operation)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        while (left := undecided()) and time.monotonic() < deadline:
            list(threads.map(ask, left))
            time.sleep(PAUSE)
    return [*undecided()]


def come_to_rest(arena: Arena, within: float, tell: Callable[[str], None]) -> Rest:
    """Wait until nothing is under way any more."""
    began = time.monotonic()
    while (unrest := unrest_of(arena)) and time.monotonic() < began + within:
        tell("; ".join(unrest))
        time.sleep(PAUSE)
    return Rest(time.monotonic() - began, unrest)


def unrest_of(arena: Arena) -> list[str]:
    """What is still under way."""
    try:
        with closing(psycopg.connect(arena.database_url, autocommit=True, connect_timeout=5)) as connection:
            return [*_unfinished(connection), *_unread(connection, arena.mesh.bootstrap)]
    except (psycopg.Error, KafkaException, httpx.TransportError, Refused) as trouble:
        return [f"{type(trouble).__name__}: {trouble}".strip()]


def _unfinished(connection: psycopg.Connection[Any]) -> Iterator[str]:
    outboxes = {f"events of {each.schema} to publish": OUTBOX.replace("{schema}", each.schema) for each in SERVICES}
    for what, query in {**UNDER_WAY, **outboxes}.items():
        row = connection.execute(query.encode()).fetchone()
        if row and row[0]:
            yield f"{row[0]} {what}"


def _unread(connection: psycopg.Connection[Any], bootstrap: str) -> Iterator[str]:
    """Events that lie in Kafka, and some consumer has not come to yet."""
    with closing(Consumer({"bootstrap.servers": bootstrap, "group.id": "nemesis", "log_level": 0})) as client:
        for service in SERVICES:
            rows = connection.execute(POSITIONS.replace("{schema}", service.schema).encode()).fetchall()
            behind = sum(_end(client, str(topic), int(partition)) - next_ for topic, partition, next_ in rows)
            if behind > 0:
                yield f"{behind} events for {service.name} to read"


def _end(client: Consumer, topic: str, partition: int) -> int:
    _, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=KAFKA_PATIENCE)
    return int(high)
