"""Meters for benchmarks: the CPU that processes used, and how long calls took."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mercato.local.procfs import family

TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process and all that it started have used so far; of this one, only its own."""
    pids = [pid] if pid == os.getpid() else family(pid)
    return sum(_cpu(each, len(pids) > 1) for each in pids)


def _cpu(pid: int, buried: bool) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # User and system; and, of a family, those of children that ended and were waited for.
    return sum(map(int, fields[11 : 15 if buried else 13])) * TICK


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of some seconds of load."""

    done: int
    refused: int
    seconds: float
    latencies: list[float]  # sorted
    cpu: Mapping[str, float]  # seconds, by process

    @property
    def rate(self) -> float:
        """Pieces of work a second."""
        return self.done / self.seconds

    def latency(self, share: float) -> float:
        """Seconds that this share of the calls stayed below."""
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)] if self.latencies else 0.0

    def cpu_each(self, process: str = "") -> float:
        """Microseconds of CPU for each piece of work, of one process or of all."""
        used = self.cpu[process] if process else sum(self.cpu.values())
        return used / max(self.done, 1) * 1e6


@dataclass(slots=True)
class _Tally:
    """What one worker counted."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0


def load(act: Callable[[], bool], *, workers: int, seconds: float, warm_up: float, pids: Mapping[str, int]) -> Reading:
    """Have threads do `act` again and again, and meter them and the processes after a warm-up. False is a refusal."""
    metering, stopping = threading.Event(), threading.Event()
    tallies = [_Tally() for _ in range(workers)]

    def work(tally: _Tally) -> None:
        while not stopping.is_set():
            began = time.perf_counter()
            done = act()
            if metering.is_set() and not stopping.is_set():
                tally.latencies.append(time.perf_counter() - began)
                tally.refused += not done

    threads = [threading.Thread(target=work, args=[tally], daemon=True) for tally in tallies]
    for thread in threads:
        thread.start()
    time.sleep(warm_up)
    before, began = {name: cpu_of(pid) for name, pid in pids.items()}, time.perf_counter()
    metering.set()
    time.sleep(seconds)
    stopping.set()
    lasted, after = time.perf_counter() - began, {name: cpu_of(pid) for name, pid in pids.items()}
    for thread in threads:
        thread.join()
    latencies = sorted(each for tally in tallies for each in tally.latencies)
    refused = sum(tally.refused for tally in tallies)
    cpu = {name: after[name] - before[name] for name in pids}
    return Reading(len(latencies) - refused, refused, lasted, latencies, cpu)
