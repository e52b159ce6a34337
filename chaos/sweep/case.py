"""Cases: what is to happen at which place while which story goes on; and what became of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ACTIONS = ("raise", "lose", "hang", "crash")
Passings = Mapping[str, Mapping[str, int]]
"""How often each story passed each place."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault in one story."""

    story: str
    place: str
    passing: int
    action: str

    def __str__(self) -> str:
        return f"{self.place}={self.action}:{self.passing} in {self.story}"

    @property
    def service(self) -> str:
        """Whose process it happens in."""
        return self.place.partition(".")[0]


class Outcome(StrEnum):
    """What became of a case."""

    HELD = "held"  # nothing was lost, doubled or left lying
    VIOLATED = "violated"
    MISSED = "missed"  # this time nobody came by


@dataclass(frozen=True, slots=True)
class Result:
    """A case that was played."""

    case: Case
    outcome: Outcome
    seconds: float
    problems: tuple[str, ...] = ()


def cases_of(recorded: Passings, actions: Iterable[str] = ACTIONS) -> list[Case]:
    """Every passing of every place, each in the first story that comes so far, with every action.

    First passings come first, and of those the crashes last, which take longest.
    """
    found, seen = list[Case](), dict[str, int]()
    for story, passings in recorded.items():
        for place, count in sorted(passings.items()):
            for passing in range(seen.get(place, 0) + 1, count + 1):
                found += [Case(story, place, passing, action) for action in actions]
            seen[place] = max(count, seen.get(place, 0))
    return sorted(found, key=lambda case: (case.passing, ACTIONS.index(case.action)))


def slice_of(cases: Sequence[Case], size: int, dice: random.Random) -> list[Case]:
    """So many cases, about as many of each action."""
    chosen = list[Case]()
    for number, action in enumerate(ACTIONS):
        of_action = [case for case in cases if case.action == action]
        share = (size + number) // len(ACTIONS)
        chosen += dice.sample(of_action, min(share, len(of_action)))
    return chosen
