"""`mercato up` and `mercato down`: what one sees of a start, and where to look when it is done."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.status import Status

from mercato.config import LocalSettings, load
from mercato.local.home import default_folder
from mercato.local.mesh import Mesh, Report, Watcher
from mercato.local.part import State

ROLES = ("customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
JARS = 46


def mesh() -> Mesh:
    """The mesh that the environment names."""
    return Mesh(load(LocalSettings).home or default_folder())


def wide(console: Console) -> Console:
    """The console; one that is no terminal has no width at which lines would have to be cut."""
    if not console.is_terminal:
        console.width = 200
    return console


def bring_up() -> None:
    """Start what does not run, fill the shop once, say where to look."""
    console, began = Console(highlight=False), time.monotonic()
    here = mesh()
    with Display(console) as display:
        changed = here.up(display)
    seeded = _seed_once(here)
    took = f" after {time.monotonic() - began:.1f} s" if changed or seeded else ""
    console.print(f"Mercato is ready{took}.", style="bold green")
    _where_to_look(here, console)


def take_down() -> None:
    """Stop everything."""
    console, began = Console(highlight=False), time.monotonic()
    with console.status("stopping"):
        stopped = mesh().down()
    took = time.monotonic() - began
    console.print(f"Mercato is stopped after {took:.1f} s." if stopped else "Mercato was not running.")


class Display(Watcher):
    """Shows a start: a bar while Kafka is fetched, a line for each process that is ready, what is waited for below."""

    def __init__(self, console: Console) -> None:
        """Nothing to show yet."""
        self._console = console
        self._status: Status | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._told: set[str] = set()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()
        if self._status:
            self._status.stop()

    def fetched(self, jars: int) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            self._console.print("Fetching Apache Kafka (some 25 MB, once for this user).")
            self._bar = Progress(
                TextColumn("  {task.completed} of {task.total} files"), BarColumn(), console=self._console
            )
            self._task = self._bar.add_task("kafka", total=JARS)
            self._bar.start()
        self._bar.update(self._task, completed=jars)

    def reported(self, reports: Sequence[Report]) -> None:
        """Tell what has become ready, and what is waited for."""
        self._end_bar()
        for report in reports:
            if report.state is State.READY and report.name not in self._told:
                self._told.add(report.name)
                took = f"{report.took:5.1f} s" if report.took is not None else "       "
                self._console.print(f"  {report.name:<10} {took}  {report.address}")
        if waiting := [report.name for report in reports if report.state is not State.READY]:
            self.doing(f"starting {', '.join(waiting)}")

    def doing(self, what: str) -> None:
        """Show it until something else is done."""
        if self._status is None:
            self._status = self._console.status(what)
            self._status.start()
        self._status.update(what)

    def _end_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _seed_once(here: Mesh) -> bool:
    if here.seeded:
        return False
    from mercato.cli.shop import seed_shop

    seed_shop(here)
    return True


def _where_to_look(here: Mesh, console: Console) -> None:
    console.print(
        f"""
  the shop   {here.url}/        REST below /v1, described at {here.url}/docs
  sign in    <role>@mercato.example with the password {here.demo_password}
             roles: {", ".join(ROLES)}
  look       mercato status · mercato logs -f order · mercato events -f
  go on      mercato demo · mercato down""",
        soft_wrap=True,
    )
