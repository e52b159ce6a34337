"""What a sweep remembers in its folder, so that one that was broken off goes on where it was: names, and results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from chaos.sweep.case import Case, Outcome, Passings, Result


class Memory:
    """Two files: `names.json`, and a line for each case in `results.jsonl`."""

    def __init__(self, folder: Path) -> None:
        """The folder is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._names = folder / "names.json"
        self.results = folder / "results.jsonl"

    def forget(self) -> None:
        """Begin anew."""
        for path in (self._names, self.results):
            path.unlink(missing_ok=True)

    def names(self) -> Passings:
        """Which places each story passes, and how often; nothing before they were recorded."""
        return json.loads(self._names.read_text()) if self._names.exists() else {}

    def keep_names(self, recorded: Passings) -> None:
        """Remember a recording."""
        self._names.write_text(json.dumps(recorded, indent=1))

    def played(self) -> Iterator[Result]:
        """The cases that were played."""
        if self.results.exists():
            for line in self.results.read_text().splitlines():
                known = json.loads(line)
                case = Case(**{**known["case"], "stories": tuple(known["case"]["stories"])})
                yield Result(case, Outcome(known["outcome"]), known["seconds"], tuple(known["problems"]))

    def keep(self, result: Result) -> None:
        """Remember what became of a case."""
        with self.results.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
