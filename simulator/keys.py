"""Idempotency keys by Stripe's rules: the first request's outcome is every later one's, for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from simulator.problem import InvalidRequest, KeyInUse, KeyReused
from simulator.record import Json, Record

LONGEST = 255


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to: a record as it was then, or the error."""

    status: int
    record: Record | None = None
    error: Json | None = None


@dataclass(frozen=True, slots=True)
class _Settled:
    fingerprint: str
    outcome: Outcome


class Keys:
    """The keys seen so far. Not thread-safe by itself: the provider holds its lock."""

    def __init__(self) -> None:
        self._settled: dict[str, _Settled] = {}
        self._open: set[str] = set()
        self.failures: Counter[str] = Counter()

    def claim(self, key: str, fingerprint: str) -> Outcome | None:
        """Begin with a key, or the outcome that it already has.

        Raises KeyReused when it belongs to another request, KeyInUse when the first one is not through.
        """
        if len(key) > LONGEST:
            raise InvalidRequest(f"Idempotency keys can be at most {LONGEST} characters long.")
        if key in self._open:
            raise KeyInUse(key)
        if earlier := self._settled.get(key):
            if earlier.fingerprint != fingerprint:
                raise KeyReused(key)
            return earlier.outcome
        self._open.add(key)
        return None

    def settle(self, key: str, fingerprint: str, outcome: Outcome) -> None:
        """Remember what a key came to."""
        self._settled[key] = _Settled(fingerprint, outcome)

    def let_go(self, key: str) -> None:
        """The request is through; what it came to, if anything, is on the disk."""
        self._open.discard(key)
