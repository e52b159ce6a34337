"""A lane: who of the callers of an rpc goes alone, who waits, and who travels in one message.

While one message is under way, later calls wait; when it is back, all of them go as one. There is no timer and nothing
waits when the lane is empty, so a message carries as many calls as came while the one before it took its time.

A message that does not come back is not waited for: after `JAM` seconds the next one overtakes it.

The lane knows neither threads nor an event loop. Whoever uses it holds a lock, or is the only one.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

MOST = 64  # calls in one message
HEAVIEST = 128 * 1024  # bytes of requests in one message: a server takes no more than twice that
JAM = 0.25


class Passenger(Protocol):
    """A call."""

    @property
    def weight(self) -> int:
        """The bytes of its request."""
        ...


P = TypeVar("P", bound=Passenger)


@dataclass(slots=True, eq=False)
class Journey(Generic[P]):
    """A message, from its departure until its reply."""

    passengers: list[P]
    began: float


@dataclass(slots=True)
class Lane(Generic[P]):
    """The calls of one rpc from here."""

    jam: float = JAM
    """Seconds after which a message is overtaken."""
    _under_way: Journey[P] | None = None
    _waiting: deque[P] = field(default_factory=deque)

    def board(self, passenger: P, now: float, *, company: bool = False) -> Journey[P] | None:
        """Go at once, alone; None: wait for one's turn. If company is to be expected, that is waited for."""
        if self._under_way is None and not (company or self._waiting):
            self._under_way = Journey([passenger], now)
            return self._under_way
        self._waiting.append(passenger)
        return None

    def arrive(self, journey: Journey[P], now: float) -> Journey[P] | None:
        """A message is back: the next one; None if nobody waits, or it was overtaken."""
        if journey is not self._under_way:
            return None
        self._under_way = None
        return self._depart(now)

    def overtake(self, now: float) -> Journey[P] | None:
        """The next message, if none is under way, or that takes too long."""
        if self._under_way is not None and now - self._under_way.began < self.jam:
            return None
        return self._depart(now)

    def give_up(self, passenger: P) -> bool:
        """Wait no longer. False if it is under way already."""
        try:
            self._waiting.remove(passenger)
        except ValueError:
            return False
        return True

    def _depart(self, now: float) -> Journey[P] | None:
        company: list[P] = []
        weight = 0
        while self._waiting and len(company) < MOST:
            weight += self._waiting[0].weight
            if company and weight > HEAVIEST:
                break
            company.append(self._waiting.popleft())
        if company:
            self._under_way = Journey(company, now)
            return self._under_way
        return None
