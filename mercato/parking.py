"""Parked events: what a reader could not apply, what waits behind it, and the ways out: redrive and discard.

A redrive applies the events of one aggregate in the order in which they were parked, each in a transaction that also
raises the mark and removes the row: a crash between two of them leaves the rest to the next redrive, and an event that
was applied already is passed over by its mark. It holds the reader's positions of the topic meanwhile, so that no later
event of the aggregate is parked behind one that is just leaving, where nobody would look for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, LiteralString, TypeVar

from psycopg import Connection
from psycopg.rows import class_row

from mercato import log
from mercato.bookkeeping import Bookkeeping
from mercato.delivery import MAY_PASS, Place, Record
from mercato.errors import FailedPrecondition, NotFound
from mercato.postgres import Database, Work
from mercato.rpc.call import current_call

W = TypeVar("W", bound=Work)
Handle = Callable[[Any, Sequence[Any]], None]

ENOUGH = 0.3  # seconds of the caller's time that are kept for the answer
# The first that is parked of an aggregate was refused itself; what names none waits for nothing.
_PARKED: LiteralString = """
    select p.*, case when p.aggregate_id <> '' then (
            select nullif(min(first.id), p.id) from parked_event first
            where first.consumer = p.consumer and first.topic = p.topic and first.aggregate_id = p.aggregate_id)
        end as behind
    from parked_event p
"""
LIST: LiteralString = _PARKED + "where p.id > %s order by p.id limit %s"
GET: LiteralString = _PARKED + "where p.id = %s"
# Aggregates are asked for by what one of their parked events says; what names none is alone.
NEXT: LiteralString = (
    _PARKED
    + """
    where consumer = %(consumer)s and topic = %(topic)s and aggregate_id = %(aggregate_id)s
        and (aggregate_id <> '' or id = %(id)s)
    order by id limit 1"""
)
REMAINING: LiteralString = """
    select count(*)::int from parked_event
    where consumer = %(consumer)s and topic = %(topic)s and aggregate_id = %(aggregate_id)s
        and (aggregate_id <> '' or id = %(id)s)"""
REMOVE: LiteralString = "delete from parked_event where id = %s"
SAY: LiteralString = "update parked_event set reason = %s where id = %s"
COUNT: LiteralString = "select count(*) from parked_event"
# Whether an id was ever given: what is gone was seen to, and a repeat of that is no mistake.
GIVEN: LiteralString = """
    select %s <= coalesce(pg_sequence_last_value(pg_get_serial_sequence('parked_event', 'id')::regclass), 0)"""
# Taken before anything else, as readers do when they move on: whoever comes second sees what the first one left.
HOLD: LiteralString = """
    select next_offset from consumer_position where consumer = %s and topic = %s
    order by topic_id, partition for update"""
_log = log.get(__name__)


class StillRefused(FailedPrecondition):
    """The event cannot be applied now either."""

    def __init__(self, reason: str, applied: int, remaining: int) -> None:
        super().__init__(f"refused again: {reason}", applied=applied, remaining=remaining)


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked event. `behind` is the one that it waits for; None if it was refused itself."""

    id: int
    consumer: str
    topic: str
    topic_id: str
    partition: int
    record_offset: int
    aggregate_id: str
    version: int
    type: str
    payload: bytes
    headers: Mapping[str, str]
    reason: str
    create_time: datetime
    behind: int | None

    @property
    def key(self) -> dict[str, object]:
        """What it is about, and itself, in case that it is about nothing."""
        return {"consumer": self.consumer, "topic": self.topic, "aggregate_id": self.aggregate_id, "id": self.id}

    @property
    def record(self) -> Record:
        """The record as Kafka delivered it."""
        at = Place(self.topic, self.topic_id, self.partition)
        return Record(at, self.record_offset, self.aggregate_id, bytes(self.payload), self.headers, self.create_time)


@dataclass(frozen=True, slots=True)
class Redriven:
    """How many events were applied, and how many of the same aggregate still wait."""

    applied: int = 0
    remaining: int = 0


class ParkedEvents:
    """The parked events of a schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, after: int, limit: int) -> list[Parked]:
        """Some of them, the oldest first."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Parked)) as cursor:
            return cursor.execute(LIST, (after, limit)).fetchall()

    def get(self, parked_id: int) -> Parked | None:
        """One of them; None if it is gone. NotFound if it never was."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Parked)) as cursor:
            found = cursor.execute(GET, (parked_id,)).fetchone()
            given = found or connection.execute(GIVEN, (parked_id,)).fetchone()
        if isinstance(given, tuple) and not given[0]:
            raise NotFound
        return found

    def count(self) -> int:
        """How many there are."""
        with self._database.reading() as connection:
            row = connection.execute(COUNT).fetchone()
        return int(row[0]) if row else 0


class Redriver(Generic[W]):
    """The ways out, for what one reader has parked."""

    def __init__(
        self, books: Bookkeeping, work: Callable[[], W], handle: Handle, types: Mapping[str, type[Any]] | None
    ) -> None:
        self._books = books
        self._work = work
        self._handle = handle
        self._types = types

    def redrive(self, parked: Parked) -> Redriven:
        """Apply what is parked of an aggregate, as far as the caller's time reaches. StillRefused at the first no.

        Whatever may pass (a database that does not answer) is raised as it is, and leaves the rest parked.
        """
        applied = 0
        while self._time_is_left() and (first := self._first(parked)):
            try:
                applied += self._apply(first)
            except MAY_PASS:
                raise
            except Exception as error:
                self._refused(first, error)
                raise StillRefused(_reason(error), applied, self._remaining(parked)) from error
        return Redriven(applied, self._remaining(parked))

    def discard(self, parked: Parked) -> Redriven:
        """Give one up for good, and apply what waited behind it, as far as that goes."""
        with self._work() as work:
            self._hold(work.connection, parked)
            if work.connection.execute(REMOVE, (parked.id,)).rowcount and parked.behind is None and parked.version:
                # Should Kafka deliver it again, it counts as seen.
                self._books.pass_over(work.connection, parked.topic, parked.aggregate_id, parked.version)
        _log.warning("consumer.discarded", record=parked.record.label, type=parked.type, version=parked.version)
        if parked.behind is not None or not parked.aggregate_id:
            return Redriven(0, self._remaining(parked))
        try:
            return self.redrive(parked)
        except StillRefused as refusal:
            return Redriven(int(str(refusal.metadata["applied"])), int(str(refusal.metadata["remaining"])))

    @staticmethod
    def _time_is_left() -> bool:
        remaining = current_call().remaining
        return remaining is None or remaining > ENOUGH

    def _apply(self, expected: Parked) -> int:
        """Apply the first that is parked; 0 if somebody else was faster."""
        with self._work() as work:
            self._hold(work.connection, expected)
            if not work.connection.execute(REMOVE, (expected.id,)).rowcount:
                return 0
            delivery = expected.record.decoded(self._types)
            if delivery and self._books.is_new(work.connection, delivery):
                with log.bound(**delivery.context):
                    self._handle(work, [delivery])
                self._books.mark(work.connection, [delivery])
        _log.info("consumer.redriven", record=expected.record.label, type=expected.type, version=expected.version)
        return 1

    def _refused(self, parked: Parked, error: Exception) -> None:
        with self._work() as work:
            work.connection.execute(SAY, (_reason(error), parked.id))
        _log.error("consumer.still_refused", record=parked.record.label, reason=_reason(error), exc_info=error)

    @staticmethod
    def _hold(connection: Connection[Any], parked: Parked) -> None:
        connection.execute(HOLD, (parked.consumer, parked.topic))

    def _first(self, parked: Parked) -> Parked | None:
        with self._work() as work, work.connection.cursor(row_factory=class_row(Parked)) as cursor:
            return cursor.execute(NEXT, parked.key).fetchone()

    def _remaining(self, parked: Parked) -> int:
        with self._work() as work:
            row = work.connection.execute(REMAINING, parked.key).fetchone()
        return int(row[0]) if row else 0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
