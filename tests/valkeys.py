"""How long tests wait for Valkey; and what may be wrong with one that answers: it is full, or only reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 30.0
"""Seconds. What a test leaves there it finds again, however busy the machine is."""


@contextmanager
def full(redis: Any) -> Iterator[None]:
    """For the length of the block it has no room, and throws nothing away for it."""
    before = {name: redis.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        for name, value in before.items():
            redis.config_set(name, value)


@contextmanager
def only_reading(redis: Any) -> Iterator[None]:
    """It follows a primary that cannot be reached, as after a failover: it tells what it has, and takes nothing."""
    redis.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        redis.replicaof("no", "one")
