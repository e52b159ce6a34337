"""What a reader remembers in the database, in the transaction of its effects: positions, marks, and what is parked."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.types.json import Jsonb

from mercato.delivery import Delivery, Place, Record

__all__ = ["WAITS", "Bookkeeping", "LostPartition", "Place", "Places"]

Places = dict[Place, int]
"""The next offset to read of each partition, as it is committed."""
Key = tuple[str, str]
"""An aggregate: the topic that tells of it, and its id."""
Marks = dict[Key, int]
"""The last version of each aggregate whose effect is here."""

OPEN: LiteralString = """
    with wanted as (select * from unnest(%s::text[], %s::text[], %s::int[]) as w (topic, topic_id, partition)),
    made as (
        insert into consumer_position (consumer, topic, topic_id, partition, next_offset)
        select %s, topic, topic_id, partition, 0 from wanted order by topic, topic_id, partition
        on conflict do nothing returning topic, topic_id, partition, next_offset
    )
    select * from made
    union all
    select topic, topic_id, partition, next_offset from consumer_position
    join wanted using (topic, topic_id, partition) where consumer = %s"""
# Whoever lost a partition finds another offset than it left there: no row, and no effect.
ADVANCE: LiteralString = """
    update consumer_position p set next_offset = w.next_offset
    from unnest(%s::text[], %s::text[], %s::int[], %s::bigint[], %s::bigint[])
        as w (topic, topic_id, partition, expected, next_offset)
    where p.consumer = %s and p.topic = w.topic and p.topic_id = w.topic_id and p.partition = w.partition
        and p.next_offset = w.expected"""
# Arrays in binary (%b): as text, every element is searched for quotes.
# No lock is needed: who may apply events of these aggregates is decided by the position, which is locked by now.
LOOK_UP: LiteralString = """
    with wanted as (select * from unnest(%b::text[], %b::text[]) as w (topic, aggregate_id))
    select topic, aggregate_id, version, false from consumer_mark join wanted using (topic, aggregate_id)
    where consumer = %s
    union all
    select distinct topic, aggregate_id, 0, true from parked_event join wanted using (topic, aggregate_id)
    where consumer = %s and aggregate_id <> ''"""
MARK: LiteralString = """
    insert into consumer_mark (consumer, topic, aggregate_id, version)
    select %s, * from unnest(%b::text[], %b::text[], %b::bigint[])
    on conflict (consumer, topic, aggregate_id) do update set version = excluded.version, day = excluded.day
    where consumer_mark.version < excluded.version"""
# A mark says that an event has come, whether or not it had an effect. What is parked has none yet, nor what follows it.
NOTE: LiteralString = """
    insert into consumer_mark (consumer, topic, aggregate_id, version)
    select %s, * from unnest(%b::text[], %b::text[], %b::bigint[]) as seen (topic, aggregate_id, version)
    where not exists (select from parked_event p
        where p.consumer = %s and p.topic = seen.topic and p.aggregate_id = seen.aggregate_id)
    on conflict (consumer, topic, aggregate_id) do update set version = excluded.version, day = excluded.day
    where consumer_mark.version < excluded.version"""
PARK: LiteralString = """
    insert into parked_event (consumer, topic, topic_id, partition, record_offset, aggregate_id, version, type, payload,
        headers, reason)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing"""
WAITS = "an earlier event of the same aggregate is parked"


class LostPartition(Exception):
    """Another reader has gone on with a partition; this one's work on it must not count."""


