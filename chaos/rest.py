"""A mesh at rest: nothing is left to be done, published or read. What waits for a human is at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from mercato.local.mesh import Mesh
from mercato.local.table import SERVICES

PAUSE = 0.1
KAFKA_PATIENCE = 5.0

# What is still to be done. What waits for a human (a payment that is due, a return) is at rest.
UNDER_WAY: dict[str, LiteralString] = {
    "orders in checkout": "select count(*) from orders.order_view where state = 'PENDING'",
    "tasks of orders": "select count(*) from orders.process",
    "events for projections to take in": """
        select count(*) from orders.projection p join orders.events e on (e.xid, e.position) > (p.xid, p.position)
        where p.live""",
    "questions to the provider": "select count(*) from payments.attempt where state = 'PENDING'",
}
OUTBOX: LiteralString = "select count(*) from {schema}.outbox"
# A topic that was made again has a second id, and its offsets begin anew.
READ: LiteralString = (
    "select topic, partition, max(next_offset) from {schema}.consumer_position group by 1, 2, consumer"
)


@dataclass(frozen=True, slots=True)
class Rest:
    """How a mesh came to rest: after how many seconds, and what did not."""

    seconds: float
    unrest: Sequence[str]


def come_to_rest(mesh: Mesh, within: float, tell: Callable[[str], None] = lambda _: None) -> Rest:
    """Wait until nothing is under way any more."""
    began = time.monotonic()
    # Twice in a row: what is applied during a look may be gone from one place and not yet seen at the next.
    while (unrest := unrest_of(mesh) or unrest_of(mesh)) and time.monotonic() < began + within:
        tell("; ".join(unrest))
        time.sleep(PAUSE)
    return Rest(time.monotonic() - began, unrest)


def unrest_of(mesh: Mesh) -> list[str]:
    """What is still under way; why it cannot be known, where it cannot."""
    try:
        with closing(psycopg.connect(_database(mesh), autocommit=True, connect_timeout=5)) as connection:
            return [*_unfinished(connection)] or [*_unread(connection, mesh.bootstrap)]
    except (psycopg.Error, KafkaException) as trouble:
        return [f"{type(trouble).__name__}: {trouble}".strip()]


def _database(mesh: Mesh) -> str:
    return mesh.setup_environment["MERCATO_DATABASE_URL"]


def _unfinished(connection: psycopg.Connection[Any]) -> Iterator[str]:
    outboxes = {f"events of {each.schema} to publish": OUTBOX.replace("{schema}", each.schema) for each in SERVICES}
    for what, query in {**UNDER_WAY, **outboxes}.items():
        row = connection.execute(query.encode()).fetchone()
        if row and row[0]:
            yield f"{row[0]} {what}"


def _unread(connection: psycopg.Connection[Any], bootstrap: str) -> Iterator[str]:
    """Events that lie in Kafka, and some consumer has not come to yet."""
    with closing(Consumer({"bootstrap.servers": bootstrap, "group.id": "rest", "log_level": 0})) as reader:
        for service in SERVICES:
            rows = connection.execute(READ.replace("{schema}", service.schema).encode()).fetchall()
            behind = sum(max(0, _end(reader, str(topic), int(partition)) - offset) for topic, partition, offset in rows)
            if behind:
                yield f"{behind} events for {service.name} to read"


def _end(reader: Consumer, topic: str, partition: int) -> int:
    _, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=KAFKA_PATIENCE)
    return int(end)
