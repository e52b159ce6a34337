"""The mesh on this machine, as whoever runs it sees it: up, down, and what can be done to its parts.

The command line and the tests use the same one. It starts the supervisor as a process of its own and talks to it by its
socket; everything here may be called from any thread but `up`, which belongs in the main one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mercato.config import LocalSettings, load, surroundings
from mercato.local import control, jars, sources
from mercato.local.home import Home
from mercato.local.leftovers import Leftovers
from mercato.local.part import State
from mercato.local.server import is_free, tail, wrapped
from mercato.local.trouble import Trouble

LOOK_AGAIN = 0.1
SEEDED = "seeded.json"
SLOWEST_START = 180.0
SLOWEST_STOP = 12.0


@dataclass(frozen=True, slots=True)
class Report:
    """How one part does."""

    name: str
    pid: int | None
    state: State
    address: str
    health: str
    restarts: int
    took: float | None  # seconds from its start until it was ready
    trouble: str
    step: bool

    def public(self) -> dict[str, Any]:
        """What `mercato status --json` shows."""
        shown = ("name", "pid", "state", "address", "health", "restarts")
        return {name: getattr(self, name) for name in shown}


class Watcher:
    """Whoever is told how a start goes. This one does not care."""

    def fetched(self, jars: int) -> None:
        """So many of Kafka's files have come."""

    def reported(self, reports: Sequence[Report]) -> None:
        """This is how the parts do now."""

    def doing(self, what: str) -> None:
        """Something takes a while."""


