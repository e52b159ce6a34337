"""The postman: brings webhooks to whoever is to be told, again and again until they are taken.

Like Stripe, it promises that each comes, not that it comes once, soon, or in order.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from mercato import log
from simulator.config import SimulatorConfig
from simulator.event import Event, events_of
from simulator.faults import Dice
from simulator.record import Json, restore

_COPIES = 5
_THREADS = 2
_HELD_BACK = 1.0  # seconds, at most, for the fault `shuffle`
_LONGEST_PAUSE = 60.0
_Letter = tuple[float, int, Event, int]  # due, tie-breaker, what, how often it was tried
_log = log.get(__name__)


class Taken:
    """Which events were taken, on the disk; a lost line costs a repeat. What was there before it began is not told."""

    def __init__(self, path: Path, lines: Sequence[Json]) -> None:
        """Read what there is of it; `lines` is the log as it stands."""
        first, *ids = path.read_text().split("\n") if path.exists() else [str(len(lines))]
        self.missing = list(self._told_of(lines[int(first) :], frozenset(ids)))
        if not self.missing:
            # All of it was taken: from now on its length says so.
            path.write_text(f"{len(lines)}\n")
        self._file = path.open("a", buffering=1)

    @staticmethod
    def _told_of(lines: Iterable[Json], ids: frozenset[str]) -> Iterator[Event]:
        """The events of the log that are not taken yet."""
        for line in lines:
            told = events_of(line, [restore(fields) for fields in line["changes"]])
            yield from (event for event in told if event.id not in ids)

    def add(self, event: Event) -> None:
        """It was taken."""
        self._file.write(f"{event.id}\n")

    def close(self) -> None:
        """No more will be."""
        self._file.close()


class Postman:
    """Threads that carry letters. `send` never waits."""

    def __init__(self, config: SimulatorConfig, dice: Dice, taken: Taken) -> None:
        self._config = config
        self._dice = dice
        self._taken = taken
        self._letters: list[_Letter] = []
        self._numbers = itertools.count()
        self._news = threading.Condition()
        self._ending = False
        self._threads = [threading.Thread(target=self._carry, daemon=True) for _ in range(_THREADS)]
        for event in taken.missing:
            self.send(event)
        for thread in self._threads:
            thread.start()

    def send(self, event: Event) -> None:
        """Have an event told: at once and once, but for the faults."""
        copies = _COPIES if self._dice.strikes("duplicate") else 1
        for _ in range(copies):
            delay = self._config.late.total_seconds() if event.late or self._dice.strikes("late") else 0.0
            delay += _HELD_BACK * self._dice.part() if self._dice.strikes("shuffle") else 0.0
            self._put(delay, event, 0)

    def _put(self, delay: float, event: Event, tries: int) -> None:
        with self._news:
            heapq.heappush(self._letters, (time.monotonic() + delay, next(self._numbers), event, tries))
            self._news.notify()

    def _due(self) -> Iterator[_Letter]:
        """Letters when their time has come, until the end."""
        while True:
            with self._news:
                while not self._ending and not (self._letters and self._letters[0][0] <= time.monotonic()):
                    self._news.wait(self._letters[0][0] - time.monotonic() if self._letters else None)
                if self._ending:
                    return
                letter = heapq.heappop(self._letters)
            yield letter

    def _carry(self) -> None:
        with _Door(self._config) as door:
            for _, _, event, tries in self._due():
                if door.takes(event):
                    self._taken.add(event)
                else:
                    pause = self._config.webhook_retry.total_seconds() * 2.0 ** min(tries, 16)
                    self._put(min(pause, _LONGEST_PAUSE), event, tries + 1)

    def close(self) -> None:
        """End; what was not taken is told by the next process."""
        with self._news:
            self._ending = True
            self._news.notify_all()
        for thread in self._threads:
            thread.join()
        self._taken.close()


class _Door:
    """One connection to whoever is to be told."""

    def __init__(self, config: SimulatorConfig) -> None:
        url = urlsplit(config.webhook_url)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=config.webhook_timeout.total_seconds())
        self._path = url.path or "/"
        self._secret = config.webhook_secret.reveal()

    def __enter__(self) -> _Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def takes(self, event: Event) -> bool:
        """Whether an event was taken. An answer that did not come is none."""
        signature = event.signature(self._secret, int(time.time()))
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
        try:
            self._connection.request("POST", self._path, event.body, headers)
            reply = self._connection.getresponse()
            reply.read()
        except (OSError, HTTPException) as failure:
            _log.info("webhook.not_taken", event_id=event.id, why=str(failure) or type(failure).__name__)
            self._connection.close()
            return False
        if not 200 <= reply.status < 300:
            _log.info("webhook.not_taken", event_id=event.id, status=reply.status)
        return 200 <= reply.status < 300
