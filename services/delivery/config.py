"""The delivery service's settings."""

from datetime import timedelta

from mercato.config import config, duration, var


@config(prefix="MERCATO_DELIVERY")
class DeliveryConfig:
    """How long a place is held, how often holds and days are looked after, and when they are forgotten."""

    # Longer than a checkout may take (5 minutes) with two more calls: a hold never runs out under a live checkout.
    hold: timedelta = var(default="15m", converter=duration)
    sweep: timedelta = var(default="1s", converter=duration)
    roll: timedelta = var(default="1m", converter=duration)
    # For how long what came to nothing is kept. A hold that is asked for later than that never was released.
    keep: timedelta = var(default="30d", converter=duration)
    tidy: timedelta = var(default="10m", converter=duration)
