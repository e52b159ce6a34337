"""A run of the nemesis, from the schedule to the verdict."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from chaos.nemesis import report
from chaos.nemesis.arena import Arena
from chaos.nemesis.history import History
from chaos.nemesis.people import Person, Place, decide
from chaos.nemesis.schedule import draw
from chaos.nemesis.staff import Refunder, crowd, live
from chaos.nemesis.striker import Striker
from chaos.nemesis.verdict import judge
from chaos.rest import come_to_rest

TELL_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted of a run."""

    seed: int
    seconds: float = 120.0
    shoppers: int = 8
    rest_within: float = 240.0
    folder: Path | None = None


class Nemesis:
    """One run."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._over = threading.Event()

    def run(self) -> bool:
        """Everything; whether all invariants hold."""
        with ExitStack() as opened:
            folder = self._plan.folder or Path(tempfile.mkdtemp(prefix="mercato-nemesis-"))
            arena = opened.enter_context(Arena(folder, self._console))
            history = opened.enter_context(History(folder / "history.jsonl"))
            place = Place(arena.mesh.url, arena.mesh.demo_password, self._plan.seed, history)
            people = crowd(place, self._plan.shoppers)
            for person in people:
                opened.callback(person.close)
            striker = self._play(arena, people, history)
            return self._judge(arena, people, history, striker)

    def _play(self, arena: Arena, people: Sequence[Person], history: History) -> Striker:
        """Let people live while the schedule strikes."""
        schedule = draw(self._plan.seed, self._plan.seconds, arena.processes, arena.proxies.names)
        report.show_schedule(self._console, self._plan.seed, schedule)
        striker = Striker(arena, schedule)
        threads = live(people, self._over)
        striking = threading.Thread(target=striker.run, args=(self._over,), name="striker", daemon=True)
        striking.start()
        self._watch(history)
        self._over.set()
        for thread in [*threads, striking]:
            thread.join(30)
        return striker

    def _watch(self, history: History) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self._plan.seconds:
            self._over.wait(min(TELL_EVERY, self._plan.seconds - passed))
            unknown = len(history.undecided)
            self._say(
                f"{time.monotonic() - began:5.0f} s  {len(history.operations)} operations, {unknown} of them open"
            )

    def _judge(self, arena: Arena, people: Sequence[Person], history: History, striker: Striker) -> bool:
        known = history.tally()
        self._say("healing")
        arena.heal()
        undecided = decide(people, lambda: history.undecided, self._plan.rest_within)
        rest = come_to_rest(arena.mesh, self._plan.rest_within, self._say)
        finance = next(person for person in people if isinstance(person, Refunder))
        checks = judge(arena, history, people, finance)
        for table in (
            report.faults(striker.struck),
            report.operations(history, known),
            report.invariants(checks, rest),
        ):
            self._console.print(table)
        told = report.findings(checks, rest)
        if undecided:
            told.append(f"I6 never decided: {len(undecided)} operations, such as {undecided[0]}")
        for line in told:
            self._console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
        self._say(f"history: {history.path}")
        return not told

    def _say(self, what: str) -> None:
        self._console.print(what, highlight=False, markup=False, soft_wrap=True)
