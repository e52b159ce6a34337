"""From rows of the outbox to records that Kafka has acknowledged."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import LiteralString, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer

from mercato.errors import Unavailable
from mercato.failpoint import failpoint
from mercato.kafka import Kafka

# Seconds that a batch may take to be acknowledged before it is given up.
PATIENCE = 10.0


COLUMNS: LiteralString = """
    bucket, id, topic, aggregate_id, version, event_id::text, type, payload, headers::text, create_time"""


class Row(NamedTuple):
    """A row of the outbox: its COLUMNS."""

    bucket: int
    id: int
    topic: str
    aggregate_id: str
    version: int
    event_id: str
    type: str
    payload: bytes
    headers: str
    """JSON, as it is stored: all events of one request bring the same."""
    create_time: datetime

    def record_headers(self) -> dict[str, str]:
        """The headers of its record (CloudEvents, binary mode), those that the row brings along last."""
        return {
            "ce_id": self.event_id,
            "ce_type": self.type,
            "ce_subject": self.aggregate_id,
            "ce_time": self.create_time.isoformat(),
            "version": str(self.version),
            **_brought(self.headers),
        }


@lru_cache(64)
def _brought(headers: str) -> Mapping[str, str]:
    found: dict[str, str] = orjson.loads(headers)
    return found


class Publisher:
    """Sends rows of a service's outbox, or of the journal of those that were sent."""

    def __init__(self, kafka: Kafka) -> None:
        """Nothing is connected before the first row is sent."""
        self._kafka = kafka
        self._producer: Producer | None = None

    def publish(self, rows: Sequence[Row]) -> None:
        """Return when Kafka has acknowledged every row. Otherwise Unavailable, and none counts as sent."""
        self._kafka.make({row.topic for row in rows})
        failpoint("before_publish")
        producer = self._producer = self._producer or self._kafka.producer()
        failed: list[KafkaError] = []

        def told(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        try:
            for row in rows:
                headers = row.record_headers()
                key = headers["ce_subject"].encode()
                producer.produce(row.topic, value=row.payload, key=key, headers=[*headers.items()], on_delivery=told)
            self._await_acknowledged(producer, failed)
        # The client raises its end (a fatal error) in the midst of telling what became of the records: a SystemError.
        except (BufferError, KafkaException, SystemError, Unavailable) as error:
            self._abandon(producer)
            raise Unavailable(f"Kafka takes no events: {failed[0] if failed else error}") from error

    def _await_acknowledged(self, producer: Producer, failed: Sequence[KafkaError]) -> None:
        deadline = time.monotonic() + PATIENCE
        while producer.flush(0.5) and not failed:
            if time.monotonic() > deadline:
                raise Unavailable(f"no acknowledgement within {PATIENCE:.0f} s")
        if failed:
            raise Unavailable(str(failed[0]))

    def _abandon(self, producer: Producer) -> None:
        """Begin anew with another producer: this one may not send what the next one has overtaken."""
        self._producer = None
        self._kafka.forget()
        producer.purge()
        producer.flush(0)
