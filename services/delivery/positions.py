"""Where couriers are, left in Redis for whoever watches an order live. The truth is in PostgreSQL.

A position is worth something for minutes and is lost without harm: the courier reports another. It lies there only
while the goods are under way, for the last one is the customer's door.
"""

from typing import Any, Protocol

from redis.exceptions import RedisError

from mercato import log
from services.delivery import messages
from services.delivery.shipment import Shipment

KEY = "position:"
"""What stands before a shipment's id."""
LIFE = 300  # seconds


class Positions(Protocol):
    """Where positions are shown."""

    def show(self, shipment: Shipment) -> None:
        """Show where the courier of a shipment is, or that nobody is under way with it."""


class RedisPositions:
    """Positions in Redis, whose failures hide couriers and nothing else."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._log = log.get(__name__)

    def show(self, shipment: Shipment) -> None:
        key, position = f"{KEY}{shipment.id}", messages.courier_position(shipment)
        try:
            if position:
                self._redis.set(key, position.SerializeToString(), ex=LIFE)
            else:
                self._redis.delete(key)
        except RedisError as problem:
            self._log.warning("position.not_shown", problem=str(problem))
