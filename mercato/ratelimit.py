"""Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371): one number for each key, no window that resets.

A key remembers its theoretical arrival time: when it would next be due if requests came evenly spaced. A request that
comes earlier than that by more than the allowance is refused, and told when to come again. Several keys are decided
together, and a request that one of them refuses costs none of them anything.

`LocalLimiter` counts within a process; `SCRIPT` does the same in Redis, by the server's clock and in one round trip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds; all of them may come at once."""

    requests: int
    seconds: float

    @property
    def spacing(self) -> float:
        """Seconds between requests that come evenly."""
        return self.seconds / self.requests

    def scaled(self, factor: float) -> "Rate":
        """So many times as much, and at least one request."""
        return Rate(max(1, round(self.requests * factor)), self.seconds)


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a request may pass, and how things stand with the key that is nearest to its limit."""

    allowed: bool
    rate: Rate
    remaining: int
    retry_after: float
    """Seconds after which a refused request may come again; 0 for one that passes."""
    reset: float
    """Seconds after which everything is allowed again."""


Counted = Sequence[tuple[str, Rate]]
"""The keys that a request counts for, each with its rate."""


class LocalLimiter:
    """Counts in this process. It forgets keys that are at rest, so that it holds no more than are busy."""

    def __init__(self, most: int = 100_000) -> None:
        self._due: dict[str, float] = {}
        self._most = most

    def decide(self, counted: Counted, now: float) -> Ruling:
        """Count a request at a time in seconds, if every key has room for it."""
        due = [max(self._due.get(key, now), now) for key, _ in counted]
        ruling = ruled([rate for _, rate in counted], [each - now for each in due])
        if ruling.allowed:
            self._make_room(now)
            self._due.update({key: each + rate.spacing for (key, rate), each in zip(counted, due, strict=True)})
        return ruling

    def _make_room(self, now: float) -> None:
        if len(self._due) >= self._most:
            self._due = {key: due for key, due in self._due.items() if due > now}


def ruled(rates: Sequence[Rate], ahead: Sequence[float]) -> Ruling:
    """The ruling on a request whose keys were so many seconds ahead of evenly spaced requests when it came."""
    waits = [each + rate.spacing - rate.seconds for rate, each in zip(rates, ahead, strict=True)]
    nearest = max(range(len(rates)), key=lambda at: (waits[at], -rates[at].requests))
    rate, wait = rates[nearest], max(waits[nearest], 0.0)
    if wait > _ROUNDING:
        return Ruling(False, rate, 0, wait, ahead[nearest])
    used = ahead[nearest] + rate.spacing
    return Ruling(True, rate, int((rate.seconds - used) / rate.spacing + _ROUNDING), 0.0, used)


_ROUNDING: Final = 1e-6

SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local ahead, allowed = {}, true
for at, key in ipairs(KEYS) do
  local seconds, spacing = tonumber(ARGV[2 * at - 1]), tonumber(ARGV[2 * at])
  local due = tonumber(redis.call('GET', key) or now)
  ahead[at] = math.max(due - now, 0)
  if ahead[at] + spacing - seconds > 0.000001 then allowed = false end
end
for at, key in ipairs(KEYS) do
  if allowed then
    local due = now + ahead[at] + tonumber(ARGV[2 * at])
    redis.call('SET', key, string.format('%.6f', due), 'PX', math.ceil((due - now) * 1000) + 1000)
  end
  ahead[at] = string.format('%.6f', ahead[at])
end
return ahead
"""
"""Counts a request for its KEYS, each with its seconds and its spacing in ARGV, unless one of them has no room.

Returns how far ahead of evenly spaced requests each was when the request came, in seconds: what `ruled` decides by.
Every key ends by itself a second after it is at rest.
"""


def script_arguments(counted: Counted) -> tuple[list[str], list[float]]:
    """The script's KEYS and ARGV."""
    return [key for key, _ in counted], [value for _, rate in counted for value in (rate.seconds, rate.spacing)]
