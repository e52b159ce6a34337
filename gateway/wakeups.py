"""Hints that an order has changed, from Kafka, read without a group: every gateway process sees all of them.

A hint only says "look now". What happened is read from the order service by version, so a hint that is lost, late or
doubled costs a look and nothing else; while Kafka is away, streams look by themselves now and then.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mercato import log

_POLL, _MANY = 0.5, 1000


class Wakeups:
    """Wakes whoever waits for news of an order."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def of(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set when there is news, for as long as the block lasts."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def wake(self, key: str) -> None:
        """Say that there is news of one; from the loop's own thread."""
        for event in self._waiting.get(key, ()):
            event.set()

    def wake_all(self) -> None:
        """Say that there may be news of any."""
        for events in self._waiting.values():
            for event in events:
                event.set()


class KafkaHints:
    """The thread that turns messages of a topic into wake-ups of a loop."""

    def __init__(self, bootstrap: str, topic: str, wakeups: Wakeups) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._wakeups = wakeups
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen, for tasks of this loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        from confluent_kafka import Consumer

        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                # Required by the client; nothing is ever committed or balanced under this name.
                "group.id": "gateway.hints",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "log_level": 2,  # that Kafka is away is said once, by us
                "reconnect.backoff.ms": 250,
                "reconnect.backoff.max.ms": 5000,
            },
        )
        try:
            while not self._ending.is_set() and not self._assign(consumer):
                self._ending.wait(_POLL)
            while not self._ending.is_set():
                # The first is passed on at once; asked for many, the client would wait until it has them.
                first = consumer.poll(_POLL)
                self._pass_on([first, *consumer.consume(_MANY, 0)] if first else [])
        finally:
            consumer.close()

    def _assign(self, consumer: Any) -> bool:
        """Listen to every partition from its end; False while Kafka or the topic is away."""
        from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

        try:
            found = consumer.list_topics(self._topic, timeout=2).topics[self._topic].partitions
        except KafkaException as problem:
            log.get(__name__).warning("hints.kafka_away", problem=str(problem))
            return False
        consumer.assign([TopicPartition(self._topic, number, OFFSET_END) for number in found])
        return bool(found)

    def _pass_on(self, messages: list[Any]) -> None:
        keys = {message.key().decode() for message in messages if not message.error() and message.key()}
        if keys and not self._ending.is_set():
            self._loop.call_soon_threadsafe(self._wake, keys)

    def _wake(self, keys: set[str]) -> None:
        for key in keys:
            self._wakeups.wake(key)
