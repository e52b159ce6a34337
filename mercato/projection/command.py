"""`python -m services.<name> projections list|rebuild NAME|verify NAME`: a service's program, about its read models.

`mercato projections` runs it with the settings of the mesh on this machine; in a cluster it is run in a pod.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mercato.errors import MercatoError
from mercato.projection.definition import Progress as Told
from mercato.projection.registry import Projections
from mercato.projection.verify import Verified

USAGE = "projections list | rebuild NAME | verify NAME"


def perform(projections: Projections | None, arguments: Sequence[str]) -> int:
    """Do what is asked for; the status to end with: 1 where rows differ, 2 where it cannot be done."""
    try:
        match arguments:
            case ["list"]:
                return _list(projections)
            case ["rebuild", name] if projections:
                return _rebuild(projections, name)
            case ["verify", name] if projections:
                return _verify(projections, name)
    except MercatoError as error:
        print(f"{error.message}.", file=sys.stderr)
        return 2
    print(f"usage: {USAGE}" if projections else "this service has no projections", file=sys.stderr)
    return 2


def _list(projections: Projections | None) -> int:
    """A line of JSON for each."""
    for each in projections.status() if projections else ():
        told = {"name": each.name, "state": each.state, "position": each.position, "lag": each.lag}
        print(json.dumps({**told, "lagSeconds": round(each.lag_seconds, 3), "generation": each.generation}))
    return 0


def _rebuild(projections: Projections, name: str) -> int:
    with _bar(f"rebuilding {name}") as progress:
        rebuilt = projections.rebuild(name, progress)
    rate = rebuilt.events / rebuilt.seconds if rebuilt.seconds else 0.0
    print(
        f"{name} is rebuilt: {rebuilt.events:,} events of {rebuilt.streams:,} streams in {rebuilt.seconds:.1f} s, "
        f"{rate:,.0f} a second."
    )
    return 0


def _verify(projections: Projections, name: str) -> int:
    with _bar(f"verifying {name}") as progress:
        verified = projections.verify(name, progress)
    print(_verdict(name, verified))
    return 0 if verified.equal else 1


def _verdict(name: str, verified: Verified) -> str:
    compared = f"{verified.streams:,} streams ({verified.events:,} events) in {verified.seconds:.1f} s"
    left_out = f", {verified.left_out:,} left out that are just changing" if verified.left_out else ""
    if verified.equal:
        return f"{name} equals a replay, row by row: {compared}{left_out}."
    some = "".join(f"\n  {stream_id}" for stream_id in verified.examples)
    return (
        f"{name} differs from a replay in {verified.differing:,} streams of {compared}{left_out}: rebuild it "
        f"(mercato projections rebuild {name}).{some}"
    )


@contextmanager
def _bar(what: str) -> Iterator[Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    quiet = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
