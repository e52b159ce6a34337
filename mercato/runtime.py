"""The life of a process, the same for all: settings, start, ready, SIGTERM, drain, close in reverse.

    def build(config: InventoryConfig, stack: Stack) -> Process: …

    run(build, InventoryConfig)

MERCATO_ROLES says which parts of a process run: `serve` its servicers, `relay` the outbox, `consume` its consumers,
`process` its other workers.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mercato import log
from mercato.collector import settle
from mercato.config import BadSettings, Settings, load
from mercato.failpoint import BadFailpoint, arm
from mercato.keys import UnfitKey
from mercato.ops.stuck import NothingStuck, StuckWork
from mercato.rpc.contract import Servicer
from mercato.rpc.enforce import enforce
from mercato.rpc.server import Health, Server
from mercato.stack import Stack
from mercato.worker import Every, Loop, Worker, every

if TYPE_CHECKING:
    from mercato.projection import Projections

__all__ = ["Every", "Process", "Stack", "Worker", "every", "run"]

C = TypeVar("C")
LOOK_FOR_PARENT = 1.0
_KNOWN_TO_ALL = "development"
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """What a service consists of. `closers` are called when all else has ended, the last first.

    `stuck` is what it knows of work that waits for a person (`mercato.ops.stuck`).
    """

    servicers: Sequence[Servicer] = ()
    consumers: Sequence[Worker] = ()
    workers: Sequence[Worker] = ()
    closers: Sequence[Callable[[], object]] = field(default=())
    stuck: StuckWork = field(default_factory=NothingStuck)
    projections: "Projections | None" = None


def run(build: Callable[[C, Stack], Process], config: type[C]) -> NoReturn:
    """Be this process until SIGTERM, SIGINT or the end of the parent named by MERCATO_PARENT_PID."""
    try:
        settings, own = load(Settings), load(config)
        check(settings)
    except BadSettings as problem:
        sys.exit(f"mercato: {problem}")
    log.configure(settings.name, settings.log_level)
    if sys.argv[1:2] == ["projections"]:
        sys.exit(_about_projections(settings, lambda stack: build(own, stack), sys.argv[2:]))
    settle()
    sys.exit(_live(settings, lambda stack: build(own, stack)))


def _about_projections(settings: Settings, build: Callable[[Stack], Process], arguments: Sequence[str]) -> int:
    """Be the program that is asked about its read models, instead of the process."""
    from mercato.projection.command import perform

    stack = Stack(settings)
    try:
        return perform(build(stack).projections, arguments)
    finally:
        stack.close()


def check(settings: Settings) -> None:
    """BadSettings, where they are not those of a process that may start."""
    if not settings.development and settings.secret.reveal() == _KNOWN_TO_ALL:
        raise BadSettings("MERCATO_SECRET is that of development: production needs one of its own")
    if settings.failpoint_folder and not settings.development:
        raise BadSettings("failpoints are for development: unset MERCATO_FAILPOINT_FOLDER")
    try:
        arm(settings.failpoint, development=settings.development)
    except BadFailpoint as refusal:
        raise BadSettings(str(refusal)) from None


def _live(settings: Settings, build: Callable[[Stack], Process]) -> int:
    asked_to_stop = Signals()
    life = Life(settings)
    try:
        life.start(build)
    except (BadSettings, UnfitKey) as problem:
        _log.error("process.unfit", problem=str(problem))
        life.end()
        return 2
    except Exception:  # noqa: BLE001  the log is where whoever started us looks
        _log.exception("process.failed")
        life.end()
        return 1
    asked_to_stop.wait(settings.parent_pid)
    life.end()
    return 0


class Signals:
    """SIGTERM and SIGINT, waited for. A pipe, for an event that a handler sets can deadlock with its waiter."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def wait(self, parent: int) -> None:
        """Wait for a signal, or for the parent to be gone."""
        while not select.select([self._read], [], [], LOOK_FOR_PARENT)[0]:
            if parent and os.getppid() != parent:
                _log.warning("process.orphaned", parent=parent)
                return


