"""How far long work has come: a bar in a terminal, a line when done elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]


class Stages:
    """Announces the stages of a longer work on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """Tell something between stages."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """A stage, advanced by what it gives; how long it took stands behind its name when it ends well."""
        began = time.monotonic()
        if not self._console.is_terminal:
            yield _nothing
        else:
            with _bar(self._console) as bar:
                task = bar.add_task(name, total=total)
                yield lambda steps: bar.advance(task, steps)
        self.say(f"{name:<44} {time.monotonic() - began:6.1f} s")


def _nothing(_steps: int) -> None:
    """Nobody watches."""


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
