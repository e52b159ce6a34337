"""What a run of the nemesis prints: the schedule, a line of progress, and the tables at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from chaos.nemesis.history import History, Outcome
from chaos.nemesis.schedule import Fault, Kind
from chaos.nemesis.verdict import Check
from chaos.rest import Rest

SHOWN = 5


def show_schedule(console: Console, seed: int, schedule: Sequence[Fault]) -> None:
    """What is going to happen."""
    console.print(f"seed {seed}: {len(schedule)} faults", style="bold")
    for fault in schedule:
        console.print(f"  {fault}", highlight=False)


def faults(struck: Mapping[Kind, int]) -> Table:
    """How often each kind of fault struck."""
    table = Table("fault", "times", title="faults")
    for kind in Kind:
        table.add_row(kind, str(struck.get(kind, 0)))
    return table


def operations(history: History, heard: Mapping[str, Mapping[Outcome, int]]) -> Table:
    """What people asked for, what they had heard when the faults were over, and how often they asked again."""
    table = Table("operation", *(outcome.value for outcome in Outcome), "asked again", title="operations")
    for what, counted in sorted(heard.items()):
        again = sum(each.tries - 1 for each in history.of(what))
        table.add_row(what, *(str(counted.get(outcome, 0)) for outcome in Outcome), str(again))
    return table


def invariants(checks: Sequence[Check], rest: Rest) -> Table:
    """What was checked, and what does not hold."""
    table = Table("", "holds", "looked at", "findings", title="invariants")
    table.add_row("I6", f"Everything came to rest, after {rest.seconds:.1f} s.", "", str(len(rest.unrest) or "0"))
    for check in [*_together(checks), *(check for check in checks if not check.rule)]:
        found = f"[red]{len(check.findings)}[/red]" if check.findings else "0"
        table.add_row(check.invariant, check.holds, str(check.looked_at), found)
    return table


def _together(checks: Sequence[Check]) -> Iterator[Check]:
    """The auditor's rules, an invariant each."""
    rules = [check for check in checks if check.rule]
    for invariant, of in groupby(rules, key=lambda check: check.invariant):
        of_it = [*of]
        broken = [finding for check in of_it for finding in check.findings]
        yield Check(invariant, f"What the auditor's rules say ({len(of_it)} of them).", len(of_it), broken)


def findings(checks: Sequence[Check], rest: Rest) -> list[str]:
    """The first findings of each check, one line each."""
    told = [f"I6 not at rest: {each}" for each in rest.unrest]
    for check in checks:
        told += [f"{check.invariant} {check.holds}: {each}" for each in check.findings[:SHOWN]]
        if len(check.findings) > SHOWN:
            told.append(f"{check.invariant} … and {len(check.findings) - SHOWN} more")
    return told
