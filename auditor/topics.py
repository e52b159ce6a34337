"""What Kafka carries as a table that SQL can compare with the journals: `topic_record`.

Only what was written within a window is looked at, so that an audit of a shop with a long past stays short. Topics are
read twice: up to their ends before the snapshot is taken (`early`: whatever lies there was committed before, so the
snapshot has it), and once more afterwards (whatever the snapshot has published lies there by then).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from mercato.audit import Connection
from mercato.config import Brokers
from mercato.kafka import SMALL
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
READ = "select topic, partition, max(record_offset) + 1 from topic_record group by topic, partition"
Row = tuple[str, int, int, str, int | None, UUID | None, datetime]
Places = Mapping[tuple[str, int], int]
Reader = Callable[[datetime, Places], Iterable[Sequence[Row]]]
"""What lies in the topics from these places on; where none is known, what has come since a moment. NoTopics."""


class NoTopics(Exception):
    """Kafka does not answer just now; the text says why."""


class Topics:
    """What lies in the topics.

    How far they were read the table alone knows: a reading that failed, or a connection that was lost with its table,
    leaves nothing out.
    """

    def __init__(self, reader: Reader, window: timedelta = WINDOW) -> None:
        self._read = reader
        self._window = window

    def create_tables(self, connection: Connection) -> None:
        """Make the tables; outside of a transaction that only reads."""
        connection.execute(CREATE)

    def read_early(self, connection: Connection, now: datetime) -> None:
        """Read before the snapshot is taken. NoTopics."""
        with connection.transaction():
            connection.execute("update topic_record set early = true where not early")
            self._read_on(connection, now - self._window, early=True)

    def fill_tables(self, connection: Connection, now: datetime) -> int:
        """Bring the tables up to date; how many records there are in the window. NoTopics."""
        since = now - self._window
        with connection.transaction():
            self._read_on(connection, since, early=False)
            connection.execute("delete from topic_record where time < %s", [since])
            connection.execute("delete from topic_window")
            connection.execute("insert into topic_window values (%s)", [since])
        connection.execute("analyze topic_record")
        found = connection.execute("select count(*) from topic_record").fetchone()
        return int(found[0]) if found else 0

    def _read_on(self, connection: Connection, since: datetime, *, early: bool) -> None:
        places = {(topic, partition): after for topic, partition, after in connection.execute(READ)}
        for rows in self._read(since, places):
            with connection.cursor().copy("copy topic_record from stdin") as copy:
                for row in rows:
                    copy.write_row((*row, early))


class KafkaReader:
    """Reads the services' topics without a group."""

    def __init__(self, bootstrap: str, services: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = {topic(service) for service in services}

    def __call__(self, since: datetime, places: Places) -> Iterator[list[Row]]:
        """What lies there from some places on, some at a time."""
        settings = {**Brokers.client(self._bootstrap), "group.id": "auditor", "enable.auto.commit": False}
        # Quiet: that it does not answer is said once, by whoever asked.
        quiet = {"log_level": 0, "auto.offset.reset": "earliest"}
        client = Consumer({**settings, **quiet, **SMALL})
        try:
            yield from self._new(client, since, places)
        except KafkaException as error:
            raise NoTopics(f"{self._bootstrap} does not answer: {error}") from error
        finally:
            client.close()

    def _new(self, client: Consumer, since: datetime, places: Places) -> Iterator[list[Row]]:
        ends = self._ends(client)
        begins = {**self._begins(client, since, ends, places), **places}
        unread = {place: end for place, end in ends.items() if begins[place] < end}
        client.assign([TopicPartition(*place, begins[place]) for place in unread])
        deadline = time.monotonic() + PATIENCE
        while unread:
            if found := client.consume(AT_ONCE, timeout=0.5):
                deadline = time.monotonic() + PATIENCE
                yield [_row(message) for message in found]
            for message in found:
                _passed(message, unread)
            if time.monotonic() > deadline:
                raise NoTopics(f"{self._bootstrap} does not give what it has of {sorted(unread)}")

    def _ends(self, client: Consumer) -> dict[tuple[str, int], int]:
        known = client.list_topics(timeout=PATIENCE).topics
        places = [(name, number) for name in self._topics & known.keys() for number in known[name].partitions]
        return {place: client.get_watermark_offsets(TopicPartition(*place), timeout=PATIENCE)[1] for place in places}

    def _begins(self, client: Consumer, since: datetime, ends: Places, known: Places) -> dict[tuple[str, int], int]:
        """Where what has come since a moment begins, in each place of which nothing is known."""
        moment = int(since.timestamp() * 1000)
        new = [TopicPartition(*place, moment) for place in ends if place not in known]
        found = client.offsets_for_times(new, timeout=PATIENCE) if new else []
        places = ((each, (each.topic, each.partition)) for each in found)
        return {place: each.offset if each.offset >= 0 else ends[place] for each, place in places}


def _passed(message: Message, unread: dict[tuple[str, int], int]) -> None:
    """Leave a place out once its end was read."""
    place, after = (message.topic() or "", message.partition() or 0), (message.offset() or 0) + 1
    if after >= unread.get(place, after + 1):
        del unread[place]


def _row(message: Message) -> Row:
    """A record as a row. KafkaException for what is none."""
    if error := message.error():
        raise KafkaException(error)
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
