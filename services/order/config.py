"""What the order service is told: MERCATO_ORDER_*."""

from datetime import timedelta

from mercato.config import config, duration, var


@config(prefix="MERCATO_ORDER")
class OrderConfig:
    """How long things may take, and how many at once."""

    # A checkout that is not through by then is given up. Holds of stock and slot last longer (15 minutes).
    give_up: timedelta = var(default="5m", converter=duration)
    # How long whoever died keeps others from going on with its task.
    lease: timedelta = var(default="5s", converter=duration)
    # How long a caller waits before it hears that the order is PENDING.
    patience: timedelta = var(default="2.5s", converter=duration)
    # Callers that may wait at once; more would take the threads that reads need.
    at_once: int = var(default=20, converter=int)
    # What neighbours have not done by then is shown to people: somebody has to mend something.
    queue_after: timedelta = var(default="10m", converter=duration)
    workers: int = var(default=4, converter=int)
    # What one customer's pending orders may be and hold, so that nobody keeps the shop from others; 0: without end.
    most_pending: int = var(default=20, converter=int)
    most_units: int = var(default=2000, converter=int)
    # The currency of a cart in which nothing has a price.
    currency: str = var(default="USD")
