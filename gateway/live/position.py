"""Where couriers are, read from Redis: the delivery service leaves it there for a few minutes."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from mercato import log
from mercato.api.delivery.v1 import delivery_pb2 as pb

KEY = "position:"
"""What stands before a shipment's id. The value is a CourierPosition."""


class Values(Protocol):
    """Where positions lie: a Redis client, as far as it is needed."""

    def mget(self, keys: Sequence[str]) -> Awaitable[Sequence[Any]]:
        """The values of some keys, None where there is none."""


class Positions:
    """Finds couriers. Redis may be away: then nobody is seen, and nothing else is lost."""

    def __init__(self, redis: Values | None) -> None:
        self._redis = redis

    async def of(self, shipments: Sequence[str]) -> Mapping[str, pb.CourierPosition]:
        """Where the couriers of these shipments are, as far as they told."""
        if self._redis is None or not shipments:
            return {}
        try:
            found = await self._redis.mget([KEY + each for each in shipments])
            read = pb.CourierPosition.FromString
            return {each: read(raw) for each, raw in zip(shipments, found, strict=True) if raw}
        except Exception as problem:  # noqa: BLE001 -- whatever ails Redis, streams go on without it
            log.get(__name__).warning("positions.unreadable", problem=str(problem))
            return {}
