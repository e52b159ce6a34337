"""The controls of all running processes: their failpoints are armed, disarmed and watched from here."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """One that listens: the service's name, its number, and where."""

    name: str
    pid: int
    path: Path

    def ask(self, **question: object) -> Json | None:
        """Its answer; None if it is gone."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(str(self.path))
                connection.sendall(json.dumps(question).encode() + b"\n")
                answer: Json = json.loads(connection.makefile("rb").readline() or b"null")
        except OSError:
            self.path.unlink(missing_ok=True)  # it left its socket behind when it died
            return None
        assert not answer or "refused" not in answer, answer
        return answer

    def struck(self, place: str) -> bool:
        """Whether an armed place of it was reached; if it is gone, it has died of it."""
        answer = self.ask()
        return answer is None or place in answer["struck"]


class Controls:
    """Everything that listens in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def processes(self, name: str = "") -> Iterator[Process]:
        """The processes of a service, or all of them."""
        for path in sorted(self.folder.iterdir()):
            service, _, pid = path.name.rpartition("-")
            if not name or service == name:
                yield Process(service, int(pid), path)

    def arm(self, *points: str) -> list[Process]:
        """Arm places, `name=action:passing`, in the processes that their names begin with: for each its process."""
        by_service: dict[str, list[str]] = {}
        for point in points:
            by_service.setdefault(point.partition(".")[0], []).append(point)
        armed: dict[str, Process] = {}
        for service, wanted in by_service.items():
            for process in self.processes(service):
                if process.ask(arm=",".join(wanted)) is not None:
                    armed[service] = process
        return [armed[point.partition(".")[0]] for point in points]

    def disarm(self) -> None:
        """Disarm everything; whoever hangs goes on."""
        for each in self.processes():
            each.ask(arm="")

    def record(self) -> None:
        """Begin to record who passes where."""
        for each in self.processes():
            each.ask(record=True)

    def passed(self) -> Counter[str]:
        """How often each place was passed since, and the end of the recording."""
        counted: Counter[str] = Counter()
        for each in self.processes():
            counted.update((each.ask() or {}).get("passed", {}))
            each.ask(record=False)
        return counted
