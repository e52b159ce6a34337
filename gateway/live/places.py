"""How many streams may be open at once: in this process, by one account, from one address."""

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.problems import Problem
from mercato import log

_SOON, _LATER = 1.0, 5.0  # seconds
_OTHERS = 256  # descriptors that are not a stream's: other requests, channels, Kafka, files


@dataclass(slots=True)
class Places:
    """The places for streams. A stream is cheap, and held for an hour: what is scarce is descriptors and memory."""

    most: int = 5000
    each: int = 32
    address: int = 512
    _taken: Counter[str] = field(default_factory=Counter)
    _all: int = 0

    @contextmanager
    def taken(self, subject: str, sender: str) -> Iterator[None]:
        """A place for as long as the block lasts. Problem OVERLOADED or TOO_MANY_STREAMS where there is none."""
        if self._all >= self.most:
            raise _refusal("OVERLOADED", _SOON)
        mine, here = f"by {subject}", f"from {sender}"
        if self._taken[mine] >= self.each or self._taken[here] >= self.address:
            raise _refusal("TOO_MANY_STREAMS", _LATER)
        self._count(mine, here, 1)
        try:
            yield
        finally:
            self._count(mine, here, -1)

    @property
    def open(self) -> int:
        """How many are taken."""
        return self._all

    def _count(self, mine: str, here: str, by: int) -> None:
        self._all += by
        for key in (mine, here):
            self._taken[key] += by
            if not self._taken[key]:
                del self._taken[key]


def room_for(streams: int) -> int:
    """So many streams, or as many as the process may have descriptors for; if it began with few, it takes more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return streams
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    room = max(most - _OTHERS, 1)
    if room < streams:
        advice = f"raise the limit of descriptors (ulimit -Hn) from {hard} to {wanted}"
        log.get(__name__).warning("streams.fewer", wanted=streams, room=room, advice=advice)
    return room


def _refusal(reason: str, retry_after: float) -> Problem:
    problem = Problem.edge(reason)
    problem.retry_after = retry_after
    return problem
