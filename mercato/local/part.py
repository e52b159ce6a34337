"""A part of the mesh: what is run, what it needs, and how one sees that it is ready."""

import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mercato.local.door import Door
from mercato.local.server import Server


class State(StrEnum):
    """What a part is doing."""

    STARTING = "STARTING"
    READY = "READY"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One place that a part can run at: an address of its own, and the environment that leads it there."""

    address: str
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """What is run. With two slots a restart starts the new process before it drains the old one.

    It starts when what it needs is ready. What it only calls may come later, but stops later, too.
    """

    name: str
    command: Callable[[], list[str]] | None  # None: a server that is not ours
    slots: tuple[Slot, ...]
    needs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    prepare: Callable[[], None] = nothing
    step: bool = False  # something that is done once at each start, not a process that stays
    code: bool = True  # restarted when the code changes
    stop_signal: signal.Signals = signal.SIGTERM
    user: str = "-"
    grace: float = 4.0  # seconds to stop in
    door: Door | None = None  # where the supervisor listens for all its processes


def server_part(server: Server) -> Part:
    """A server of the embedded stack."""
    slot = Slot(f"127.0.0.1:{server.port}", server.ready)
    return Part(
        name=server.name,
        command=server.command,
        slots=(slot,),
        prepare=server.prepare,
        code=False,
        stop_signal=server.stop_signal,
        user=server.user,
    )


def external_part(name: str, address: str) -> Part:
    """A server that somebody else runs."""
    return Part(name=name, command=None, slots=(Slot(address, lambda: listens(address)),), code=False)


def listens(address: str) -> bool:
    """Whether somebody takes connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def answers_http(address: str, path: str) -> bool:
    """Whether a GET of the path is answered with 200."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
