"""Kept replies that gateways share by Redis: what one has asked for, the others need not.

A shared reply is believed by a gateway that has heard of everything since the reply was asked for, and of nothing that
makes it stale. Redis may be slow or away: then there is nothing to share.
"""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.keeping import KeptReply, Key
from mercato import log

SKEW = 1.0
"""Seconds by which the clocks of two gateways may differ."""
_BREAK = 1.0  # seconds for which Redis is not asked again after it failed


class Bytes(Protocol):
    """Where bytes are left for a while: a Redis client, as far as it is needed."""

    def get(self, name: str) -> Awaitable[Any]:
        """The bytes, or None."""

    def set(self, name: str, value: bytes, *, px: int) -> Awaitable[Any]:
        """Leave them for so many milliseconds."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A reply that some gateway shares; its age in seconds, with what clocks may differ by."""

    body: bytes
    version: str
    tags: list[str]
    age: float


class SharedReplies:
    """Bodies of replies in Redis, with what they are of and the time at which they were asked for."""

    def __init__(self, redis: Bytes | None) -> None:
        self._redis = redis
        self._again = 0.0

    async def find(self, key: Key) -> Shared | None:
        """What is shared of an address."""
        if self._redis is None or time.monotonic() < self._again:
            return None
        try:
            raw = await self._redis.get(_name(key))
            return _read(raw) if raw else None
        except Exception as problem:  # noqa: BLE001 -- whatever ails Redis, or lies there, the service is asked
            self._give_up(problem)
            return None

    async def put(self, key: Key, kept: KeptReply) -> None:
        """Share a reply."""
        if self._redis is None or time.monotonic() < self._again:
            return
        asked = time.time() - (time.monotonic() - kept.began)
        head = orjson.dumps([asked, kept.version, sorted(kept.tags)])
        try:
            await self._redis.set(_name(key), head + b"\n" + kept.body, px=int((kept.until - kept.began) * 1000))
        except Exception as problem:  # noqa: BLE001 -- it is kept here, if not there
            self._give_up(problem)

    def _give_up(self, problem: Exception) -> None:
        self._again = time.monotonic() + _BREAK
        log.get(__name__).warning("replies.not_shared", problem=str(problem))


def _name(key: Key) -> str:
    path, query = (each.decode("latin-1") for each in key)
    return f"reply:{path}?{query}"


def _read(raw: bytes) -> Shared:
    head, _, body = raw.partition(b"\n")
    asked, version, tags = orjson.loads(head)
    return Shared(body, version, tags, max(time.time() - asked, 0.0) + SKEW)