class Mesh:
    """One mesh, in one state folder."""

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        follow: bool = False,
        supervisor: Sequence[str] = ("-m", "mercato.local.supervisor"),
    ) -> None:
        """Nothing is started yet.

        What the environment names is added to that of this process, for all parts: MERCATO_PORT=0 lets the gateway
        choose a free port. A mesh that follows ends with the thread that started it, as a test's should.
        """
        self.home = Home(folder)
        self._environment = surroundings() | {"MERCATO_HOME": str(self.home.folder)} | dict(environment or {})
        self.settings = load(LocalSettings, self._environment)
        self._follow = follow
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None  # the supervisor, where it was us who started it

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.settings.port or self.home.port('gateway')}"

    @property
    def targets(self) -> Mapping[str, str]:
        """Where each service listens, as a channel wants it."""
        from mercato.local.table import Table

        return Table(self.home, self.settings).targets()

    @property
    def bootstrap(self) -> str:
        """Where Kafka answers."""
        return self.settings.kafka_bootstrap or f"127.0.0.1:{self.home.port('kafka')}"

    @property
    def setup_environment(self) -> Mapping[str, str]:
        """What one must be told to bring roles, tables and topics up to date."""
        from mercato.local.table import Table

        return Table(self.home, self.settings).setup_environment()

    @property
    def demo_password(self) -> str:
        """The password of the demo shop's accounts."""
        return self.home.secret("demo")

    @property
    def seeded(self) -> bool:
        """Whether the shop was filled."""
        return bool(self.home.read(SEEDED))

    def keep_seeded(self, password: str) -> None:
        """Remember that the shop was filled, and its accounts' password."""
        self.home.keep_secret("demo", password)
        self.home.write(SEEDED, {"database": self.settings.database_url or "ours"})

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.down()

    # All of it.

    def up(self, watcher: Watcher | None = None) -> bool:
        """Start what does not run, restart what runs older code, until all is ready; whether anything was done."""
        watcher = watcher or Watcher()
        answer = self._ask("status")
        if answer and answer["chassis"] != sources.chassis(self._environment):
            watcher.doing("stopping: the settings or the supervisor have changed")
            self.down()
            answer = None
        if answer is None:
            self._start(watcher)
            return True
        if answer["code"] != (code := sources.code()):
            watcher.doing("restarting: the code has changed")
            self._ask("reload", within=SLOWEST_START, code=code)
            return True
        if all(report.state is State.READY for report in _reports(answer)):
            return False
        self._ask("up")
        self._await_all(watcher)
        return True

    def down(self) -> bool:
        """Stop everything; whether anything ran."""
        answer = self._ask("status")
        if answer is None:
            Leftovers(self.home).end()
            self._bury()
            return False
        supervisor = int(answer["pid"])
        self._ask("down")
        deadline = time.monotonic() + SLOWEST_STOP
        while _runs(supervisor):
            if time.monotonic() > deadline:
                os.kill(supervisor, signal.SIGKILL)  # what it started gets its signal from the kernel
                Leftovers(self.home).end()
            time.sleep(0.02)
        self._bury()
        return True

    def planned(self) -> list[Report]:
        """The parts that there would be, all of them stopped."""
        from mercato.local.table import mesh_parts

        parts = [part for part in mesh_parts(self.home, self.settings) if not part.step]
        stopped = (State.STOPPED, "NOT_SERVING", 0, None, "", False)
        return [Report(part.name, None, stopped[0], part.slots[0].address, *stopped[1:]) for part in parts]

    def reports(self) -> list[Report]:
        """How the parts do; nothing when the mesh is down. Steps that are done once are left out."""
        answer = self._ask("status")
        return [report for report in _reports(answer) if not report.step] if answer else []

    # One part.

    def start(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a part, and wait until it is ready. What is added to its environment holds for this process only."""
        self._act("start", name, environment)
        self.await_ready(name)

    def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Restart a part, and wait until it is ready: the new process starts before the old one is drained."""
        self._act("restart", name, environment)
        self.await_ready(name)

    def stop(self, name: str) -> None:
        """Stop a part, and keep it stopped."""
        self._act("stop", name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a part's process. A part that dies of it is started again by the supervisor."""
        pid = self.report(name).pid
        if pid is not None:
            os.kill(pid, number)

    def report(self, name: str) -> Report:
        """How a part does."""
        for report in self.reports():
            if report.name == name:
                return report
        raise Trouble(f"There is no {name!r} here, or the mesh is down.", "See mercato status; start it: mercato up.")

    def await_ready(self, name: str, within: float = 60.0) -> None:
        """Wait until a part is ready. Trouble when it has failed, or takes too long."""
        deadline = time.monotonic() + within
        while (report := self.report(name)).state is not State.READY:
            if report.state is State.FAILED or time.monotonic() > deadline:
                raise Trouble(report.trouble or f"{name} is not ready.", f"See mercato logs {name}.")
            time.sleep(LOOK_AGAIN)

    # How.

    def _ask(self, do: str, within: float = 5.0, **more: Any) -> control.Message | None:
        return control.ask(self.home.socket, {"do": do, **more}, within)

    def _act(self, do: str, name: str, environment: Mapping[str, str] | None = None) -> None:
        if self._ask(do, within=90.0, name=name, env=dict(environment or {})) is None:
            raise Trouble("The mesh is down.", "Start it: mercato up.")

    def _start(self, watcher: Watcher) -> None:
        Leftovers(self.home).end()
        self._look_ahead()
        if not self.settings.kafka_bootstrap:
            jars.fetch(watcher.fetched)
        self._bury()
        self._process = self._spawn()
        try:
            self._await_supervisor(self._process)
            self._await_all(watcher)
        except BaseException:
            # Half a mesh helps nobody: what this call began, it ends. Also at Ctrl-C.
            self.down()
            raise

    def _look_ahead(self) -> None:
        """Find what would be in the way, while it can still be said in one sentence."""
        self.home.room()
        self.home.renew_taken_ports()
        if (port := self.settings.port) and not is_free(port):
            raise Trouble(
                f"Port {port} is in use by another program.",
                f"Stop that one, or choose another port: MERCATO_PORT={port + 1} mercato up.",
            )

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, *self._supervisor]
        with self.home.log("supervisor").open("ab") as output:
            return subprocess.Popen(
                wrapped(command) if self._follow else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Starts take half as long from bytecode, also where a shell forbids to write any.
                env={name: value for name, value in self._environment.items() if name != "PYTHONDONTWRITEBYTECODE"},
                start_new_session=True,
            )

    def _bury(self) -> None:
        if self._process:
            self._process.wait(SLOWEST_STOP)
            self._process = None

    def _await_supervisor(self, supervisor: subprocess.Popen[bytes]) -> None:
        while self._ask("status") is None:
            if supervisor.poll() is not None:
                log = self.home.log("supervisor")
                raise Trouble(f"The supervisor ended with status {supervisor.returncode}:\n{tail(log)}", f"See {log}.")
            time.sleep(0.02)

    def _await_all(self, watcher: Watcher) -> None:
        deadline = time.monotonic() + SLOWEST_START
        while answer := self._ask("status"):
            reports = _reports(answer)
            watcher.reported(reports)
            if failed := [report for report in reports if report.state is State.FAILED]:
                raise Trouble(failed[0].trouble, f"All of it: {self.home.log(failed[0].name)}.")
            if all(report.state is State.READY for report in reports):
                return
            if time.monotonic() > deadline:
                late = ", ".join(report.name for report in reports if report.state is not State.READY)
                raise Trouble(f"Not ready after {SLOWEST_START:.0f} s: {late}.", "See mercato logs.")
            time.sleep(LOOK_AGAIN)
        raise Trouble("The supervisor went away.", f"See {self.home.log('supervisor')}.")


def _reports(answer: control.Message) -> list[Report]:
    return [Report(**{**part, "state": State(part["state"])}) for part in answer["parts"]]


def _runs(pid: int) -> bool:
    from mercato.local.procfs import Identity

    return Identity.of(pid) is not None
