"""What the auditor is told: MERCATO_AUDITOR_*."""

from datetime import timedelta

from mercato.config import Secret, config, duration, var


@config(prefix="MERCATO_AUDITOR")
class AuditorConfig:
    """How often it looks, how long things may be on their way, and where the provider's log is."""

    every: timedelta = var(default="1m", converter=duration)
    grace: timedelta = var(default="30s", converter=duration)
    window: timedelta = var(default="1h", converter=duration)
    """Of what Kafka carries, so much is compared with the journals."""
    provider: str = var(default="")
    """The simulator's address, or the path of its log at rest. Empty: what is compared with it is passed over."""
    provider_key: Secret = var(default="", converter=Secret)
