"""A sampler of where a process' CPU goes, for `benchmarks.checkout --profile`: its folder on PYTHONPATH starts it.

Every few milliseconds it reads what CPU each thread has used since, and puts it down to the line that the thread is at.
The sums are written to the file that MERCATO_SAMPLES names when the process ends, and at SIGUSR2.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

PAUSE = 0.003
DEEPEST = 60


class Sampler(threading.Thread):
    """Samples until the process ends."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="sampler", daemon=True)
        self._path = path
        self._used: dict[int, float] = {}
        self._stacks: Counter[str] = Counter()

    def run(self) -> None:
        """Sample."""
        while True:
            time.sleep(PAUSE)
            frames = sys._current_frames()  # noqa: SLF001  the only way to see the other threads
            for ident, frame in frames.items():
                if ident != self.ident:
                    self._note(ident, frame)

    def _note(self, ident: int, frame: FrameType) -> None:
        try:
            used = time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:
            return
        spent = used - self._used.get(ident, used)
        self._used[ident] = used
        if spent > 0:
            self._stacks[_stack(frame)] += round(spent * 1e6)

    def write(self, *_: object) -> None:
        """Write the microseconds of each stack, in the form that flame graphs are made from."""
        lines = (f"{stack} {spent}" for stack, spent in self._stacks.copy().most_common())
        self._path.write_text("\n".join(lines))


def _stack(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame and len(names) < DEEPEST:
        code = frame.f_code
        names.append(f"{Path(code.co_filename).stem}.{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return ";".join(reversed(names))


if target := os.environ.get("MERCATO_SAMPLES"):
    sampler = Sampler(Path(f"{target}.{os.getpid()}"))
    sampler.start()
    atexit.register(sampler.write)
    signal.signal(signal.SIGUSR2, sampler.write)
