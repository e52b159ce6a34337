"""What the kernel tells of a process: since when it runs and how much memory it has."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that is never mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks since the machine booted

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process with this number, if there is one that still runs."""
        try:
            # The name, in parentheses, may contain anything; what follows the last one is numbers.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Identity.of(self.pid) == self


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in memory: all that a process sees (RSS), and its fair part of what it shares (PSS)."""

    rss: int
    pss: int

    @classmethod
    def of_family(cls, leader: int) -> "Memory":
        """The memory of a process and of all that it started."""
        parts = [_rollup(pid) for pid in family(leader)]
        return cls(sum(part.rss for part in parts), sum(part.pss for part in parts))


def _rollup(pid: int) -> Memory:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return Memory(0, 0)
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return Memory(values.get("Rss", 0), values.get("Pss", 0))


def family(leader: int) -> list[int]:
    """A process and all that it started, directly or not."""
    family, waiting = [], [leader]
    while waiting:
        pid = waiting.pop()
        family.append(pid)
        waiting += _children(pid)
    return family


def _children(pid: int) -> list[int]:
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []
