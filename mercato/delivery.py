"""Records as Kafka delivers them, and the events in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from confluent_kafka import KafkaException
from confluent_kafka import Message as KafkaMessage
from google.protobuf import symbol_database
from google.protobuf.message import DecodeError, Message

from mercato import log
from mercato.errors import Cancelled, Conflict, DeadlineExceeded, Unavailable
from mercato.failpoint import FailpointReached
from mercato.ids import uuid7
from mercato.outgoing import Outgoing
from mercato.topic import dead_letters

Types = Mapping[str, type[Any]]
# Failures that say nothing against the event: it is tried again for ever, and never becomes a dead letter.
MAY_PASS = (
    *(Unavailable, DeadlineExceeded, Cancelled, Conflict),
    *(KafkaException, ConnectionError, TimeoutError, FailpointReached),
)


class Undecodable(Exception):
    """A record that is no event of ours."""


class Place(NamedTuple):
    """A partition of a topic; the topic's id tells it from an earlier topic of the same name."""

    topic: str
    topic_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event, and what its record says of it."""

    id: str
    type: str
    aggregate_id: str
    version: int
    time: datetime
    event: Any
    headers: Mapping[str, str]
    record: "Record" = field(repr=False)

    @property
    def context(self) -> dict[str, str]:
        """What the work that the event came of was about: request_id, order_id, traceparent."""
        return self.record.context


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a partition."""

    at: Place
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    time: datetime

    @property
    def label(self) -> str:
        """Where it lies."""
        return f"{self.at.topic}/{self.at.partition}/{self.offset}"

    @property
    def type(self) -> str:
        """The event's full name; empty if the record does not say."""
        return self.headers.get("ce_type", "")

    @property
    def aggregate_id(self) -> str:
        """What the event is about; empty if the record does not say it as an event of ours does."""
        return self.headers.get("ce_subject", "") if self.version else ""

    @property
    def version(self) -> int:
        """The version of the aggregate; 0 if the record does not say."""
        text = self.headers.get("version", "")
        return int(text) if text.isdecimal() and len(text) < 19 else 0

    @property
    def context(self) -> dict[str, str]:
        """What the work that it came of was about."""
        given = {name: self.headers[name] for name in log.TRAVELLING if name in self.headers}
        if "traceparent" in given:
            given["traceparent"] = log.traceparent(given["traceparent"])
        return given

    def decoded(self, types: "Types | None") -> Delivery | None:
        """The event, if it is of these types (or of any that this process knows); else None. Undecodable."""
        cls = types.get(self.type) if types is not None else _known(self.type)
        if not self.type or (cls and not self.aggregate_id):
            raise Undecodable(f"{self.label} lacks ce_type, ce_subject or version")
        if cls is None:
            return None
        try:
            event = cls.FromString(self.value)
        except DecodeError as error:
            raise Undecodable(f"{self.label} is no {self.type}: {error}") from error
        told = (self.headers.get("ce_id", ""), self.type, self.aggregate_id, self.version, self._told_time())
        return Delivery(*told, event, self.headers, self)

    def _told_time(self) -> datetime:
        try:
            return datetime.fromisoformat(self.headers["ce_time"])
        except (KeyError, ValueError):
            return self.time

    def dead_letter(self, consumer: str, reason: str) -> Outgoing:
        """The record as it goes to the dead-letter topic: as it came, and why."""
        told = {"dlq_consumer": consumer, "dlq_record": self.label, "dlq_reason": reason[:1000]}
        headers = {"ce_subject": self.key, **self.headers, **told}
        return Outgoing(
            dead_letters(self.at.topic), f"{consumer}/{self.label}", 1, _id(headers), self.type, self.value, headers
        )


def record_of(message: KafkaMessage, at: Place) -> Record:
    """A record from what the client delivers."""
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    texts = {name: _text(value) for name, value in headers}
    time = datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)
    return Record(at, message.offset() or 0, _text(message.key()), _bytes(message.value()), texts, time)


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: str | bytes | None) -> str:
    # PostgreSQL's text holds no NUL.
    return _bytes(value).decode(errors="replace").replace("\0", "�")


def _known(name: str) -> type[Message] | None:
    try:
        return symbol_database.Default().GetSymbol(name) if name else None
    except KeyError:
        return None


def _id(headers: Mapping[str, str]) -> UUID:
    try:
        return UUID(headers.get("ce_id", ""))
    except ValueError:
        return uuid7()
