"""`mercato status`: every process at a glance."""

import json

from rich.console import Console
from rich.table import Table

from mercato.cli.up import mesh, wide
from mercato.local.mesh import Mesh, Report
from mercato.local.part import State
from mercato.local.procfs import Memory

COLOURS = {State.READY: "green", State.STARTING: "yellow", State.STOPPED: "dim", State.FAILED: "red"}


def show_json() -> None:
    """Print a list for programs."""
    print(json.dumps([report.public() for report in _reports(mesh())], indent=1))


def show_table() -> None:
    """Print a table for people."""
    table = Table(box=None, pad_edge=False)
    for title in ("name", "state", "address"):
        table.add_column(title, no_wrap=True)
    for title in ("pid", "restarts", "start", "RSS", "PSS"):
        table.add_column(title, justify="right", no_wrap=True)
    reports, console = _reports(mesh()), wide(Console(highlight=False))
    memories = [Memory.of_family(report.pid) if report.pid else Memory(0, 0) for report in reports]
    for report, memory in zip(reports, memories, strict=True):
        table.add_row(*_row(report), *_megabytes(memory))
    table.add_row(*("all", *[""] * 5), *_megabytes(Memory(sum(m.rss for m in memories), sum(m.pss for m in memories))))
    console.print(table)
    for report in reports:
        if report.trouble:
            console.print(f"\n{report.name}: {report.trouble}", markup=False)


def _reports(here: Mesh) -> list[Report]:
    return here.reports() or here.planned()


def _row(report: Report) -> tuple[str, ...]:
    colour = COLOURS[report.state]
    took = f"{report.took:.1f} s" if report.took is not None else ""
    # Whoever is ready but does not serve waits for something: for the database, most often.
    doubt = " (NOT_SERVING)" if report.state is State.READY and report.health != "SERVING" else ""
    state = f"[{colour}]{report.state}{doubt}[/]"
    return (report.name, state, report.address, str(report.pid or "-"), str(report.restarts), took)


def _megabytes(memory: Memory) -> tuple[str, str]:
    return (f"{memory.rss / 2**20:.0f} MB", f"{memory.pss / 2**20:.0f} MB") if memory.rss else ("", "")
