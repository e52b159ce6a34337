"""How long a fuzz goes on, and with how many threads; a bar shows how far it is."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

THREADS = 6


class Tempo:
    """Numbers for cases, until there were enough of them or the time is over."""

    def __init__(self, name: str, cases: int, seconds: float, console: Console, first: int = 0) -> None:
        """Numbers from `first` on: those of an earlier run with the same seed were had."""
        self._name = name
        self._cases = cases
        self._seconds = seconds
        self._console = console
        self.first, self._end = first, first + cases
        self._numbers = itertools.count(first)
        self._ends = 0.0
        self._failed: list[BaseException] = []

    def run(self, work: Callable[[Tempo], None]) -> None:
        """Do the work on every thread. What a thread raises ends all of them, and is raised."""
        self._ends = time.monotonic() + self._seconds
        columns = (TextColumn(self._name), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as self._bar:
            self._task = self._bar.add_task("", total=self._cases)
            threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._failed:
            raise self._failed[0]

    def __iter__(self) -> Iterator[int]:
        for number in self._numbers:
            if number >= self._end or time.monotonic() > self._ends or self._failed:
                return
            yield number
            self._bar.advance(self._task)

    def _run(self, work: Callable[[Tempo], None]) -> None:
        try:
            work(self)
        except BaseException as raised:  # noqa: BLE001  told by the thread that waits
            self._failed.append(raised)
