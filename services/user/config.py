"""Settings of the user service (MERCATO_USER_*)."""

from datetime import timedelta

from mercato.config import config, duration, var


@config(prefix="MERCATO_USER")
class UserConfig:
    """How long sessions last and how much work passwords may be."""

    session: timedelta = var(default="24h", converter=duration)
    # Passwords hashed at the same time, and how many callers may wait for that; more are turned away.
    hashers: int = var(default=2, converter=int)
    hash_queue: int = var(default=8, converter=int)
    # How often copies in Redis are dropped that a crash left behind, and ended sessions forgotten.
    sweep: timedelta = var(default="500ms", converter=duration)
    tidy: timedelta = var(default="10m", converter=duration)
