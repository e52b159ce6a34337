"""The clock, injected wherever time is read, so that tests own it. Expiries are decided by the database's clock."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Whoever knows the time."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC)
