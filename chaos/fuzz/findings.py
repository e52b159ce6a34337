"""What a fuzz has counted and found: answers by route and status; what is not as promised, each once, with its line."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

_MOST_SHOWN = 40


@dataclass(slots=True)
class Finding:
    """Something that is not as promised: where, what, how often, and the shortest line that shows it."""

    where: str
    what: str
    line: str
    detail: str = ""
    times: int = 1


class Findings:
    """All of them, and the counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Finding] = {}
        self.counted: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.excused = Counter[str]()

    def count(self, protocol: str, where: str, status: str, excuse: str = "") -> None:
        """Note an answer; `excuse` names a limit that was reached on purpose."""
        with self._lock:
            self.counted[protocol][where][status] += 1
            if excuse:
                self.excused[excuse] += 1

    def add(self, where: str, what: str, line: str, detail: str = "") -> None:
        """Note something that is not as promised."""
        with self._lock:
            known = self._found.get((where, what))
            if known is None:
                self._found[where, what] = Finding(where, what, line, detail)
            else:
                known.times += 1
                if len(line) < len(known.line):
                    known.line, known.detail = line, detail

    def __len__(self) -> int:
        return len(self._found)

    @property
    def all(self) -> Sequence[Finding]:
        """What was found, the most frequent first."""
        with self._lock:
            return sorted(self._found.values(), key=lambda each: -each.times)


def show(console: Console, title: str, counted: Mapping[str, Counter[str]]) -> None:
    """Cases by route and by answer."""
    statuses = sorted({status for each in counted.values() for status in each})
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("route")
    for heading in ("cases", *statuses):
        table.add_column(heading, justify="right")
    for route, answers in sorted(counted.items()):
        table.add_row(route, str(answers.total()), *(str(answers[status] or "-") for status in statuses))
    total = sum(counted.values(), Counter[str]())
    table.add_section()
    table.add_row("all", str(total.total()), *(str(total[status]) for status in statuses))
    console.print(table)


def show_findings(console: Console, findings: Findings) -> None:
    """Each with the line that shows it."""
    for what, times in sorted(findings.excused.items()):
        console.print(f"{times} refused by a limit, as it should be: {what}", highlight=False)
    for each in findings.all[:_MOST_SHOWN]:
        told = f"FOUND {each.times} times at {each.where}: {each.what}"
        console.print(told, style="red", markup=False, highlight=False, soft_wrap=True)
        for line in (each.detail, each.line):
            if line:
                console.print(f"    {line[:3000]}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(findings)} findings", style="red" if findings.all else "green")
