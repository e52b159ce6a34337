"""Adaptive throttling: who is refused too often by a neighbour refuses himself, which costs neither of them much.

From "Site Reliability Engineering" (Beyer et al., 2016), chapter 21: of the last seconds' requests, those that were
accepted are counted; when there were more than K times as many requests, the surplus is refused here, at random. So a
neighbour that can do so much and no more gets K times that, and one that is gone gets a request now and then, by which
one learns that it is back: it is a circuit breaker that opens and closes by degrees.
"""

import random
from collections import deque
from dataclasses import dataclass, field

K = 2.0
WINDOW, PARTS = 2.0, 8
"""Seconds that are remembered, and in how many pieces. So short that one is back to normal within those seconds."""
MOST = 0.95
"""The most that is refused here: the rest asks whether it is over."""
FEW = 20
"""Requests in the window below which nothing is made of them."""


@dataclass(slots=True)
class _Part:
    begins: float
    requests: int = 0
    accepted: int = 0


@dataclass(slots=True)
class Throttle:
    """What became of the last requests of one kind to one neighbour. Times are those of a monotonic clock, in seconds.

    For one thread.
    """

    chance: random.Random = field(default_factory=random.Random)
    _parts: deque[_Part] = field(default_factory=deque)
    # Of all parts together: every request asks.
    _requests: int = 0
    _accepted: int = 0

    def refuses(self, now: float) -> bool:
        """Whether a request is not to be sent; then it is counted."""
        share = self.share(now)
        refused = share > 0.0 and self.chance.random() < share
        if refused:
            self._part(now).requests += 1
            self._requests += 1
        return refused

    def note(self, now: float, *, accepted: bool) -> None:
        """Count a request that was sent, once it is known whether the neighbour did what it was asked, or said why not.

        Not before: who takes his time has refused nothing.
        """
        part = self._part(now)
        part.requests += 1
        part.accepted += accepted
        self._requests += 1
        self._accepted += accepted

    def share(self, now: float) -> float:
        """The share of requests that is refused here."""
        self._forget(now)
        requests, accepted = self._requests, self._accepted
        return min(MOST, max(0.0, (requests - K * accepted) / (requests + 1))) if requests >= FEW else 0.0

    def _part(self, now: float) -> _Part:
        if not self._parts or now - self._parts[-1].begins >= WINDOW / PARTS:
            self._parts.append(_Part(now))
        return self._parts[-1]

    def _forget(self, now: float) -> None:
        while self._parts and now - self._parts[0].begins > WINDOW:
            gone = self._parts.popleft()
            self._requests -= gone.requests
            self._accepted -= gone.accepted
