"""Named places where a test may make a process crash, fail or hang.

They stand in the chassis, on both sides of every commit and remote call, and are named by who passes:
`order.before_commit`, `order.call.ReserveStock.after`. MERCATO_FAILPOINT="order.before_commit=crash" arms one;
`=crash:3` at the third passing.
Disarmed they cost a look into an empty dictionary, and in production they cannot be armed.
"""

import os
import signal
import threading
from dataclasses import dataclass, field

ACTIONS = frozenset({"crash", "raise", "hang"})
KILLED = 128 + signal.SIGKILL


class FailpointReached(Exception):
    """Raised at an armed place."""


class BadFailpoint(Exception):
    """A specification that names no action, or came in production."""


@dataclass(slots=True)
class _Armed:
    action: str
    passing: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def due(self) -> bool:
        """Whether this is the passing at which it happens, which it does once."""
        with self.lock:
            self.passing -= 1
            return self.passing == 0


_armed: dict[str, _Armed] = {}


def arm(specification: str, *, development: bool) -> None:
    """Arm the places of `name=action[:passing]`, separated by commas; none disarms all. BadFailpoint."""
    _armed.clear()
    if specification and not development:
        raise BadFailpoint("failpoints are for development: unset MERCATO_FAILPOINT")
    for each in filter(None, specification.split(",")):
        name, _, what = each.partition("=")
        action, _, passing = what.partition(":")
        if action not in ACTIONS or not (passing or "1").isdigit():
            raise BadFailpoint(f"{each!r} is not name=action[:passing] with {', '.join(sorted(ACTIONS))}")
        _armed[name] = _Armed(action, int(passing or 1))


def failpoint(name: str) -> None:
    """Pass a place that may be armed."""
    if _armed and (armed := _armed.get(name)) and armed.due():
        _strike(name, armed.action)


def _strike(name: str, action: str) -> None:
    if action == "crash":
        os._exit(KILLED)  # no handler runs and no buffer is written: like kill -9
    if action == "hang":
        threading.Event().wait()
    raise FailpointReached(name)
