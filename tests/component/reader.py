"""A consumer of a topic of its own, between a real Kafka and a real PostgreSQL."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
from google.protobuf.message import Message

from mercato import log
from mercato.api.inventory.v1.inventory_events_pb2 import StockReleased
from mercato.consumer import Consumer, Delivery, Handle, handlers
from mercato.ids import uuid7
from mercato.kafka import Kafka, dead_letters
from mercato.outgoing import Outgoing
from mercato.postgres import Database, Work
from tests.servers import FreshDatabase

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LONG = 30.0


class Reader:
    """A consumer of a topic of its own, whose effect is a row for each event."""

    def __init__(self, database: Database, fresh: FreshDatabase, kafka: Kafka) -> None:
        self.database = database
        self.fresh = fresh
        self.kafka = kafka
        self.topic = f"test.{uuid7()}"
        self.group = f"group-{uuid7()}"
        self.bad: set[str] = set()
        self.troubles: list[Exception] = []
        self._consumers: list[Consumer[Work]] = []
        self._producer = kafka.producer()
        self._sent = 0
        kafka.make([self.topic, dead_letters(self.topic)])
        with psycopg.connect(fresh.url, autocommit=True) as connection:
            connection.execute(
                "create table if not exists catalog.effect (id bigserial, topic text, aggregate text, version bigint,"
                " request_id text)"
            )

    def consumer(self, handle: Handle | None = None, kafka: Kafka | None = None) -> Consumer[Work]:
        """One more member of the group."""
        handle = handle or handlers({StockReleased: self.released})
        work = lambda: Work(self.database, "product")  # noqa: E731
        consumer = Consumer(kafka or self.kafka, work, self.group, [self.topic], handle)
        self._consumers.append(consumer)
        return consumer

    def released(self, work: Work, event: StockReleased, delivery: Delivery) -> None:
        """Note the event, unless something is the matter."""
        if self.troubles:
            raise self.troubles.pop()
        if event.order_id in self.bad:
            raise ValueError(f"{event.order_id} makes no sense")
        work.connection.execute(
            "insert into effect (topic, aggregate, version, request_id) values (%s, %s, %s, %s)",
            [self.topic, delivery.aggregate_id, delivery.version, log.context().get("request_id", "")],
        )

    def send(self, aggregate: str, *versions: int, event: Message | None = None) -> None:
        for version in versions:
            told = event or StockReleased(reservation_id=aggregate, order_id=f"{aggregate}{version}")
            row = Outgoing.of(told, self.topic, "inventory", aggregate, version)
            headers = {"ce_type": row.type, "ce_subject": aggregate, "version": str(version), **row.headers}
            self.send_raw(aggregate, row.payload, headers)
        self.arrived()

    def send_raw(self, key: str, value: bytes, headers: dict[str, str]) -> None:
        self._sent += 1
        self._producer.produce(self.topic, key=key, value=value, headers=[(k, v.encode()) for k, v in headers.items()])

    def arrived(self) -> None:
        assert self._producer.flush(LONG) == 0

    def effects(self) -> list[tuple[str, int]]:
        return [(aggregate, version) for aggregate, version, _ in self.rows()]

    def rows(self) -> list[tuple[Any, ...]]:
        with self.database.reading() as connection:
            statement = "select aggregate, version, request_id from effect where topic = %s order by id"
            return connection.execute(statement, [self.topic]).fetchall()

    def parked(self) -> list[tuple[str, int]]:
        with self.database.reading() as connection:
            statement = "select aggregate_id, version from parked_event where topic = %s order by id"
            return connection.execute(statement, [self.topic]).fetchall()

    def lag(self) -> int:
        """Records that no committed position is behind."""
        with self.database.reading() as connection:
            statement = "select coalesce(sum(next_offset), 0)::int from consumer_position where topic = %s"
            row = connection.execute(statement, [self.topic]).fetchone()
        return self._sent - (row[0] if row else 0)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()


def until(done: Callable[[], object], *consumers: Consumer[Any]) -> None:
    """Let consumers work until it is done."""
    deadline = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < deadline
        for consumer in consumers:
            consumer.run_once(NOON)


def settle(reader: Reader, *consumers: Consumer[Work]) -> None:
    """Let consumers work until everything is read."""
    joined = lambda: sum(len(each.places) for each in consumers) == 6  # noqa: E731
    until(joined, *consumers)
    until(lambda: reader.lag() == 0, *consumers)
