"""What Kafka carries as a table that SQL can compare with the journals: `topic_record`.

Only what was written within a window is looked at, so that an audit of a shop with a long past stays short. Topics are
read twice: up to their ends before the snapshot is taken (`early`: whatever lies there was committed before, so the
snapshot has it), and once more afterwards (whatever the snapshot has published lies there by then).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from mercato.audit import Connection
from mercato.topic import topic

PATIENCE = 10.0  # seconds
AT_ONCE = 1000
WINDOW = timedelta(hours=1)

CREATE = """
    create temp table if not exists topic_record (
        topic text not null,
        partition int not null,
        record_offset bigint not null,
        aggregate_id text not null,
        version bigint,
        event_id uuid,
        time timestamptz not null,
        early boolean not null
    );
    create temp table if not exists topic_window (since timestamptz not null);
"""
Row = tuple[str, int, int, str, int | None, UUID | None, datetime]
Reader = Callable[[datetime], Sequence[Row]]
"""What has come since it was last asked; the first time, what has come since a moment. NoTopics."""


class NoTopics(Exception):
    """Kafka does not answer just now; the text says why."""


class Topics:
    """What lies in the topics, as far as it was read."""

    def __init__(self, reader: Reader, window: timedelta = WINDOW) -> None:
        self._read = reader
        self._window = window
        self._since: datetime | None = None
        self._early: Sequence[Row] = ()

    def create_tables(self, connection: Connection) -> None:
        """Make the tables; outside of a transaction that only reads."""
        connection.execute(CREATE)

    def read_early(self, now: datetime) -> None:
        """Read before the snapshot is taken. NoTopics."""
        if self._since is None:
            self._since = now - self._window
        self._early = [*self._early, *self._read(self._since)]

    def fill_tables(self, connection: Connection, now: datetime) -> int:
        """Bring the tables up to date; how many records there are in the window. NoTopics."""
        assert self._since
        late = self._read(self._since)
        self._since = max(self._since, now - self._window)
        connection.execute("update topic_record set early = true where not early")
        connection.execute("delete from topic_record where time < %s", [self._since])
        connection.execute("delete from topic_window")
        connection.execute("insert into topic_window values (%s)", [self._since])
        with connection.cursor().copy("copy topic_record from stdin") as copy:
            for row in self._early:
                copy.write_row((*row, True))
            for row in late:
                copy.write_row((*row, False))
        self._early = ()
        connection.execute("analyze topic_record")
        found = connection.execute("select count(*) from topic_record").fetchone()
        return int(found[0]) if found else 0


class KafkaReader:
    """Reads the services' topics without a group, from where it ended."""

    def __init__(self, bootstrap: str, services: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = {topic(service) for service in services}
        self._next: dict[tuple[str, int], int] = {}

    def __call__(self, since: datetime) -> list[Row]:
        """What has come."""
        settings = {"bootstrap.servers": self._bootstrap, "group.id": "auditor", "enable.auto.commit": False}
        # Quiet: that it does not answer is said once, by whoever asked.
        client = Consumer({**settings, "log_level": 0, "auto.offset.reset": "earliest"})
        try:
            return list(self._new(client, since))
        except KafkaException as error:
            raise NoTopics(f"{self._bootstrap} does not answer: {error}") from error
        finally:
            client.close()

    def _new(self, client: Consumer, since: datetime) -> Iterator[Row]:
        ends = self._ends(client, since)
        unread = {place: end for place, end in ends.items() if self._next[place] < end}
        client.assign([TopicPartition(*place, self._next[place]) for place in unread])
        deadline = time.monotonic() + PATIENCE
        while unread:
            for message in client.consume(AT_ONCE, timeout=0.5):
                if error := message.error():
                    raise KafkaException(error)
                deadline = time.monotonic() + PATIENCE
                yield _row(message)
                self._passed(message, unread)
            if time.monotonic() > deadline:
                raise NoTopics(f"{self._bootstrap} does not give what it has of {sorted(unread)}")

    def _passed(self, message: Message, unread: dict[tuple[str, int], int]) -> None:
        place, after = (message.topic() or "", message.partition() or 0), (message.offset() or 0) + 1
        self._next[place] = after
        if after >= unread.get(place, after + 1):
            del unread[place]

    def _ends(self, client: Consumer, since: datetime) -> dict[tuple[str, int], int]:
        known = client.list_topics(timeout=PATIENCE).topics
        places = [(name, number) for name in self._topics & known.keys() for number in known[name].partitions]
        ends = {place: client.get_watermark_offsets(TopicPartition(*place), timeout=PATIENCE)[1] for place in places}
        if new := [TopicPartition(*each, int(since.timestamp() * 1000)) for each in places if each not in self._next]:
            for found in client.offsets_for_times(new, timeout=PATIENCE):
                place = (found.topic, found.partition)
                self._next[place] = found.offset if found.offset >= 0 else ends[place]
        return ends


def _row(message: Message) -> Row:
    raw = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    headers = {name: value.decode(errors="replace") for name, value in raw if isinstance(value, bytes)}
    version = headers.get("version", "")
    key: Any = message.key() or b""
    return (
        *(message.topic() or "", message.partition() or 0, message.offset() or 0),
        key.decode(errors="replace") if isinstance(key, bytes) else str(key),
        int(version) if version.isdigit() else None,
        _uuid(headers.get("ce_id", "")),
        datetime.fromtimestamp(message.timestamp()[1] / 1000).astimezone(),
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
