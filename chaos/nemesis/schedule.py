"""The schedule of faults: drawn from a seed before anything starts, so that the same seed strikes the same blows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

FIRST = 3.0  # seconds in which all is well
GAP = 2.5  # mean seconds between two faults


class Kind(StrEnum):
    """What may happen."""

    KILL = "kill"
    STOP = "stop"
    BLACKOUT = "blackout"
    CUT = "cut"
    REFUSE = "refuse"
    DELAY = "delay"
    HOLD = "hold"
    HOLD_REQUESTS = "hold requests"
    HOLD_REPLIES = "hold replies"
    HALF_CLOSE = "half close"
    HALF_OPEN = "half open"
    CUT_AFTER = "cut after bytes"
    NARROW = "narrow"


TO_PROCESSES = (Kind.KILL, Kind.STOP)
EVERYTHING = "everything"
"""What a blackout strikes: all processes at once, as a power cut does."""
AT_ONCE = frozenset({Kind.KILL, Kind.BLACKOUT, Kind.CUT, Kind.HALF_CLOSE})
"""Faults that are over as soon as they have come."""
LONGEST = {Kind.STOP: 10.0, Kind.HOLD: 10.0}
# Seconds of delay, bytes until the cut, bytes a second.
AMOUNTS = {Kind.DELAY: (0.05, 2.0), Kind.CUT_AFTER: (1.0, 20_000.0), Kind.NARROW: (2_000.0, 50_000.0)}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong: when (seconds from the start), what, where, for how long, how much."""

    at: float
    kind: Kind
    target: str
    lasts: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.1f}  {self.kind:<15} {self.target}{lasting}{self._much}"

    @property
    def _much(self) -> str:
        match self.kind:
            case Kind.DELAY:
                return f", {self.amount:.2f} s"
            case Kind.CUT_AFTER:
                return f", {self.amount:.0f} bytes"
            case Kind.NARROW:
                return f", {self.amount:.0f} bytes/s"
            case _:
                return ""


def draw(seed: int, seconds: float, processes: Sequence[str], links: Sequence[str]) -> list[Fault]:
    """Faults for so many seconds, one of them a blackout.

    Kinds, processes and links are dealt like cards: none comes twice before all came.
    """
    dice = random.Random(seed)  # noqa: S311  a schedule, no secret
    # Every other fault strikes a process: there are fewer ways to hurt one, and each hurts more.
    kinds = _dealt(dice, [kind for kind in Kind if kind not in (*TO_PROCESSES, Kind.BLACKOUT)])
    doomed, ways = (_dealt(dice, sorted(each)) for each in (processes, links))
    blackout = Fault(round(dice.uniform(0.5, 0.8) * seconds, 1), Kind.BLACKOUT, EVERYTHING)
    faults: list[Fault] = []
    at = FIRST
    while at < seconds - 1:
        kind = dice.choice(TO_PROCESSES) if len(faults) % 2 else next(kinds)
        target = next(doomed if kind in TO_PROCESSES else ways)
        faults.append(_fault(dice, round(at, 1), kind, target, seconds))
        at += 0.2 + dice.expovariate(1 / GAP)
    return sorted([*faults, blackout], key=lambda fault: fault.at)


def _dealt(dice: random.Random, cards: Sequence[T]) -> Iterator[T]:
    while True:
        yield from dice.sample(cards, len(cards))


def _fault(dice: random.Random, at: float, kind: Kind, target: str, seconds: float) -> Fault:
    lasts = 0.0 if kind in AT_ONCE else min(dice.uniform(0.5, LONGEST.get(kind, 6.0)), seconds - at)
    amount = dice.uniform(*AMOUNTS[kind]) if kind in AMOUNTS else 0.0
    return Fault(at, kind, target, round(lasts, 1), round(amount, 2))
