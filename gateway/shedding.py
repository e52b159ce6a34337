"""What the gateway refuses, so that what it takes is answered: a bound, and throttling by neighbour.

Without a bound, everybody would wait for everybody until no answer came in time. The less critical a request is,
the smaller the part of the room that it may fill, so that searches are refused before checkouts.
"""

import random
import time

import grpc.aio

from mercato.errors import DeadlineExceeded, MercatoError, NotYetConsistent, Overloaded, Unavailable
from mercato.policy import Criticality
from mercato.rpc import status
from mercato.telemetry import Counter, Gauge
from mercato.throttle import Throttle

MOST_REQUESTS = 1024

_SHED = Counter("gateway_shed", "Requests that were refused for want of room.", ("service", "why"))


class Shedding:
    """Lets requests through as long as there is room, here and at the service that they are for."""

    def __init__(self, most: int) -> None:
        """At most so many requests are under way at once."""
        self._most = {each: most * each.share for each in Criticality}
        self._throttles: dict[tuple[str, Criticality], Throttle] = {}
        self._room = Room()
        Gauge("gateway_under_way", "Requests under way.", read=lambda: self._room.under_way)

    def admitted(self, service: str, criticality: Criticality) -> "Room":
        """Answer a request within. Overloaded when there is no room for it."""
        if self._room.under_way >= self._most[criticality]:
            raise _refusal(service, "no room here")
        if self._throttle(service, criticality).refuses(time.monotonic()):
            raise _refusal(service, "no room there")
        return self._room

    def judged(self, callee: str, criticality: Criticality) -> "Judgement":
        """Make a call within, and note what becomes of it."""
        return Judgement(self._throttle(callee, criticality))

    def _throttle(self, callee: str, criticality: Criticality) -> Throttle:
        key = callee, criticality
        if key not in self._throttles:  # no setdefault: making one costs as much as a call, for its dice
            self._throttles[key] = Throttle()
        return self._throttles[key]


# No generators, like contextlib's: every request passes through both of these.
class Room:
    """Requests that are under way, each as long as it is within."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way = 0

    def __enter__(self) -> None:
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


class Judgement:
    """A call, and what becomes of it."""

    __slots__ = ("_throttle",)

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    def __enter__(self) -> None:
        pass

    def __exit__(self, _cls: object, failed: BaseException | None, _traceback: object) -> None:
        if failed is None:
            self._throttle.note(time.monotonic(), accepted=True)
        elif isinstance(failed, grpc.aio.AioRpcError | MercatoError):
            self._throttle.note(time.monotonic(), accepted=not _is_lost(failed))


def _refusal(callee: str, why: str) -> Overloaded:
    _SHED.add(callee, why)
    refusal = Overloaded()
    refusal.retry_after = random.uniform(0.5, 2.5)  # noqa: S311  so that not all come back at once
    return refusal


def _is_lost(failed: grpc.aio.AioRpcError | MercatoError) -> bool:
    """Whether the neighbour did not do what it was asked, for reasons of its own."""
    error = failed if isinstance(failed, MercatoError) else status.error_of_call(failed)
    return isinstance(error, Unavailable | DeadlineExceeded) and not isinstance(error, NotYetConsistent)
