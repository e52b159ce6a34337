"""What Kafka holds: every record of every public topic, read without a group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies there."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes

    @property
    def type(self) -> str:
        """The event's name."""
        return self.headers.get("ce_type", "").rpartition(".")[2]


def records(bootstrap: str, service: str = "") -> list[Record]:
    """All records of a service, or of all; those of one key in their order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "recording",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        return [_record(message) for message in _read(consumer, f"mercato.{service}")]
    finally:
        consumer.close()


def _read(consumer: Consumer, prefix: str) -> Iterator[Message]:
    topics = consumer.list_topics(timeout=TIMEOUT).topics
    unread = {
        (name, partition) for name, topic in topics.items() if name.startswith(prefix) for partition in topic.partitions
    }
    consumer.assign([TopicPartition(name, partition, 0) for name, partition in unread])
    deadline = time.monotonic() + TIMEOUT
    while unread:
        assert time.monotonic() < deadline, f"Kafka does not give what {unread} hold"
        for message in consumer.consume(500, timeout=0.2):
            match message.error():
                case None:
                    yield message
                case error if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  the library's own name for it
                    unread.discard((str(message.topic()), int(message.partition() or 0)))


def _record(message: Message) -> Record:
    headers = {name: _text(value) for name, value in dict(message.headers() or []).items()}
    return Record(str(message.topic()), _text(message.key()), headers, message.value() or b"")


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
