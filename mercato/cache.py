"""Redis, for what may be lost: every wait is short, for an answer that comes late is worth less than none."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

PATIENCE = 0.05


def connect(url: str, *, size: int = 16, patience: float = PATIENCE) -> "Redis":
    """A client whose calls wait for so many seconds at most; nothing is asked of the server before the first one."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        max_connections=size,
        socket_connect_timeout=patience,
        socket_timeout=patience,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )
