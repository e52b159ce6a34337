"""The trials: every scenario on the sound build, then each bug's own on the build that has it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
    # It would mend what it finds.
    "MERCATO_AUDITOR_EVERY": "24h",
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
    """Runs them, and says how they go.

    All on one mesh: first every scenario as the code is; then for each bug the processes that it is in are restarted
    with it, and without it when its scenario is over. What was found before is not found again. Or each bug apart, on
    a mesh of its own all of whose processes have it: slower, and beyond doubt.
    """

    def __init__(self, console: Console, *, apart: bool = False) -> None:
        self._console = console
        self._apart = apart
        self._known: set[Key] = set()

    def run(self, bugs: Sequence[Bug], *, sound: bool) -> bool:
        """Whether the sound build passes everything, and every bug is caught."""
        with staged() as stage:
            passed = [self._sound(stage, bugs)] if sound else []
            results = [] if self._apart else [self._tried(bug, partial(self._try_here, stage)) for bug in bugs]
        results += [self._tried(bug, self._try_apart) for bug in bugs] if self._apart else []
        table = Table("bug", "caught by", "seconds", "for example", title="seeded bugs")
        for bug, result in zip(bugs, results, strict=True):
            table.add_row(bug.name, _verdict(bug, result), f"{result.seconds:.0f}", _example(bug, result))
        self._console.print(table)
        return all([*passed, *(bool(caught_by(bug, result)) for bug, result in zip(bugs, results, strict=True))])

    def _sound(self, stage: Stage, bugs: Iterable[Bug]) -> bool:
        """Every scenario on the code as it is: there must be nothing to find."""
        names = dict.fromkeys(bug.scenario for bug in bugs)
        began = time.monotonic()
        checks = [check for name in names for check in _played(stage, name)]
        result = Result("sound", [*checks, *stage.judge()], time.monotonic() - began)
        self._known.update(_keys(result.checks))
        verdict = "nothing found" if not result.broken else "[red]not sound[/red]"
        self._say(f"  {len(names)} scenarios on the sound build: {verdict} after {result.seconds:.0f} s")
        self._tell(result)
        return not result.broken

    def _tried(self, bug: Bug, tries: Callable[[Bug], tuple[Sequence[Check], bool]]) -> Result:
        """Try a bug, and say what came of it."""
        began = time.monotonic()
        checks, planted_ = tries(bug)
        result = Result(bug.name, checks, time.monotonic() - began, planted_)
        self._say(f"  {bug.name}: {_verdict(bug, result)} after {result.seconds:.0f} s")
        if not caught_by(bug, result):
            self._tell(result)
        return result

    def _try_here(self, stage: Stage, bug: Bug) -> tuple[Sequence[Check], bool]:
        mesh = stage.arena.mesh
        for name in bug.processes:
            mesh.restart(name, {VARIABLE: bug.name})
        checks = _attempted(stage, bug)
        for name in bug.processes:
            mesh.restart(name)
        fresh = [_without(check, self._known) for check in checks]
        self._known.update(_keys(checks))
        return fresh, _planted(stage, bug)

    @staticmethod
    def _try_apart(bug: Bug) -> tuple[Sequence[Check], bool]:
        with staged({VARIABLE: bug.name}) as stage:
            return _attempted(stage, bug), _planted(stage, bug)

    def _tell(self, result: Result) -> None:
        """What was found, if it is not what was looked for."""
        for check in result.broken:
            for finding in check.findings[:TOLD]:
                self._console.print(f"    {result.name}: {check.invariant} {finding}", style="red", markup=False)

    def _say(self, what: str) -> None:
        self._console.print(what, soft_wrap=True)


Key = tuple[str, str, str]


def _key(check: Check, finding: str) -> Key:
    """What a finding is about; the rest of it may change while nothing happens."""
    return check.invariant, check.holds, finding.partition(":")[0]


def _keys(checks: Iterable[Check]) -> set[Key]:
    return {_key(check, finding) for check in checks for finding in check.findings}


def _without(check: Check, known: set[Key]) -> Check:
    return replace(check, findings=[each for each in check.findings if _key(check, each) not in known])


def _attempted(stage: Stage, bug: Bug) -> list[Check]:
    """Play a bug's scenario in a database as it would be, and judge."""
    if bug.schema:
        with closing(psycopg.connect(stage.arena.database_url, autocommit=True)) as connection:
            connection.execute(bug.schema.encode())
    return [*_played(stage, bug.scenario), *stage.judge()]


def _planted(stage: Stage, bug: Bug) -> bool:
    """Whether some process has said that it runs what the bug changes."""
    return all(_says(stage.arena, planted(edit.module)) for edit in bug.edits)


def _verdict(bug: Bug, result: Result) -> str:
    caught = caught_by(bug, result)
    return ", ".join(caught) or ("[red]not caught[/red]" if result.planted else "[red]not planted[/red]")


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
    """The invariants by which a bug was found, of those by which it is to be found; none if it was not there."""
    return [] if not result.planted else sorted({check.invariant for check in result.broken} & bug.caught_by)


def _says(arena: Arena, line: str) -> bool:
    return any(line.encode() in path.read_bytes() for path in arena.home.logs.glob("*.log"))


def _example(bug: Bug, result: Result) -> str:
    """One finding, by an invariant that was expected if there is one."""
    ordered = sorted(result.broken, key=lambda check: check.invariant not in bug.caught_by)
    return f"{ordered[0].invariant} {ordered[0].holds}: {ordered[0].findings[0]}" if ordered else ""