class Bookkeeping:
    """The rows of one consumer."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    def open(self, connection: Connection[Any], places: Sequence[Place]) -> Places:
        """Where to go on in each partition: at its beginning the first time."""
        columns = [list(column) for column in zip(*places, strict=True)] or [[], [], []]
        found = connection.execute(OPEN, [*columns, self._consumer, self._consumer])
        return {Place(topic, topic_id, partition): offset for topic, topic_id, partition, offset in found}

    def advance(self, connection: Connection[Any], places: Places, records: Iterable[Record]) -> Places:
        """Move behind the records. LostPartition if somebody else did since."""
        ahead = {each.at: each.offset + 1 for each in records}  # of each partition, the last one stands
        if ahead.keys() - places.keys():
            raise LostPartition
        rows = [(*at, places[at], next_offset) for at, next_offset in sorted(ahead.items())]
        columns = [list(column) for column in zip(*rows, strict=True)]
        if connection.execute(ADVANCE, [*columns, self._consumer]).rowcount != len(rows):
            raise LostPartition
        return ahead

    def sort_out(
        self, connection: Connection[Any], deliveries: Sequence[Delivery]
    ) -> tuple[list[Delivery], list[Record]]:
        """What is new, in order; and the records that must wait behind a parked one. The rest are repeats."""
        if not deliveries:
            return [], []
        marks, parked = self._look_up(connection, deliveries)
        fresh, waiting = [], []
        for each in deliveries:
            key = _key(each)
            if each.version <= marks.get(key, 0):
                continue
            marks[key] = each.version
            if key in parked:
                waiting.append(each.record)
            else:
                fresh.append(each)
        return fresh, waiting

    def is_new(self, connection: Connection[Any], delivery: Delivery) -> bool:
        """Whether an event has not had its effect yet, whatever is parked of its aggregate."""
        marks, _ = self._look_up(connection, [delivery])
        return delivery.version > marks.get(_key(delivery), 0)

    def _look_up(self, connection: Connection[Any], deliveries: Iterable[Delivery]) -> tuple[Marks, set[Key]]:
        """The marks of the events' aggregates, and those of which something is parked."""
        keys = sorted({_key(each) for each in deliveries})
        columns = [list(column) for column in zip(*keys, strict=True)]
        found = connection.execute(LOOK_UP, [*columns, self._consumer, self._consumer]).fetchall()
        marks = {(topic, aggregate_id): version for topic, aggregate_id, version, waits in found if not waits}
        return marks, {(topic, aggregate_id) for topic, aggregate_id, _, waits in found if waits}

    def mark(self, connection: Connection[Any], applied: Iterable[Delivery]) -> None:
        """Raise the marks of these events' aggregates."""
        marks = {_key(each): each.version for each in applied}  # versions rise: the last one stands
        rows = [(*key, version) for key, version in sorted(marks.items())]
        connection.execute(MARK, [self._consumer, *(list(column) for column in zip(*rows, strict=True))])

    def note(self, connection: Connection[Any], passed: Iterable[Record]) -> None:
        """Count events as seen that nobody here does anything about: who waits for them need wait no longer."""
        seen = {(each.at.topic, each.aggregate_id): each.version for each in passed if each.aggregate_id}
        if seen:
            columns = zip(*((*key, version) for key, version in sorted(seen.items())), strict=True)
            connection.execute(NOTE, [self._consumer, *map(list, columns), self._consumer])

    def pass_over(self, connection: Connection[Any], topic: str, aggregate_id: str, version: int) -> None:
        """Count an event as seen, though it had no effect."""
        connection.execute(MARK, [self._consumer, [topic], [aggregate_id], [version]])

    def park(self, connection: Connection[Any], records: Sequence[Record], reason: str) -> None:
        """Put records aside. Those that name an aggregate make its later ones wait."""
        if records:
            with connection.cursor() as cursor:
                cursor.executemany(PARK, [self._parked(each, reason) for each in records])

    def _parked(self, record: Record, reason: str) -> tuple[Any, ...]:
        told = (record.aggregate_id, record.version, record.type, record.value, Jsonb(dict(record.headers)), reason)
        return (self._consumer, *record.at, record.offset, *told)


def _key(delivery: Delivery) -> Key:
    return delivery.record.at.topic, delivery.aggregate_id
