"""Which aggregates something happened to, from Kafka, read without a group: every gateway process hears all of it.

Only the keys of events are looked at. Whoever rests on hearing of everything (kept replies) is told as well when the
feed does not keep up, or Kafka is away.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mercato import log
from mercato.errors import Unavailable
from mercato.kafka import Kafka

_POLL, _MANY = 0.2, 1000
_LOOK = 1.0  # seconds between looks at whether the feed keeps up
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A topic, since when it is read (seconds before the start), and who is told the keys of its events."""

    topic: str
    since: float
    tell: Callable[[Iterable[str]], None]


class Feed:
    """The thread that passes events' keys on to the loop."""

    def __init__(self, bootstrap: str, subjects: Sequence[Subject], sight: Callable[[bool], None]) -> None:
        """`sight` is told, now and then and whenever it changes, whether all that happened has been passed on."""
        self._kafka = Kafka(bootstrap, patience=_PATIENCE)
        self._subjects = {each.topic: each for each in subjects}
        self._sight = sight
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._asking: Any = None
        self._ends: list[int] = []
        self._look_due = 0.0
        self._began: dict[tuple[str, int], int] = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen, for tasks of this loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        # Nothing is ever committed or balanced under this name. There are two, for on the connection that waits for
        # events every other question would wait as well.
        consumer, self._asking = self._kafka.consumer("gateway.feed"), self._kafka.consumer("gateway.feed")
        try:
            while not self._ending.is_set() and not self._assign(consumer):
                self._ending.wait(_POLL)
            while not self._ending.is_set():
                # The first is passed on at once; asked for many, the client would wait until it has them.
                first = consumer.poll(_POLL)
                # (A message without a value counts as false.)
                self._pass_on([first, *consumer.consume(_MANY, 0)] if first is not None else [])
                self._look(consumer)
        finally:
            self._asking.close()
            consumer.close()

    def _assign(self, consumer: Any) -> bool:
        """Listen to every partition from where its subject begins; False while Kafka is away."""
        from confluent_kafka import KafkaException

        try:
            self._kafka.make(self._subjects)
            consumer.assign([at for each in self._subjects.values() for at in self._begin(each)])
        except (KafkaException, Unavailable) as problem:
            log.get(__name__).warning("feed.kafka_away", problem=str(problem))
            return False
        return True

    def _begin(self, subject: Subject) -> list[Any]:
        from confluent_kafka import TopicPartition

        numbers = self._asking.list_topics(subject.topic, timeout=_PATIENCE).topics[subject.topic].partitions
        if not numbers:  # made just now: the client does not know of it yet
            raise Unavailable(f"{subject.topic} has no partitions")
        since = int((time.time() - subject.since) * 1000)
        wanted = [TopicPartition(subject.topic, number, since) for number in numbers]
        found = self._asking.offsets_for_times(wanted, timeout=_PATIENCE)
        for at in found:
            if at.offset < 0:  # nothing is as young: from the end that there is now, in figures
                at.offset = self._asking.get_watermark_offsets(at, timeout=_PATIENCE)[1]
            self._began[at.topic, at.partition] = at.offset
        return list(found)

    def _pass_on(self, messages: list[Any]) -> None:
        found: dict[str, set[str]] = defaultdict(set)
        for message in messages:
            if not message.error() and message.key():
                found[message.topic()].add(message.key().decode())
        for topic, keys in found.items():
            self._tell(self._subjects[topic].tell, keys)

    def _look(self, consumer: Any) -> None:
        """See whether everything there is has been passed on."""
        if time.monotonic() >= self._look_due:
            self._tell(self._sight, self._keeps_up(consumer))
            self._look_due = time.monotonic() + _LOOK

    def _keeps_up(self, consumer: Any) -> bool:
        """Whether all that was there a look ago has been passed on; what came since is on its way."""
        from confluent_kafka import KafkaException

        watched = [at for at in consumer.assignment() if self._subjects[at.topic].since]
        try:
            # Before the first record a position is no number yet.
            read = [max(at.offset, self._began[at.topic, at.partition]) for at in consumer.position(watched)]
            ends = [self._asking.get_watermark_offsets(at, timeout=_PATIENCE)[1] for at in watched]
        except KafkaException:
            return False
        before, self._ends = self._ends, ends
        return all(position >= end for position, end in zip(read, before or ends, strict=True))

    def _tell(self, function: Callable[[Any], None], what: object) -> None:
        if not self._ending.is_set():
            self._loop.call_soon_threadsafe(function, what)