class Life:
    """A process from start to end."""

    def __init__(self, settings: Settings) -> None:
        self._began = time.monotonic()
        self._settings = settings
        self._stack = Stack(settings)
        self._ending = threading.Event()
        self._started = False
        self._server: Server | None = None
        self._health: Health | None = None
        self._loops: list[Loop] = []
        self._stop_metrics: Callable[[], None] | None = None

    def start(self, build: Callable[[Stack], Process]) -> None:
        """Start everything; what the outside may see last."""
        self._health = Health(self._settings.health_address, self.ready, self.alive)
        self._stack.unlock()
        self._take_faults()
        process = build(self._stack)
        for close in process.closers:
            self._stack.closing(close)
        if "serve" in self._settings.roles and process.servicers:
            self._server = self._serve([*self._patient(process), *self._operations(process)])
        self._loops = [Loop(worker, self._stack.clock, self._settings.name) for worker in self._workers(process)]
        for loop in self._loops:
            loop.start()
        self._started = True
        self._say_ready()
        threading.Thread(target=self._adorn, name="adorn", daemon=True).start()

    def _take_faults(self) -> None:
        if folder := self._settings.failpoint_folder:
            from mercato.failpoint_control import FailpointControl

            control = FailpointControl(folder, self._settings.name, development=self._settings.development)
            self._stack.closing(control.close)

    def _serve(self, servicers: Sequence[Servicer]) -> Server:
        server = Server(
            [enforce(each, self._stack.verifier) for each in servicers],
            address=self._settings.grpc_address,
            threads=self._settings.threads,
            waiting=self._settings.maximum_calls,
        )
        server.start()
        return server

    def _patient(self, process: Process) -> Sequence[Servicer]:
        """The servicers, which wait for what their callers wrote elsewhere."""
        from mercato.consistency import Horizon, patient
        from mercato.consumer import Consumer

        for database in self._stack.databases.values():
            topics = {each.name: each.topics for each in process.consumers if isinstance(each, Consumer)}
            return patient(process.servicers, Horizon(self._settings.name, database, topics, process.projections))
        return process.servicers

    def _operations(self, process: Process) -> Iterable[Servicer]:
        """What every service serves beside its own contract, about itself."""
        from mercato.consumer import Consumer
        from mercato.ops.servicer import OpsServicer, Overseen

        for database in self._stack.databases.values():
            consumers = {each.name: each for each in process.consumers if isinstance(each, Consumer)}
            name, tokens = self._settings.name, self._stack.page_tokens
            kafka, projections = self._stack.kafka, process.projections
            yield OpsServicer(Overseen(name, database, kafka, tokens, consumers, process.stuck, projections))
            return

    def _workers(self, process: Process) -> list[Worker]:
        roles = self._settings.roles
        workers: list[Worker] = []
        if "relay" in roles and self._stack.databases:
            workers += self._relays()
        if "consume" in roles:
            workers += process.consumers
        if "process" in roles:
            workers += process.workers
            workers += process.projections.workers.values() if process.projections else ()
        return workers

    def _relays(self) -> list[Worker]:
        from mercato.housekeeping import Housekeeping
        from mercato.outbox import OutboxRelay

        databases = self._stack.databases.values()
        relays = [OutboxRelay(database, self._stack.kafka()) for database in databases]
        return [*relays, *map(Housekeeping, databases)]

    def _say_ready(self) -> None:
        _log.info(
            "process.ready",
            seconds=round(time.monotonic() - self._began, 3),
            roles=sorted(self._settings.roles),
            grpc=self._server.port if self._server else None,
            health=self._health.port if self._health else None,
            pid=os.getpid(),
        )

    def _adorn(self) -> None:
        # Imports that cost a start more than they are worth in its first second.
        from mercato import telemetry

        if self._server and self._settings.development:
            self._server.reflect()
        if self._settings.metrics_address:
            self._stop_metrics, address = telemetry.serve(self._settings.metrics_address)
            _log.info("metrics.ready", address=address)

    def ready(self) -> bool:
        """Whether calls may come."""
        return self._started and not self._ending.is_set() and self._stack.ready()

    def alive(self) -> bool:
        """Whether the process is worth keeping: no dependency's trouble makes it not so."""
        return all(loop.alive for loop in self._loops)

    def end(self) -> None:
        """Send callers elsewhere, answer what is under way, finish the present pieces of work, close."""
        grace = self._settings.grace.total_seconds()
        self._ending.set()
        _log.info("process.draining")
        clean = self._drain(grace)
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + grace
        for loop in self._loops:
            loop.join(max(0.0, deadline - time.monotonic()))
        self._stack.close()
        if self._stop_metrics:
            self._stop_metrics()
        if self._health:
            self._health.stop()
        _log.info("process.ended", clean=clean and not any(loop.is_alive() for loop in self._loops))

    def _drain(self, grace: float) -> bool:
        if not self._server:
            return True
        self._server.leave()
        # Channels that watch our health have moved on by then; those that do not are sent away by GOAWAY.
        threading.Event().wait(self._settings.leave_first.total_seconds())
        return self._server.stop(grace)
