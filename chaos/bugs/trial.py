"""The trials: every scenario on the sound build, then each bug's own on the build that has it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from chaos.bugs import scenarios
from chaos.bugs.catalogue import Bug
from chaos.bugs.run import VARIABLE
from chaos.bugs.scenarios import Scenario
from chaos.bugs.seeding import planted
from chaos.bugs.stage import Stage, Stuck
from chaos.nemesis.arena import Arena
from chaos.nemesis.history import History
from chaos.nemesis.verdict import Check
from chaos.sweep.control import Controls
from mercato.local.trouble import Trouble
from shop.rest import Refused

# One order service, so that a scenario knows who does what; and no longer pauses than a scenario cares to wait.
ENVIRONMENT = {
    "MERCATO_COPIES": "order=1",
    "MERCATO_INVENTORY_HOLD": "20s",
    "MERCATO_ORDER_LEASE": "2s",
    "MERCATO_PAYMENT_LEASE": "500ms",
    "MERCATO_PAYMENT_LONGEST_PAUSE": "2s",
}
RUNNER = "chaos.bugs.run"
TOLD = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial."""

    name: str
    checks: Sequence[Check]
    seconds: float
    planted: bool = True

    @property
    def broken(self) -> list[Check]:
        """The checks that found something."""
        return [check for check in self.checks if check.findings]


class Trials:
    """Runs them, and says how they go."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def run(self, bugs: Sequence[Bug], *, sound: bool) -> bool:
        """Whether the sound build passes everything, and every bug is caught."""
        passed = [self._sound(bugs)] if sound else []
        table = Table("bug", "caught by", "seconds", "for example", title="seeded bugs")
        for bug in bugs:
            result = self._try(bug)
            caught = caught_by(bug, result)
            passed.append(bool(caught) and result.planted)
            verdict = ", ".join(caught) or ("[red]not caught[/red]" if result.planted else "[red]not planted[/red]")
            table.add_row(bug.name, verdict, f"{result.seconds:.0f}", _example(bug, result))
            self._say(f"  {bug.name}: {verdict} after {result.seconds:.0f} s")
            if not caught:
                self._tell(result)
        self._console.print(table)
        return all(passed)

    def _sound(self, bugs: Iterable[Bug]) -> bool:
        """Every scenario on the code as it is: there must be nothing to find."""
        names = dict.fromkeys(bug.scenario for bug in bugs)
        began = time.monotonic()
        with staged() as stage:
            checks = [check for name in names for check in _played(stage, name)]
            checks += stage.judge()
        result = Result("sound", checks, time.monotonic() - began)
        self._tell(result)
        verdict = "nothing found" if not result.broken else "[red]not sound[/red]"
        self._say(f"  {len(names)} scenarios on the sound build: {verdict} after {result.seconds:.0f} s")
        return not result.broken

    def _try(self, bug: Bug) -> Result:
        began = time.monotonic()
        with staged({VARIABLE: bug.name}) as stage:
            if bug.schema:
                with closing(psycopg.connect(stage.arena.database_url, autocommit=True)) as connection:
                    connection.execute(bug.schema.encode())
            checks = [*_played(stage, bug.scenario), *stage.judge()]
            is_planted = all(_says(stage.arena, planted(edit.module)) for edit in bug.edits)
        return Result(bug.name, checks, time.monotonic() - began, is_planted)

    def _tell(self, result: Result) -> None:
        """What was found instead."""
        for check in result.broken:
            for finding in check.findings[:TOLD]:
                self._console.print(f"    {result.name}: {check.invariant} {finding}", style="red", markup=False)

    def _say(self, what: str) -> None:
        self._console.print(what, soft_wrap=True)


@contextmanager
def staged(environment: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """A stage on a mesh of its own."""
    with tempfile.TemporaryDirectory(prefix="mercato-bugs-") as folder:
        home, sockets = Path(folder, "home"), Path(folder, "f")
        told = {**ENVIRONMENT, "MERCATO_FAILPOINT_FOLDER": str(sockets), **(environment or {})}
        quiet = Console(quiet=True)
        with (
            Arena(home, quiet, RUNNER, told) as arena,
            History(Path(folder, "history.jsonl")) as history,
            closing(Stage(arena, history, Controls(sockets))) as stage,
        ):
            yield stage


def _played(stage: Stage, name: str) -> list[Check]:
    """Play a scenario; where it does not come to its end, that is a finding of its own."""
    scenario: Scenario = getattr(scenarios, name)
    try:
        scenario(stage)
    except (Stuck, Trouble, Refused) as stuck:
        return [Check("I6", f"{name} comes to its end.", 1, [f"it never came true: {stuck}"])]
    finally:
        stage.proxies.heal()
    return []


def caught_by(bug: Bug, result: Result) -> list[str]:
    """The invariants by which a bug was found, of those by which it is to be found."""
    return sorted({check.invariant for check in result.broken} & bug.caught_by)


def _says(arena: Arena, line: str) -> bool:
    return any(line.encode() in path.read_bytes() for path in arena.home.logs.glob("*.log"))


def _example(bug: Bug, result: Result) -> str:
    """One finding, by an invariant that was expected if there is one."""
    ordered = sorted(result.broken, key=lambda check: check.invariant not in bug.caught_by)
    return f"{ordered[0].invariant} {ordered[0].holds}: {ordered[0].findings[0]}" if ordered else ""
