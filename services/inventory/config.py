"""The inventory service's settings."""

from datetime import timedelta

from mercato.config import config, duration, var


@config(prefix="MERCATO_INVENTORY")
class InventoryConfig:
    """How long stock is held, and how often it is looked after."""

    # Longer than a checkout may take (5 minutes) with two more calls: a hold never runs out under a live checkout.
    hold: timedelta = var(default="15m", converter=duration)
    sweep: timedelta = var(default="1s", converter=duration)
