"""Background work: a worker does one piece when asked, a loop asks it again and again on a thread of its own.

Loops, back-off and threads live only here. A worker that failed is asked again, later and later; what a `kill -9`
interrupts is picked up by the next `run_once` of whoever lives, so stopping only ever waits for the present piece.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from mercato import log
from mercato.clock import Clock
from mercato.errors import MercatoError
from mercato.failpoint import UseCase
from mercato.telemetry import Counter

IDLE = 0.2  # seconds between two looks when there is nothing to do and nobody wakes the worker
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
HUNG = 600.0

FAILURES = Counter("mercato_worker_failures", "Pieces of background work that failed.", ("worker",))
_log = log.get(__name__)


class Worker(Protocol):
    """Something that does its work in pieces."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    def run_once(self, now: datetime, /) -> bool:
        """Do one piece; False if there was nothing to do."""
        ...


@runtime_checkable
class Wakeable(Protocol):
    """A worker that is told when there is something to do."""

    wake: threading.Event


@runtime_checkable
class Gathering(Protocol):
    """A worker that under load does more at a time instead of asking more often: its rounds begin so far apart.

    What comes alone is done at once. Each round costs the same whatever it carries, so many small ones are the dearest
    way to do anything.
    """

    gather: float  # seconds


@runtime_checkable
class Closable(Protocol):
    """A worker with something to give back when it stops."""

    def close(self) -> None:
        """Give it back."""
        ...


@dataclass(slots=True)
class Every:
    """Does something regularly."""

    pause: timedelta
    act: Callable[[], object]
    name: str
    due: datetime | None = None
    wake: threading.Event = field(default_factory=threading.Event)

    def run_once(self, now: datetime, /) -> bool:
        """Do it if it is due. What returns True had more to do than it did, and is asked again at once."""
        if self.due is not None and now < self.due:
            return False
        more = self.act() is True
        self.due = now if more else now + self.pause
        return more


def every(pause: timedelta | float, act: Callable[[], object], name: str = "") -> Every:
    """A worker that calls `act` with a pause (seconds) in between."""
    pause = pause if isinstance(pause, timedelta) else timedelta(seconds=pause)
    return Every(pause, act, name or getattr(act, "__name__", "every"))


@runtime_checkable
class Paced(Protocol):
    """A worker that says how long (seconds) it may be left alone when it had nothing to do."""

    idle: float


class Loop(threading.Thread):
    """Asks one worker again and again until it is stopped."""

    def __init__(self, worker: Worker, clock: Clock, process: str = "") -> None:
        """A loop that waits to be started, in the process of a name."""
        super().__init__(name=worker.name, daemon=True)
        self._worker = worker
        self._use_case = _use_case(process, worker.name)
        self._clock = clock
        self._wake = worker.wake if isinstance(worker, Wakeable) else threading.Event()
        self._idle = worker.idle if isinstance(worker, Paced) else IDLE
        self._gather = worker.gather if isinstance(worker, Gathering) else 0.0
        self._stopping = threading.Event()
        self._asked = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the thread still goes round."""
        return self.is_alive() and time.monotonic() - self._asked < HUNG

    def run(self) -> None:
        """Go round."""
        with UseCase(self._use_case):
            self._go_round()

    def _go_round(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._asked = time.monotonic()
            try:
                with log.bound(worker=self._worker.name):
                    worked = self._worker.run_once(self._clock.now())
                failures, pause = 0, 0.0 if worked else self._idle
            except Exception as problem:  # noqa: BLE001  a loop outlives whatever its worker meets
                failures += 1
                pause = self._failed(problem, failures)
            self._rest(pause)
        self._close()

    def _rest(self, pause: float) -> None:
        """Until the pause is over or somebody wakes the worker, and then for as long as it gathers."""
        if pause and not self._stopping.is_set():
            self._wake.wait(pause)
        if self._gather:
            self._stopping.wait(max(0.0, self._asked + self._gather - time.monotonic()))
        self._wake.clear()

    def _close(self) -> None:
        if isinstance(self._worker, Closable):
            try:
                self._worker.close()
            except Exception:  # noqa: BLE001  what it held dies with the process
                _log.exception("worker.unclosed", worker=self._worker.name)

    def _failed(self, problem: Exception, failures: int) -> float:
        FAILURES.add(self._worker.name)
        pause = random.uniform(0.5, 1.0) * min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)  # noqa: S311
        expected = isinstance(problem, MercatoError)
        detail = {"problem": str(problem)} if expected else {"exc_info": problem}
        _log.warning("worker.failed", worker=self._worker.name, failures=failures, pause=round(pause, 2), **detail)
        return pause

    def stop(self) -> None:
        """Stop after the present piece."""
        self._stopping.set()
        self._wake.set()


def _use_case(process: str, worker: str) -> str:
    """What failpoints call it: `order.process`, whichever of its several threads it is."""
    name = worker.rstrip("-0123456789")
    return name if not process or name.startswith(f"{process}.") else f"{process}.{name}"
