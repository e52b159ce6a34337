"""What a killed supervisor leaves behind: told by the kernel to stop, and ended here where it does not."""

import os
import signal
import time
from contextlib import suppress

from mercato.local.home import Home
from mercato.local.procfs import Identity

RUNNING = "running.json"


class Leftovers:
    """The processes that were started for a state folder."""

    def __init__(self, home: Home) -> None:
        """Read who was there."""
        self._home = home
        self._started = [Identity(*each) for each in home.read(RUNNING).get("processes", [])]

    def note(self, pid: int) -> None:
        """Remember a process."""
        self._started = [each for each in self._started if each.alive]
        if identity := Identity.of(pid):
            self._started.append(identity)
        self._home.write(RUNNING, {"processes": [[each.pid, each.started] for each in self._started]})

    def end(self) -> None:
        """Stop those that still run, kindly and then by force."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for each in self._started:
                self._send(each, number)
            deadline = time.monotonic() + 3.0
            while any(each.alive for each in self._started) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _send(self, process: Identity, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if process.alive:
                os.kill(process.pid, number)
