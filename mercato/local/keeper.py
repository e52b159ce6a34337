"""A keeper: keeps one part of the mesh running, and says how it does."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mercato.local.part import Part, Slot, State
from mercato.local.server import tail, wrapped
from mercato.local.trouble import Trouble

PATIENCE = 60.0  # seconds that a process may take to become ready
LOOK_AGAIN = 0.1
LOOK_AFTER = 2.0
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
# How long the old process stays when a new one is ready. Callers look once a second (more or less a fifth) whether
# anybody listens where nobody did; before they have found the new one, it cannot take over.
OVERLAP = 1.5
FOREVER = math.inf
GIVEN_UP_AFTER = 3  # failures in a row; it is still tried again, but nobody waits for it any more


class Run:
    """One process of a part, at one of its slots."""

    def __init__(
        self, part: Part, slot: Slot, log: Path, environment: Mapping[str, str], note: Callable[[int], None]
    ) -> None:
        """Nothing runs yet."""
        self.part = part
        self.slot = slot
        self.log = log
        self.started = time.monotonic()
        self.took: float | None = None
        self._environment = environment
        self._note = note
        self._process: asyncio.subprocess.Process | None = None
        self._log_began = 0

    @property
    def pid(self) -> int | None:
        """Its number, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process, unless it is started."""
        if self.part.command is None or self._process:
            return
        await asyncio.to_thread(self.part.prepare)
        command = wrapped(self.part.command(), self.part.stop_signal, self.part.user)
        door = {self.part.door.variable: self.part.door.open()} if self.part.door else {}
        with self.log.open("ab") as output:
            self._log_began = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **self._environment,
                    **{variable: str(number) for variable, number in door.items()},
                    "MERCATO_PARENT_PID": str(os.getpid()),
                },
                pass_fds=tuple(door.values()),
                start_new_session=True,
            )
        self._note(self._process.pid)

    async def ready(self) -> None:
        """Wait until it is ready. Trouble when it ends before, or takes too long."""
        deadline = self.started + PATIENCE
        while not await asyncio.to_thread(self.slot.ready):
            if await self.ended(within=LOOK_AGAIN):
                raise Trouble(f"{self.part.name} ended with {self.status} before it was ready:\n{self.said}")
            if time.monotonic() > deadline:
                raise Trouble(f"{self.part.name} was not ready within {PATIENCE:.0f} s:\n{self.said}")
        self.took = time.monotonic() - self.started

    async def ended(self, within: float | None = None) -> bool:
        """Wait for its end; whether it came in time."""
        if self._process is None:
            await asyncio.sleep(within or LOOK_AFTER)
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within)
        return self._process.returncode is not None

    async def stays(self, seconds: float) -> None:
        """See it live for a while. Trouble when it does not."""
        if await self.ended(within=seconds):
            raise Trouble(f"{self.part.name} ended with {self.status} as soon as it was ready:\n{self.said}")

    @property
    def said(self) -> str:
        """Its last words."""
        return tail(self.log, since=self._log_began)

    @property
    def lived(self) -> bool:
        """Whether it was up for a good while."""
        return self.took is not None and time.monotonic() - self.started - self.took > LONGEST_DELAY

    @property
    def status(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode if self._process else None
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"status {code}"

    async def stop(self, within: float = FOREVER) -> None:
        """Ask it to stop; make it, when its own time or that which is left has passed."""
        if self._process is None:
            return
        if not await self._asked_to_stop(min(within, self.part.grace)):
            self._signal_group(signal.SIGKILL)
            await self._process.wait()
        self._signal_group(signal.SIGKILL)  # whatever it left behind

    async def _asked_to_stop(self, within: float) -> bool:
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self.part.stop_signal)
        return await self.ended(within=within)

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Keeper:
    """Keeps a part running: starts it, sees that it is ready, starts it again when it ends."""

    def __init__(self, part: Part, log: Path, environment: Mapping[str, str], note: Callable[[int], None]) -> None:
        """Nothing runs yet. Each process that is started is noted, for whoever cleans up after a crash."""
        self.part = part
        self.state = State.STOPPED
        self.trouble = ""
        self.restarts = 0
        self.is_ready = asyncio.Event()
        self.settled = asyncio.Event()  # it is ready, or has failed
        self._healthy = False
        self._log = log
        self._environment = dict(environment)
        self._note = note
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Start it, unless it is started. What is extra in the environment holds for this one process only."""
        async with self._lock:
            if self._task is None:
                self._begin(self._new_run(0, extra))

    def expect(self) -> None:
        """It is about to be started, as soon as what it needs is ready."""
        self._become(State.STARTING)

    async def stop(self, within: float = FOREVER) -> None:
        """Stop it, and keep it stopped."""
        async with self._lock:
            await self._stop(within)

    async def restart(self, extra: Mapping[str, str] | None = None) -> None:
        """Start a new process and, when it is ready, drain the old one. Without room for two, stop that first."""
        async with self._lock:
            old = self._run
            if old is None or self.state is not State.READY or len(self.part.slots) < 2:
                await self._stop()
                self._begin(self._new_run(0, extra))
            else:
                await self._replace(old, self._new_run(1 - self.part.slots.index(old.slot), extra))

    def report(self) -> dict[str, Any]:
        """How it does."""
        run = self._run
        return {
            "name": self.part.name,
            "pid": run.pid if run else None,
            "state": self.state.value,
            "address": (run.slot if run else self.part.slots[0]).address,
            "health": "SERVING" if self._healthy else "NOT_SERVING",
            "restarts": self.restarts,
            "took": run.took if run else None,
            "trouble": self.trouble,
            "step": self.part.step,
        }

    def _new_run(self, slot: int, extra: Mapping[str, str] | None = None) -> Run:
        place = self.part.slots[slot]
        return Run(self.part, place, self._log, {**self._environment, **place.environment, **(extra or {})}, self._note)

    def _begin(self, run: Run) -> None:
        self._become(State.STARTING)
        self._run = run
        self._task = asyncio.create_task(self._keep(run), name=self.part.name)

    async def _stop(self, within: float = FOREVER) -> None:
        await self._cancel()
        if self._run:
            await self._run.stop(within)
        self._become(State.STOPPED)

    async def _replace(self, old: Run, new: Run) -> None:
        try:
            await new.start()
            await new.ready()
            if old.pid:
                await new.stays(OVERLAP)
        except BaseException:
            await new.stop()
            raise
        await self._cancel()
        # The old one may have fallen meanwhile, and have been started again: whichever runs is to stop.
        old, self._run = self._run or old, new
        self._task = asyncio.create_task(self._keep(new), name=self.part.name)
        self._become(State.READY)
        await old.stop()

    async def _cancel(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _keep(self, run: Run) -> None:
        failures, delay = 0, FIRST_DELAY
        while True:
            try:
                await (self._do(run) if self.part.step else self._live(run))
                return
            except Trouble as trouble:
                self.trouble = str(trouble)
                await run.stop()
            if self.part.step:
                self._become(State.FAILED)
                return
            # Whoever fell soon after it was ready is not healthy either: the pause grows until one lives for a while.
            failures, delay = (0, FIRST_DELAY) if run.lived else (failures + 1, delay)
            self._become(State.FAILED if failures >= GIVEN_UP_AFTER else State.STARTING)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
            self.restarts += 1
            run = self._run = self._new_run(self.part.slots.index(run.slot))

    async def _do(self, run: Run) -> None:
        await run.start()
        await run.ended()
        if run.status != "status 0":
            raise Trouble(f"{self.part.name} ended with {run.status}:\n{run.said}")
        run.took = time.monotonic() - run.started
        self._become(State.READY)

    async def _live(self, run: Run) -> None:
        await run.start()
        await run.ready()
        self.trouble = ""
        self._become(State.READY)
        while not await run.ended(within=LOOK_AFTER):
            self._healthy = await asyncio.to_thread(run.slot.ready)
        raise Trouble(f"{self.part.name} ended with {run.status}:\n{run.said}")

    def _become(self, state: State) -> None:
        self.state = state
        if self.part.door and state in (State.STOPPED, State.FAILED):
            self.part.door.close()
        self._healthy = state is State.READY
        _set(self.is_ready, state is State.READY)
        _set(self.settled, state in (State.READY, State.FAILED))


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()
