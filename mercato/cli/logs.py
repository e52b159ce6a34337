"""`mercato logs`: the end of the log files, and what is added to them."""

import os
import sys
import time
from pathlib import Path

from mercato.cli.up import mesh
from mercato.local.server import tail
from mercato.local.trouble import Trouble

LOOK_AGAIN = 0.2


def show(name: str | None, follow: bool, lines: int) -> None:
    """Print one log, or all of them with their names before each line."""
    home = mesh().home
    files = [home.log(name)] if name else sorted(home.logs.glob("*.log"))
    if name and not files[0].exists():
        known = ", ".join(sorted(path.stem for path in home.logs.glob("*.log"))) or "none yet"
        raise Trouble(f"There is no log of {name!r}.", f"There are: {known}.")
    for file in files:
        for line in tail(file, lines).splitlines():
            _print(line, "" if name else file.stem)
    if follow:
        _follow([Growing(file) for file in files], named=not name)


class Growing:
    """A log file that somebody writes to."""

    def __init__(self, path: Path) -> None:
        """Begin at its end."""
        self.name = path.stem
        self._path = path
        self._position = path.stat().st_size

    def more(self) -> list[str]:
        """The whole lines that were added since the last look."""
        if self._path.stat().st_size < self._position:
            self._position = 0  # it was rotated
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole = file.read().rpartition(b"\n")[0]
        self._position += len(whole) + 1 if whole else 0
        return whole.decode(errors="replace").splitlines()


def _follow(files: list[Growing], *, named: bool) -> None:
    try:
        while True:
            for file in files:
                for line in file.more():
                    _print(line, file.name if named else "")
            time.sleep(LOOK_AGAIN)
    except KeyboardInterrupt:
        os.write(sys.stdout.fileno(), b"\n")


def _print(line: str, name: str) -> None:
    print(f"{name:<10} {line}" if name else line, flush=True)
