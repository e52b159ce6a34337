"""The provider's settings, `MERCATO_SIMULATOR_*`."""

from datetime import timedelta
from pathlib import Path

from mercato.config import Secret, config, duration, var
from simulator.faults import Faults


@config(prefix="MERCATO_SIMULATOR")
class SimulatorConfig:
    """Where the provider listens, what it remembers, whom it tells, and how its faults behave."""

    address: str = var(default="127.0.0.1:12111")
    log: Path = var(default=".mercato/simulator/log.jsonl", converter=Path)
    key: Secret = var(default="sk_test_mercato", converter=Secret)
    slow: timedelta = var(default="2s", converter=duration)
    """How long pm_slow takes, and a call that the fault `slow` strikes."""
    hang: timedelta = var(default="30s", converter=duration)
    """How long a call is left hanging whose reply is lost."""
    flaky: int = var(default=2, converter=int)
    """How many calls with one key pm_flaky fails before it works."""
    faults: Faults = var(default="", converter=Faults.parse)
    seed: int = var(default=1, converter=int)
    """Of the dice that decide whom a fault strikes."""
    expiry: timedelta = var(default="7d", converter=duration)
    """How long an authorization stands that nobody captures."""

    webhook_url: str = var(default="")
    """Who is told of what happens; nobody, unless named."""
    webhook_secret: Secret = var(default="whsec_development", converter=Secret)
    webhook_timeout: timedelta = var(default="5s", converter=duration)
    webhook_retry: timedelta = var(default="500ms", converter=duration)
    """The pause before a webhook is sent again; it doubles, up to a minute."""
    late: timedelta = var(default="10s", converter=duration)
    """How late pm_late_webhook's webhooks are, and those that the fault `late` strikes."""
