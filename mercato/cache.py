"""Redis, for what may be lost: every wait is short, for an answer that comes late is worth less than none."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 0.05, 0.05


def connect(url: str, *, size: int = 16) -> "Redis":
    """A client whose calls fail within some 50 ms; nothing is asked of the server before the first one."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        max_connections=size,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=ANSWER_TIMEOUT,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )
