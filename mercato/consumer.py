"""Consumers: events of other services, each applied once, in the order of its aggregate.

The transaction of the effect also advances the reader's position (a compare-and-set, which whoever lost the partition
fails) and raises the high-water mark of each aggregate; a version at or below its mark is skipped. That is all the
bookkeeping there is: Kafka's own offsets are a hint, and however often a record comes, its effect comes once.

    handle = handlers({StockReserved: lambda work, event, delivery: ...})
    Consumer(kafka, lambda: StockWork(database, "product"), "product.availability", [topic("inventory")], handle)

What fails for a reason that may pass (a database that does not answer, a lost race) is tried again for ever, and
nothing overtakes it. What fails for good is tried three times, then parked and told on `<topic>.dlq`; later events of
the same aggregate are parked behind it, all others flow on. Types that nobody here knows are passed over.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from mercato import log
from mercato.bookkeeping import WAITS, Bookkeeping, LostPartition, Place, Places
from mercato.delivery import MAY_PASS, Delivery, Record, Undecodable, record_of
from mercato.failpoint import failpoint
from mercato.kafka import Kafka, KafkaConsumer, dead_letters
from mercato.parking import Redriver
from mercato.postgres import Work
from mercato.telemetry import Counter

__all__ = ["Consumer", "Delivery", "Handle", "handlers"]

W = TypeVar("W", bound=Work)
Handle = Callable[[Any, Sequence[Delivery]], None]
"""What is done with the new events of a batch, in one transaction (a Work of the service)."""

BATCH = 500
WAIT = 0.1  # seconds that a round waits for the first record
ATTEMPTS = 3
HINT = timedelta(seconds=1)
# A client that is out of its group for so long is replaced, whatever keeps it out: nobody else would notice.
# While Kafka is away, or others take their time to join, a new one waits no worse than the old.
FORGOTTEN = timedelta(seconds=30)
LEAVING = 2.0  # seconds that a leave is waited for

APPLIED = Counter("mercato_consumer_applied", "Events whose effect was committed.", ("consumer",))
PARKED = Counter("mercato_consumer_parked", "Events that could not be applied.", ("consumer",))
_log = log.get(__name__)


class Handlers:
    """A handle made of one function for each type of event; events of other types are passed over."""

    def __init__(self, functions: Mapping[type[Any], Callable[[Any, Any, Delivery], None]]) -> None:
        self.types = {cls.DESCRIPTOR.full_name: cls for cls in functions}
        self._functions = {cls.DESCRIPTOR.full_name: function for cls, function in functions.items()}

    def __call__(self, work: Any, deliveries: Sequence[Delivery]) -> None:
        """Apply events one after the other."""
        for each in deliveries:
            with log.bound(**each.context):
                self._functions[each.type](work, each.event, each)


def handlers(functions: Mapping[type[Any], Callable[[Any, Any, Delivery], None]]) -> Handlers:
    """A handle of functions `(work, event, delivery)`, each for one type of event."""
    return Handlers(functions)


class Consumer(Generic[W]):
    """Reads topics as a member of a group, and applies what is new."""

    idle = 0.0  # a round waits for Kafka by itself
    gather = 0.05

    def __init__(self, kafka: Kafka, work: Callable[[], W], group: str, topics: Iterable[str], handle: Handle) -> None:
        """A reader that joins its group when it is first asked to work. The group's name is that of the position."""
        self.name = group
        self.places: Places = {}
        self._kafka = kafka
        self._work = work
        self._topics = tuple(topics)
        self._handle = handle
        self._types: Mapping[str, type[Any]] | None = getattr(handle, "types", None)
        self._books = Bookkeeping(group)
        self._client: KafkaConsumer | None = None
        self._trouble: Exception | None = None
        self._hint_due: datetime | None = None
        self._is_member = False
        self._seen: datetime | None = None

    def run_once(self, now: datetime) -> bool:
        """Apply what has come; waits a moment for it. Raises what is to be tried again, having gone back to it."""
        try:
            records = self._poll(self._joined())
            if not records:
                return self._leave_if_forgotten(now)
            self._seen = now
            self._apply(records)
        except LostPartition:
            _log.warning("consumer.overtaken", consumer=self.name)
            self._leave()
            return True
        except Exception:
            self._go_back()
            raise
        self._hint(now)
        return True

    @property
    def topics(self) -> tuple[str, ...]:
        """What it reads."""
        return self._topics

    # Kafka.

    def _joined(self) -> KafkaConsumer:
        if self._client is None:
            self._kafka.make(name for topic in self._topics for name in (topic, dead_letters(topic)))
            self._client = self._kafka.consumer(self.name, steady=self._steady)
            self._client.subscribe(
                [*self._topics], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
            )
        return self._client

    def _steady(self) -> None:
        self._is_member = True

    def _leave_if_forgotten(self, now: datetime) -> bool:
        if self._is_member or self._seen is None:
            self._is_member, self._seen = False, now
        if now - self._seen < FORGOTTEN:
            return False
        _log.warning("consumer.forgotten", consumer=self.name)
        self._leave()
        return True

    def _assigned(self, client: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Start where the database says. What goes wrong here is raised by the round, not by Kafka's callback."""
        try:
            ids = self._kafka.topic_ids({each.topic for each in partitions})
            places = [Place(each.topic, ids[each.topic], each.partition) for each in partitions]
            with self._work() as work:
                found = self._books.open(work.connection, places)
        except Exception as error:  # noqa: BLE001  raised by the round, see above
            self._trouble = error
            return
        self.places.update(found)
        client.incremental_assign([TopicPartition(at.topic, at.partition, offset) for at, offset in found.items()])

    def _revoked(self, client: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        if client is not self._client:  # of one that is still leaving
            return
        gone = {(each.topic, each.partition) for each in partitions}
        self.places = {at: next_ for at, next_ in self.places.items() if (at.topic, at.partition) not in gone}

    def _poll(self, client: KafkaConsumer) -> list[Record]:
        first = client.poll(WAIT)
        rest = client.consume(BATCH - 1, 0) if first is not None else []
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            self._leave()
            raise trouble
        places = {(at.topic, at.partition): at for at in self.places}
        return [
            record_of(message, at)
            for message in (first, *rest)
            if message is not None and self._is_record(message)
            # A partition that was taken away during the poll leaves records behind.
            if (at := places.get((message.topic() or "", message.partition() or 0)))
        ]

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal():
            raise KafkaException(error)
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  the library names it so
            _log.warning("consumer.trouble", consumer=self.name, problem=error.str())
        return False

    def _go_back(self) -> None:
        """Read again from what is committed."""
        try:
            for at, offset in self.places.items():
                if self._client is not None:
                    self._client.seek(TopicPartition(at.topic, at.partition, offset))
        except KafkaException:
            self._leave()

    def _leave(self) -> None:
        """Leave the group. The next round joins it anew and starts from what is committed."""
        client, self._client = self._client, None
        if client is not None:
            # Where Kafka went away with a hint under way, closing ends when it is back, or not at all.
            leaving = threading.Thread(target=client.close, name=f"leave-{self.name}", daemon=True)
            leaving.start()
            leaving.join(LEAVING)
        self.places = {}
        self._seen = None

    def _hint(self, now: datetime) -> None:
        if self._client is None or (self._hint_due is not None and now < self._hint_due):
            return
        self._hint_due = now + HINT
        offsets = [TopicPartition(at.topic, at.partition, offset) for at, offset in self.places.items() if offset > 0]
        if offsets:
            failpoint("before_ack")
            self._client.commit(offsets=offsets, asynchronous=True)
            failpoint("after_ack")

    def close(self) -> None:
        """Leave the group."""
        self._leave()

    # Effects.

    @property
    def redriver(self) -> Redriver[W]:
        """The way out for what was parked."""
        return Redriver(self._books, self._work, self._handle, self._types)

    def _apply(self, records: Sequence[Record]) -> None:
        """All of it in one transaction. If that fails for good, one by one: a bad record must not cost the others."""
        try:
            self._commit(records)
        except (*MAY_PASS, LostPartition):
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises
            _log.warning("consumer.one_by_one", consumer=self.name, records=len(records), problem=repr(error))
            for each in records:
                self._apply_one(each)

    def _apply_one(self, record: Record) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._commit([record])
            except (*MAY_PASS, LostPartition):
                raise
            except Exception as error:  # noqa: BLE001  whatever a handler raises
                if attempt == ATTEMPTS:
                    self._park(record, error)
        return None

    def _commit(self, records: Sequence[Record]) -> None:
        with self._work() as work:
            advanced = self._books.advance(work.connection, self.places, records)
            deliveries, passed = self._decoded(records)
            fresh, waiting = self._books.sort_out(work.connection, deliveries)
            if fresh:
                self._handle(work, fresh)
                self._books.mark(work.connection, fresh)
            self._books.park(work.connection, waiting, WAITS)
            self._books.note(work.connection, passed)
        self.places.update(advanced)
        APPLIED.add(self.name, amount=len(fresh))

    def _decoded(self, records: Iterable[Record]) -> tuple[list[Delivery], list[Record]]:
        """The events that are handled here, and the records of others."""
        found = [(each, each.decoded(self._types)) for each in records]
        return [event for _, event in found if event is not None], [each for each, event in found if event is None]

    def _park(self, record: Record, error: Exception) -> None:
        """Put a record aside, tell of it on the dead-letter topic, and go on."""
        reason = f"{type(error).__name__}: {error}"
        context = {} if isinstance(error, Undecodable) else record.context
        with log.bound(**context), self._work() as work:
            advanced = self._books.advance(work.connection, self.places, [record])
            self._books.park(work.connection, [record], reason)
            work.send(record.dead_letter(self.name, reason))
        self.places.update(advanced)
        PARKED.add(self.name)
        _log.error("consumer.parked", consumer=self.name, record=record.label, reason=reason, exc_info=error)
