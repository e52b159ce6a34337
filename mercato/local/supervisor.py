"""The supervisor: starts the parts of a mesh in order, keeps them running, and takes them down again.

It is a process of its own (`python -m mercato.local.supervisor`), in its own session, so that neither a closed terminal
nor Ctrl-C reaches it. Everything that it starts gets a signal from the kernel when it dies, however it dies.
"""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from mercato.local.control import Message
from mercato.local.home import Home, default_folder
from mercato.local.keeper import Keeper
from mercato.local.leftovers import Leftovers
from mercato.local.part import Part, State
from mercato.local.reception import serve
from mercato.local.server import wrapped
from mercato.local.trouble import Trouble

ALL_STOPPED_AFTER, KEPT_FOR_SERVERS, LEAST_GRACE = 9.0, 3.0, 0.5
LARGEST_LOG = 10 * 2**20
# Addressed to the supervisor; each process gets what it needs of them, and no more.
OURS = frozenset(f"MERCATO_{name}" for name in ("HOME", "PORT", "DATABASE_URL", "REDIS_URL", "DEMO_PASSWORD", "COPIES"))


class Supervisor:
    """Keeps the parts of one mesh. One at a time for a state folder."""

    def __init__(
        self,
        home: Home,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        *,
        code: str = "",
        chassis: str = "",
        afterwards: Callable[[], list[str] | None] = lambda: None,
    ) -> None:
        """Nothing is started yet.

        `code` and `chassis` tell which sources the parts, and this process itself, run. `afterwards` names a command to
        run once when all is ready, which nobody waits for.
        """
        self.home = home
        self.code = code
        self.chassis = chassis
        self._afterwards = afterwards
        self._leftovers = Leftovers(home)
        self._keepers = {
            part.name: Keeper(part, home.log(part.name), environment, self._leftovers.note) for part in parts
        }
        self._down = asyncio.Event()
        self._starts: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Start everything, keep it, and return when it was asked to stop and all is stopped."""
        with self._lock():
            # A look at a part may take a second, and nobody shall wait for another's.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16, "look"))
            server = await serve(self.home.socket, self._answer)
            self._listen_to_signals()
            self._start_all()
            housekeeping = [asyncio.create_task(self._rotate_logs()), asyncio.create_task(self._do_afterwards())]
            await self._down.wait()
            await self._stop_all()
            for task in housekeeping:
                task.cancel()
            server.close()
            self.home.socket.unlink(missing_ok=True)

    # What it can be asked.

    async def _answer(self, question: Message) -> Message:
        commands: dict[str, Callable[[Message], Awaitable[Message]]] = {
            "status": self._status,
            "up": self._up,
            "reload": self._reload,
            "down": self._ask_down,
            "start": lambda each: self._act(Keeper.start, each),
            "stop": lambda each: self._act(self._stop, each),
            "restart": lambda each: self._act(Keeper.restart, each),
        }
        return await commands[question["do"]](question)

    async def _status(self, _: Message) -> Message:
        parts = [keeper.report() for keeper in self._keepers.values()]
        return {"pid": os.getpid(), "code": self.code, "chassis": self.chassis, "parts": parts}

    async def _up(self, question: Message) -> Message:
        self._start_all()
        return await self._status(question)

    async def _ask_down(self, _: Message) -> Message:
        self._down.set()
        return {}

    async def _act(self, action: Callable[[Keeper, Mapping[str, str]], Awaitable[None]], question: Message) -> Message:
        keeper = self._keepers.get(question["name"])
        if keeper is None or keeper.part.step:
            known = ", ".join(name for name, each in self._keepers.items() if not each.part.step)
            raise Trouble(f"There is no {question['name']!r} here.", f"There are: {known}.")
        if keeper.part.command is None:
            raise Trouble(f"{keeper.part.name} is not ours: it was named in the environment.", "Stop it where it runs.")
        await action(keeper, question.get("env", {}))
        return keeper.report()

    async def _stop(self, keeper: Keeper, _: Mapping[str, str]) -> None:
        if start := self._starts.pop(keeper.part.name, None):
            start.cancel()  # it may still wait for its turn
        await keeper.stop()

    async def _reload(self, question: Message) -> Message:
        """Do the steps again with the new code, then restart what runs it, in order."""
        running = [each for each in self._keepers.values() if each.part.code and each.state is not State.STOPPED]
        for wave in self._waves(running):
            await asyncio.gather(*(self._again(keeper) for keeper in wave))
        self.code = question["code"]
        return await self._status(question)

    async def _again(self, keeper: Keeper) -> None:
        await keeper.restart()
        await keeper.settled.wait()
        if keeper.state is State.FAILED:
            raise Trouble(keeper.trouble, "Put it right, then: mercato up.")

    # Order.

    def _start_all(self) -> None:
        for name, keeper in self._keepers.items():
            if keeper.state is State.STOPPED:
                keeper.expect()
                self._starts[name] = asyncio.create_task(self._start_in_turn(keeper), name=name)

    async def _start_in_turn(self, keeper: Keeper) -> None:
        for need in keeper.part.needs:
            await self._keepers[need].is_ready.wait()
        await keeper.start()

    async def _stop_all(self) -> None:
        for start in self._starts.values():
            start.cancel()
        deadline = asyncio.get_running_loop().time() + ALL_STOPPED_AFTER
        for wave in reversed(self._waves(self._keepers.values())):
            # Those that come last, the servers, have most to lose: some of the time is kept for them.
            left = deadline - asyncio.get_running_loop().time() - KEPT_FOR_SERVERS
            await asyncio.gather(*(keeper.stop(within=max(left, LEAST_GRACE)) for keeper in wave))

    def _waves(self, keepers: Iterable[Keeper]) -> list[list[Keeper]]:
        """The keepers in layers: each needs and calls only what stands in earlier ones."""
        left, waves = {keeper.part.name: keeper for keeper in keepers}, []
        while left:
            wave = [keeper for keeper in left.values() if not left.keys() & {*keeper.part.needs, *keeper.part.calls}]
            waves.append(wave)
            for keeper in wave:
                del left[keeper.part.name]
        return waves

    # Housekeeping.

    def _lock(self) -> TextIO:
        path = self.home.folder / "supervisor.lock"
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"Another supervisor runs in {self.home.folder}.", "Stop it: mercato down.") from None
        return lock

    async def _do_afterwards(self) -> None:
        for keeper in self._keepers.values():
            await keeper.is_ready.wait()
        if command := self._afterwards():
            process = await asyncio.create_subprocess_exec(*wrapped(command), stdin=asyncio.subprocess.DEVNULL)
            await process.wait()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._down.set)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(5)
            for name in self._keepers:
                await asyncio.to_thread(rotate, self.home.log(name))


def rotate(log: Path, largest: int = LARGEST_LOG) -> None:
    """Move what a log that has grown too large holds to a second file. Its writer appends, and need not know."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > largest:
            with log.open("rb") as source, log.with_suffix(".log.1").open("wb") as target:
                while block := source.read(2**20):
                    target.write(block)
            os.truncate(log, 0)


def supervise(supervisor: Supervisor) -> None:
    """Let it run until somebody asks it to stop. For the main thread of a process: what it starts ends with that."""
    try:
        Leftovers(supervisor.home).end()
        asyncio.run(supervisor.run())
    except Trouble as trouble:
        sys.exit(str(trouble))


def main(refit: Callable[[Home, list[Part]], list[Part]] = lambda _, parts: parts) -> None:
    """Supervise the mesh that the environment describes, its parts perhaps refitted."""
    from mercato.config import LocalSettings, load, surroundings
    from mercato.local import sources, training
    from mercato.local.table import mesh_parts

    settings = load(LocalSettings)
    home = Home(settings.home or default_folder())
    environment = {name: value for name, value in surroundings().items() if name not in OURS}
    supervise(
        Supervisor(
            home,
            refit(home, mesh_parts(home, settings)),
            environment,
            code=sources.code(),
            chassis=sources.chassis(surroundings()),
            afterwards=(lambda: None) if settings.kafka_bootstrap else training.command,
        )
    )


if __name__ == "__main__":
    main()
