"""Copies of sessions in Redis, which spare the gateway a call. The truth is in PostgreSQL.

A copy lives a minute at most. Where a session has changed, an empty marker takes the copy's place for as long: it reads
as "ask again", and a read-through that began before the change cannot put the old copy back, because it writes only
where nothing stands.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from redis.exceptions import OutOfMemoryError, RedisError

from mercato import log

LIFE = 60  # seconds, of a copy and of a marker


class SessionCopies(Protocol):
    """Where copies of sessions lie."""

    def keep(self, token_hash: str, copy: str) -> None:
        """Keep a copy, unless something stands there already."""

    def drop(self, hashes: Iterable[str]) -> bool:
        """Make sure that none of these is read again; False if that is not known to have worked."""


class RedisSessionCopies:
    """Copies in Redis, whose failures cost time but decide nothing."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._log = log.get(__name__)

    def keep(self, token_hash: str, copy: str) -> None:
        """Keep a copy, unless something stands there already."""
        try:
            self._redis.set(_key(token_hash), copy, nx=True, ex=LIFE)
        except RedisError as problem:
            self._log.warning("session.copy_not_kept", problem=str(problem))

    def drop(self, hashes: Iterable[str]) -> bool:
        """Put markers in the places of copies; False if Redis did not say that they are there."""
        keys = [_key(token_hash) for token_hash in hashes]
        try:
            self._mark(keys)
        except RedisError as problem:
            self._log.warning("session.copies_not_dropped", problem=str(problem))
            return False
        return True

    def _mark(self, keys: Sequence[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.set(key, "", ex=LIFE)
        try:
            pipeline.execute()
        except OutOfMemoryError:
            # A full one takes nothing, but gives up what it has; the markers follow when there is room.
            self._redis.delete(*keys)
            raise


def _key(token_hash: str) -> str:
    return f"session:{token_hash}"
