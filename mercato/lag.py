"""How far behind a service is: what waits in its outbox, and what its readers have not read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

from mercato import log
from mercato.bookkeeping import Place
from mercato.errors import Unavailable
from mercato.kafka import Kafka
from mercato.postgres import Database

OUTBOX: LiteralString = "select count(*), clock_timestamp() - min(create_time) from outbox"
POSITIONS: LiteralString = """
    select consumer, topic, topic_id, partition, next_offset from consumer_position
    where consumer = any(%s) order by consumer, topic, partition"""
# Seconds that Kafka may take over each question: whoever asks how we do waits for three.
PATIENCE = 0.5
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is committed and not yet published, and how old the oldest of it is."""

    depth: int
    age: timedelta | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a reader has come in a partition; `behind` is None where Kafka did not say."""

    group: str
    topic: str
    partition: int
    position: int
    behind: int | None


def backlog(database: Database) -> Backlog:
    """What waits in the outbox."""
    with database.reading() as connection:
        row = connection.execute(OUTBOX).fetchone()
    return Backlog(*row) if row else Backlog(0, None)


def lags(database: Database, kafka: Kafka, groups: Iterable[str]) -> list[Lag]:
    """How far these readers have come. The database knows, whichever process reads; Kafka says how much there is."""
    with database.reading() as connection:
        rows = connection.execute(POSITIONS, [list(groups)]).fetchall()
    found = [
        (group, Place(topic, topic_id, partition), position) for group, topic, topic_id, partition, position in rows
    ]
    ends = _ends(kafka, {at.topic for _, at, _ in found})
    return [
        Lag(group, at.topic, at.partition, position, max(0, ends[at] - position) if at in ends else None)
        for group, at, position in found
        # A position in an earlier topic of the same name is history.
        if not ends or at in ends
    ]


def _ends(kafka: Kafka, topics: set[str]) -> Mapping[Place, int]:
    """The ends of partitions; nothing while Kafka does not answer soon: the rest is worth knowing without it."""
    try:
        found = Kafka(kafka.bootstrap, patience=PATIENCE).ends(topics) if topics else {}
    except Unavailable as trouble:
        _log.warning("lag.unknown", problem=str(trouble))
        return {}
    return {Place(*at): end for at, end in found.items()}
