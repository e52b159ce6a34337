"""One server of the embedded stack: how it is prepared, started, asked whether it is ready, and stopped."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

from mercato.local.trouble import Trouble

HOST = "127.0.0.1"
# Below the range that the kernel gives to outgoing connections: a port that we remember is not taken by one of those.
PORTS = range(20_000, 26_000)
_PARTS = 20
_given: set[int] = set()


class Server(Protocol):
    """A program that keeps its state in a folder and answers on a port."""

    name: str
    port: int
    user: str  # whom it runs as; "-" is whoever we are
    stop_signal: signal.Signals  # what makes it stop cleanly and soon

    def prepare(self) -> None:
        """Make its folder, once; whatever else must be there before it starts."""
        ...

    def command(self) -> list[str]:
        """What to run."""
        ...

    def ready(self) -> bool:
        """Whether it serves. Answers within a second."""
        ...

    @property
    def url(self) -> str:
        """How clients reach it."""
        ...


def free_port(among: Sequence[int] = PORTS) -> int:
    """A port of this machine that nobody listens on, one of these; while there are others, none that was given before.

    Whoever is given a port listens on it some time later. So each process begins with a part of them, which is hardly
    ever that of another process that chooses meanwhile.
    """
    own = among[os.getpid() % _PARTS :: _PARTS]
    mixed = [*random.sample(own, len(own)), *random.sample(among, len(among))]
    for port in (*(port for port in mixed if port not in _given), *mixed):
        if is_free(port):
            _given.add(port)
            return port
    raise Trouble("No free port was found on this machine.", "Stop some programs and try again.")


def is_free(port: int, host: str = HOST) -> bool:
    """Whether one could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def converse(port: int, question: bytes, size: int) -> bytes:
    """Send some bytes and return at least so many of the answer, if there are; nothing when nobody answers in time."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(question)
            answer = b""
            # What lies there is read to its end: who leaves it unread is logged as one who broke the connection.
            while len(answer) < size and (more := connection.recv(4096)):
                answer += more
            return answer
    except OSError:
        return b""


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it: some load half of the machine."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise Trouble(f"The package {name} is not installed.", "Install the whole stack: pip install 'mercato[local]'.")
    return Path(spec.origin).parent


def wrapped(command: Sequence[str], stop: signal.Signals = signal.SIGTERM, user: str = "-") -> list[str]:
    """The command inside the wrapper that ends it when this process dies."""
    launch = str(Path(__file__).with_name("launch.py"))
    return [sys.executable, "-I", "-S", launch, str(int(stop)), str(os.getpid()), user, *command]


AnyServer = TypeVar("AnyServer", bound=Server)


@contextmanager
def running(server: AnyServer, log: Path, *, within: float = 60.0) -> Iterator[AnyServer]:
    """The server, prepared, started and ready; stopped when the block is left. For tests and tools.

    Call it from the thread that lives longest: the server ends with the thread that started it.
    """
    server.prepare()
    with log.open("ab") as output:
        process = subprocess.Popen(
            wrapped(server.command(), server.stop_signal, server.user),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_ready(server, process, log, within)
        yield server
    finally:
        process.send_signal(server.stop_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(server: Server, process: subprocess.Popen[bytes], log: Path, within: float) -> None:
    deadline = time.monotonic() + within
    while not server.ready():
        if process.poll() is not None:
            raise Trouble(f"{server.name} ended with status {process.returncode}:\n{tail(log)}", f"See {log}.")
        if time.monotonic() > deadline:
            raise Trouble(f"{server.name} was not ready within {within:.0f} s:\n{tail(log)}", f"See {log}.")
        time.sleep(0.02)


def tail(log: Path, lines: int = 10, since: int = 0) -> str:
    """The last lines of a log file, or of what was written after a position."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
