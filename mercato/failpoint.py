"""Named places where a process can be made to crash, fail, hang or lose an answer: for tests, never in production.

They stand in the chassis, on both sides of every commit that writes, of every publish, acknowledgement and remote call,
and are named by the use case that runs through them, so that no write path needs a line of its own:

    order.PlaceOrder.before_commit              order.process.ship.call.CreateShipment.after
    product.availability.after_commit           inventory.relay.after_ack

What happens there, once: `crash` (as by kill -9), `raise` (what nobody foresaw), `hang` (until it is disarmed), `lose`
(before a call the request, behind a call or a commit the answer: what is heard of it is silence).

MERCATO_FAILPOINT="order.PlaceOrder.before_commit=crash" arms one from the start, `=crash:3` at the third passing;
a running process is armed by its control (`mercato.failpoint_control`). Unwatched they cost a look at a flag.
"""

import os
import signal
import threading
from collections import Counter
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType

from mercato.errors import Unavailable

ACTIONS = frozenset({"crash", "raise", "hang", "lose"})
KILLED = 128 + signal.SIGKILL


class FailpointReached(Exception):
    """Raised at a place that is to raise: what nobody has foreseen."""


class BadFailpoint(Exception):
    """A specification that names no action, or came in production."""


@dataclass(slots=True)
class _Armed:
    action: str
    passing: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def due(self) -> bool:
        """Whether this is the passing at which it happens, which it does once."""
        with self.lock:
            self.passing -= 1
            return self.passing == 0


_use_case: ContextVar[str] = ContextVar("use_case", default="")
_armed: dict[str, _Armed] = {}
_struck: list[str] = []
_passed: Counter[str] = Counter()
_lock = threading.Lock()
_recording = False
_watched = False  # something is armed, or passings are recorded


class UseCase:
    """What runs within the block: the first part of the names of the places that it passes."""

    __slots__ = ("_name", "_token")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._token: Token[str] = _use_case.set(self._name)

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _use_case.reset(self._token)


def arm(specification: str, *, development: bool) -> None:
    """Arm the places of `name=action[:passing]`, separated by commas; none disarms all. BadFailpoint.

    Whoever hangs at a place that was armed before goes on.
    """
    if specification and not development:
        raise BadFailpoint("failpoints are for development: unset MERCATO_FAILPOINT")
    wanted = dict(map(_parsed, filter(None, specification.split(","))))
    before = list(_armed.values())
    _armed.clear()
    _struck.clear()
    _armed.update(wanted)
    _watch()
    for each in before:
        each.released.set()


def _parsed(each: str) -> tuple[str, _Armed]:
    name, _, what = each.partition("=")
    action, _, passing = what.partition(":")
    if action not in ACTIONS or not (passing or "1").isdigit():
        raise BadFailpoint(f"{each!r} is not name=action[:passing] with {', '.join(sorted(ACTIONS))}")
    return name, _Armed(action, int(passing or 1))


def record(*, on: bool, development: bool) -> None:
    """Begin to count who passes where, from nothing; or end it. BadFailpoint in production."""
    global _recording  # noqa: PLW0603  a process has one switch
    if not development:
        raise BadFailpoint("failpoints are for development: nothing is recorded")
    with _lock:
        _passed.clear()
        _recording = on
    _watch()


def passed() -> dict[str, int]:
    """How often each place was passed since the recording began."""
    with _lock:
        return dict(_passed)


def struck() -> list[str]:
    """The armed places that were reached in their passing."""
    return list(_struck)


def watched() -> bool:
    """Whether anybody looks at all: only then is it worth finding out what a place would be passed with."""
    return _watched


def _watch() -> None:
    global _watched  # noqa: PLW0603  so that an unwatched place costs one look
    _watched = bool(_armed) or _recording


def failpoint(place: str) -> None:
    """Pass a place that may be armed."""
    if _watched:
        _pass(place)


def _pass(place: str) -> None:
    use_case = _use_case.get()
    name = f"{use_case}.{place}" if use_case else place
    if _recording:
        with _lock:
            _passed[name] += 1
    if (armed := _armed.get(name)) and armed.due():
        _strike(name, armed)


def _strike(name: str, armed: _Armed) -> None:
    if armed.action == "crash":
        os._exit(KILLED)  # no handler runs and no buffer is written: like kill -9
    _struck.append(name)
    match armed.action:
        case "hang":
            armed.released.wait()  # and then goes on, as a process does that was stopped for a while
        case "lose":
            raise Unavailable(f"nothing is heard any more: {name}")
        case _:
            raise FailpointReached(name)
