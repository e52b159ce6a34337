"""What tests need: a caller, a clock, a crowd, a server in this process."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import grpc

from mercato import log
from mercato.auth import Signer, Verifier
from mercato.grants import Granter
from mercato.keys import create_keys
from mercato.rpc.call import NOBODY, Call, Key, Principal, calling
from mercato.rpc.channel import Channels
from mercato.rpc.contract import Servicer, owner_of
from mercato.rpc.enforce import Door, Enforced, Traffic, enforce
from mercato.rpc.patience import FOR_MESSAGES
from mercato.rpc.server import Server

T = TypeVar("T")
S = TypeVar("S")
CALLERS = ("gateway", "operator", "product", "inventory", "order", "payment", "delivery", "user")
SIGNERS = (*CALLERS, "order-grant")


def a_customer(subject: str = "0190a6e0-0000-7000-8000-000000000001", guest_id: str | None = None) -> Principal:
    """Somebody who shops."""
    return Principal(subject, frozenset({"customer"}), "session", guest_id)


def a_guest(subject: str = "0190a6e0-0000-7000-8000-0000000000ff") -> Principal:
    """Somebody who has not signed in."""
    return Principal(subject, frozenset({"guest"}), "session")


def staff(*roles: str, subject: str = "0190a6e0-0000-7000-8000-000000000002") -> Principal:
    """Somebody who works here."""
    return Principal(subject, frozenset(roles), "session")


@contextmanager
def acting(
    principal: Principal = NOBODY,
    *,
    service: str = "gateway",
    only_of: str | None = None,
    key: Key | None = None,
    request_id: str = "test",
) -> Iterator[Call]:
    """Within the block, that is who calls."""
    call = Call("Test.Call", principal, service, only_of, key, request_id)
    with log.bound(request_id=request_id), calling(call):
        yield call


def at_once(act: Callable[[], T], times: int) -> list[T | Exception]:
    """What `times` threads get that do the same at the same moment: results and exceptions, in no order."""
    return all_at_once([act] * times)


def all_at_once(acts: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What threads get that do these at the same moment, in the order of the acts."""
    barrier = threading.Barrier(len(acts))
    outcomes: dict[int, T | Exception] = {}

    def run(number: int, act: Callable[[], T]) -> None:
        barrier.wait()
        try:
            outcomes[number] = act()
        except Exception as raised:  # noqa: BLE001  what was raised is what is looked at
            outcomes[number] = raised

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[number] for number in range(len(acts))]


@dataclass(slots=True)
class FixedClock:
    """A clock that stands until it is put forward."""

    time: datetime = field(default_factory=lambda: datetime(2026, 1, 5, 12, 0, tzinfo=UTC))

    def now(self) -> datetime:
        """The time."""
        return self.time

    def forward(self, by: timedelta) -> None:
        """Put it forward."""
        self.time += by


class Served:
    """Servicers that run in this process, and ways to call them."""

    def __init__(self, server: Server, keys: Path, name: str) -> None:
        self.server = server
        self.keys = keys
        self.name = name
        self.address = f"127.0.0.1:{server.port}"
        self._channels: list[Channels] = []

    def stub(self, cls: Callable[[grpc.Channel], S], principal: Principal | None = None, caller: str = "gateway") -> S:
        """A stub of a generated class, calling as a service for a principal (or for the present call's)."""
        channels = Channels(self.signer(caller), {self.name: f"ipv4:{self.address}"})
        self._channels.append(channels)
        return channels.stub(cls, principal, self.name)

    def signer(self, caller: str) -> Signer:
        """Signs as a service."""
        return Signer.load(self.keys, caller)

    def granter(self, service: str = "order") -> Granter:
        """Signs a service's grants."""
        return Granter.load(self.keys, service)

    def close(self) -> None:
        """Stop."""
        for channels in self._channels:
            channels.close()
        self.server.stop(0)


@contextmanager
def serve(
    *servicers: Servicer, service: str = "", threads: int = 16, waiting: int = 64, patience: float = FOR_MESSAGES
) -> Iterator[Served]:
    """Serve on a free port, with keys made for the occasion, enforced as in production."""
    name = service or owner_of(servicers[0].contract)
    with ExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keys-")))
        create_keys(keys, SIGNERS)
        traffic = Traffic()
        enforced = [Enforced(each, Verifier(keys, name), traffic) for each in servicers]
        limits: Any = {"threads": threads, "waiting": waiting, "patience": patience}
        server = Server(enforced, address="127.0.0.1:0", traffic=traffic, **limits)
        served = Served(server, keys, name)
        stack.callback(served.close)
        server.start()
        yield served


def enforced(servicer: Servicer, keys: Path, service: str = "") -> Any:
    """A servicer in its wrapper, for grpcio-testing; a token's keys are made in the folder."""
    create_keys(keys, SIGNERS)
    wrapped = enforce(servicer, Verifier(keys, service or owner_of(servicer.contract)))
    return SimpleNamespace(**{door.method.name: _rehearsed(door) for door in wrapped.doors})


def _rehearsed(door: Door) -> Callable[[Any, Any], Any]:
    return lambda request, context: door(request, _Rehearsal(context))


class _Rehearsal:
    """A context of grpcio-testing, whose own `abort` forgets the trailing metadata."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, code: grpc.StatusCode, text: str) -> None:
        """End the call with a status."""
        self._context.set_code(code)
        self._context.set_details(text)
