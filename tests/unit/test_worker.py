"""Loops and what they do with workers that work, rest and fail."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from mercato.failpoint import failpoint, passed, record
from mercato.testing import FixedClock
from mercato.worker import FAILURES, Loop, every

LONG = 60.0


class Scripted:
    """A worker that does what it was told, step by step, then rests."""

    def __init__(self, *steps: Callable[[], bool]) -> None:
        self.name = "scripted"
        self.wake = threading.Event()
        self.done = threading.Event()
        self.closed = False
        self._steps = list(steps)

    def run_once(self, _now: datetime) -> bool:
        """Do the next step."""
        if not self._steps:
            self.done.set()
            return False
        return self._steps.pop(0)()

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Gathering(Scripted):
    """A worker whose rounds begin an hour apart."""

    gather = 3600.0

    @property
    def left(self) -> int:
        """The steps that it was not asked for."""
        return len(self._steps)


def fails() -> bool:
    """A step that goes wrong."""
    raise ValueError("no")


def passes() -> bool:
    """A step that passes a place."""
    failpoint("before_commit")
    return False


def go_round(worker: Scripted) -> None:
    """Let a loop run until the worker has done all, then stop it."""
    loop = Loop(worker, FixedClock())
    loop.start()
    assert worker.done.wait(LONG)
    assert loop.alive
    loop.stop()
    loop.join(LONG)
    assert not loop.is_alive()


def test_a_worker_is_asked_again_while_there_is_work_and_closed_at_the_end() -> None:
    worker = Scripted(*[lambda: True] * 1000)
    go_round(worker)
    assert worker.closed


def test_a_worker_that_fails_is_asked_again() -> None:
    before = FAILURES.value("scripted")
    go_round(Scripted(fails, fails, lambda: True))
    assert FAILURES.value("scripted") == before + 2


def test_a_resting_worker_is_woken() -> None:
    worker = Scripted(lambda: False)
    worker.wake.set()
    go_round(worker)


def test_a_worker_that_gathers_is_left_alone_for_a_while_though_it_is_woken_and_stops_at_once() -> None:
    begun = threading.Event()

    def begins() -> bool:
        begun.set()
        worker.wake.set()
        return True

    worker = Gathering(begins, lambda: True)
    loop = Loop(worker, FixedClock())
    loop.start()
    assert begun.wait(LONG)
    loop.stop()
    loop.join(LONG)
    assert worker.closed
    assert not worker.done.is_set()
    assert worker.left == 1


def test_what_is_done_regularly_waits_for_its_time() -> None:
    clock, done = FixedClock(), []
    worker = every(timedelta(minutes=1), lambda: done.append(1), "sweep")
    for _ in range(3):
        worker.run_once(clock.now())
    assert len(done) == 1
    clock.forward(timedelta(minutes=1))
    worker.run_once(clock.now())
    assert len(done) == 2


def test_what_has_more_to_do_is_asked_again_at_once() -> None:
    clock, left = FixedClock(), [True, True, False]
    worker = every(60, lambda: left.pop(0), "sweep")
    assert [worker.run_once(clock.now()) for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("process", "worker", "use_case"),
    [
        ("order", "process-2", "order.process"),
        ("payment", "payment.resolve", "payment.resolve"),
        ("inventory", "relay", "inventory.relay"),
        ("", "scripted", "scripted"),
    ],
)
def test_places_that_a_worker_passes_are_named_by_it(process: str, worker: str, use_case: str) -> None:
    scripted = Scripted(passes)
    scripted.name = worker
    record(on=True, development=True)
    try:
        loop = Loop(scripted, FixedClock(), process)
        loop.start()
        assert scripted.done.wait(LONG)
        loop.stop()
        loop.join(LONG)
        assert passed() == {f"{use_case}.before_commit": 1}
    finally:
        record(on=False, development=True)
