"""`mercato projections`: the read models of the services here, each asked of the program of its service."""

import json
import subprocess
import sys
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table as Shown

from mercato.cli.up import mesh, wide
from mercato.config import surroundings
from mercato.local.mesh import Mesh
from mercato.local.table import SERVICES, Table
from mercato.local.trouble import Trouble

SHOWN = ("name", "state", "position", "lag", "lagSeconds", "generation")


def show() -> None:
    """Print a table of all of them."""
    table = Shown(box=None, pad_edge=False)
    for title in ("name", "state", "position"):
        table.add_column(title, no_wrap=True)
    for title in ("lag", "seconds", "generation"):
        table.add_column(title, justify="right", no_wrap=True)
    here = mesh()
    for service in _projecting():
        done = _ask(here, service, ["list"], capture=True)
        if done.returncode:
            raise Trouble(f"{service} does not answer: {done.stderr.strip()[-500:]}", "See mercato status.")
        for line in done.stdout.splitlines():
            told = json.loads(line)
            table.add_row(*(str(told[name]) for name in SHOWN))
    wide(Console(highlight=False)).print(table)


def act(verb: str, name: str) -> int:
    """Rebuild or verify one; the status to end with."""
    service = name.partition(".")[0]
    if service not in _projecting():
        raise Trouble(f"No projection is called {name!r}.", "See mercato projections list.")
    return _ask(mesh(), service, [verb, name], capture=False).returncode


def _projecting() -> list[str]:
    """The services that have projections. A projection's name begins with that of its service."""
    return [each.name for each in SERVICES if find_spec(f"services.{each.name}.projections")]


def _ask(here: Mesh, service: str, arguments: list[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    part = next(each for each in Table(here.home, here.settings).services() if each.name == service)
    quiet = {"MERCATO_LOG_LEVEL": "error"}
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", "projections", *arguments],
        env=surroundings() | dict(part.slots[0].environment) | quiet,
        capture_output=capture,
        text=True,
        check=False,
    )
