"""Hints that an order has changed.

A hint only says "look now". What happened is read from the order service by version, so a hint that is lost, late or
doubled costs a look and nothing else; while Kafka is away, streams look by themselves now and then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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

    def wake_each(self, keys: Iterable[str]) -> None:
        """The same of some."""
        for key in keys:
            self.wake(key)

    def wake_all(self) -> None:
        """Say that there may be news of any."""
        for events in self._waiting.values():
            for event in events:
                event.set()
