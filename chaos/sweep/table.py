"""What came of a sweep, as a table: services down, actions across; then everything that did not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from chaos.sweep.case import ACTIONS, Outcome, Result


def show(console: Console, results: Sequence[Result]) -> None:
    """Print it."""
    names = {result.case.place for result in results}
    stories = {result.case.stories[0] for result in results}
    minutes = sum(result.seconds for result in results) / 60
    title = f"{len(results):,} cases at {len(names)} places in {len(stories)} stories, {minutes:.1f} min"
    table = Table(title=title, title_justify="left")
    table.add_column("places of")
    for heading in ("places", *ACTIONS, "violated"):
        table.add_column(heading, justify="right")
    for service in sorted({result.case.service for result in results}):
        _row(table, service, [result for result in results if result.case.service == service])
    table.add_section()
    _row(table, "all", results)
    console.print(table)
    for result in results:
        if result.outcome is Outcome.VIOLATED:
            console.print(f"VIOLATED {result.case}", markup=False, highlight=False, soft_wrap=True)
            for problem in result.problems:
                console.print(f"    {problem}", markup=False, highlight=False, soft_wrap=True)


def _row(table: Table, name: str, results: Sequence[Result]) -> None:
    by_action = [_held([each for each in results if each.case.action == action]) for action in ACTIONS]
    violated = sum(each.outcome is Outcome.VIOLATED for each in results)
    table.add_row(name, str(len({each.case.place for each in results})), *by_action, str(violated))


def _held(results: Iterable[Result]) -> str:
    """How many held, of how many; a dash where nothing was tried. What nobody came by at is told beside."""
    counted = Counter(result.outcome for result in results)
    missed = f" ({counted[Outcome.MISSED]} missed)" if counted[Outcome.MISSED] else ""
    return f"{counted[Outcome.HELD]}/{counted.total()}{missed}" if counted else "-"
