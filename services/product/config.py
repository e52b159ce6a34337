"""The product service's settings."""

from datetime import timedelta

from mercato.config import config, duration, var


@config(prefix="MERCATO_PRODUCT")
class ProductConfig:
    """The currency of the shop, and how often what lies ready for readers is looked after."""

    currency: str = var(default="USD")
    refresh: timedelta = var(default="1s", converter=duration)
    make_ready: timedelta = var(default="15m", converter=duration)
