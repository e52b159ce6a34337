"""Cases: what is to happen at which place while some story goes on; and what became of it."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

ACTIONS = ("raise", "lose", "hang", "crash")
Passings = Mapping[str, Mapping[str, int]]
"""How often each story passed each place."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault."""

    place: str
    passing: int
    action: str
    stories: tuple[str, ...] = field(compare=False)
    """Those that came by when they were rehearsed, the surest first."""

    def __str__(self) -> str:
        return f"{self.place}={self.action}:{self.passing} in {self.stories[0]}"

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


def cases_of(recorded: Passings, upset: Container[str] = (), actions: Iterable[str] = ACTIONS) -> list[Case]:
    """Every passing of every place, with every action.

    Stories in which something goes wrong anyhow are the surest way to a worker's places, the others to those of a call.
    First passings come first, and of those the crashes last, which take longest.
    """
    stories: dict[tuple[str, int], list[str]] = {}
    for story, passings in recorded.items():
        for place, count in sorted(passings.items()):
            for passing in range(1, count + 1):
                stories.setdefault((place, passing), []).append(story)
    found = [
        Case(place, passing, action, tuple(sorted(known, key=lambda story: (story in upset) != _is_worker(place))))
        for (place, passing), known in stories.items()
        for action in actions
    ]
    return sorted(found, key=lambda case: (case.passing, ACTIONS.index(case.action)))


def _is_worker(place: str) -> bool:
    """Whether nobody waits for what passes there: rpcs have capital letters."""
    return place.split(".")[1][0].islower()


def slice_of(cases: Sequence[Case], size: int, dice: random.Random) -> list[Case]:
    """So many cases, about as many of each action."""
    chosen = list[Case]()
    for number, action in enumerate(ACTIONS):
        of_action = [case for case in cases if case.action == action]
        share = (size + number) // len(ACTIONS)
        chosen += dice.sample(of_action, min(share, len(of_action)))
    return chosen
