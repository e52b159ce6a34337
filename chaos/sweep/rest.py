"""The shop at rest: nothing is left to be done, published or read. What waits for a human is at rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, LiteralString

import psycopg
from confluent_kafka import Consumer, TopicPartition

from mercato.local.table import SERVICES

PAUSE = 0.1
UNDER_WAY: dict[str, LiteralString] = {
    "orders in checkout": "select count(*) from orders.order_view where state = 'PENDING'",
    "tasks of orders": "select count(*) from orders.process",
    "questions to the provider": "select count(*) from payments.attempt where state = 'PENDING'",
}
OUTBOX: LiteralString = "select count(*) from {schema}.outbox"
READ: LiteralString = (
    "select topic, partition, min(next_offset) from {schema}.consumer_position group by topic, partition"
)


class Rest:
    """Knows what is still to be done in a mesh."""

    def __init__(self, database_url: str, bootstrap: str) -> None:
        """Connects when first asked."""
        self._url = database_url
        self._reader = {"bootstrap.servers": bootstrap, "group.id": "sweep", "log_level": 0}

    def come(self, within: float) -> list[str]:
        """Wait until nothing is under way; what still is."""
        deadline = time.monotonic() + within
        with (
            psycopg.connect(self._url, autocommit=True) as connection,
            closing(Consumer(self._reader)) as reader,
        ):
            while unrest := [*_unfinished(connection)] or [*_unread(connection, reader)]:
                if time.monotonic() > deadline:
                    return unrest
                time.sleep(PAUSE)
        return []


def _unfinished(connection: psycopg.Connection[Any]) -> Iterator[str]:
    outboxes = {f"events of {each.schema} to publish": OUTBOX.replace("{schema}", each.schema) for each in SERVICES}
    for what, query in {**UNDER_WAY, **outboxes}.items():
        row = connection.execute(query.encode()).fetchone()
        if row and row[0]:
            yield f"{row[0]} {what}"


def _unread(connection: psycopg.Connection[Any], reader: Consumer) -> Iterator[str]:
    for service in SERVICES:
        rows = connection.execute(READ.replace("{schema}", service.schema).encode()).fetchall()
        behind = sum(max(0, _end(reader, topic, partition) - offset) for topic, partition, offset in rows)
        if behind:
            yield f"{behind} events for {service.name} to read"


def _end(reader: Consumer, topic: str, partition: int) -> int:
    _, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
    return int(end)
