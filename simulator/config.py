"""The provider's settings, `MERCATO_SIMULATOR_*`."""

from datetime import timedelta
from pathlib import Path

from mercato.config import Secret, config, duration, var


@config(prefix="MERCATO_SIMULATOR")
class SimulatorConfig:
    """Where the provider listens, what it remembers, and how its faults behave."""

    address: str = var(default="127.0.0.1:12111")
    log: Path = var(default=".mercato/simulator/log.jsonl", converter=Path)
    key: Secret = var(default="sk_test_mercato", converter=Secret)
    slow: timedelta = var(default="2s", converter=duration)
    """How long pm_slow takes."""
    hang: timedelta = var(default="30s", converter=duration)
    """How long a call is left hanging whose reply is lost."""
    flaky: int = var(default=2, converter=int)
    """How many calls with one key pm_flaky fails before it works."""
