"""Faults by rate: how often the provider misbehaves, and the dice that decide about each call and webhook."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from urllib.parse import parse_qsl


@dataclass(frozen=True, slots=True)
class Faults:
    """How many of all calls, or webhooks, meet with each fault: from 0, none, to 1, all of them."""

    down: float = 0.0
    """Calls answered with 503; nothing is done."""
    slow: float = 0.0
    """Calls that take MERCATO_SIMULATOR_SLOW before anything is done."""
    hang: float = 0.0
    """Changes that are done, and whose reply never comes."""
    duplicate: float = 0.0
    """Webhooks that are sent five times."""
    shuffle: float = 0.0
    """Webhooks that are held back for up to a second, so that later ones overtake them."""
    late: float = 0.0
    """Webhooks that come after MERCATO_SIMULATOR_LATE."""

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read `hang=0.1,duplicate=0.5`, or the same as a form. ValueError."""
        given = dict(parse_qsl(text.replace(",", "&"), strict_parsing=True)) if text else {}
        return cls.of(given)

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Faults:
        """Rates by name; what is not named does not happen. ValueError."""
        names = {each.name for each in fields(cls)}
        if unknown := set(given) - names:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
        rates = {name: float(rate) for name, rate in given.items()}
        if not all(0 <= rate <= 1 for rate in rates.values()):
            raise ValueError("a rate is from 0 to 1")
        return cls(**rates)

    def rates(self) -> Mapping[str, float]:
        """The rates by name."""
        return asdict(self)


class Dice:
    """Decide by rate whether a fault strikes. The same seed and the same calls in the same order: the same faults."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._random = random.Random(seed)  # noqa: S311  dice, not secrets
        self._lock = threading.Lock()

    def strikes(self, fault: str) -> bool:
        """Whether a fault strikes now."""
        rate: float = getattr(self.faults, fault)
        return rate > 0 and self.part() < rate

    def part(self) -> float:
        """A number from 0 to below 1."""
        with self._lock:
            return self._random.random()
