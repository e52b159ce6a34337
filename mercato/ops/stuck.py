"""Work that waits for a person: what each service may know of, and how it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mercato.errors import FailedPrecondition, NotFound


class NothingToRetry(FailedPrecondition):
    """It waits for a person's decision, which trying again does not make."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Something that waits for a person."""

    id: str
    state: str
    since: datetime
    waits_for: str
    attempts: int
    last_reason: str
    advice: str


class StuckWork(Protocol):
    """What a service knows of work that does not go on by itself."""

    def in_flight(self) -> int:
        """How many pieces of work are under way."""
        ...

    def count(self) -> int:
        """How many resources wait for a person."""
        ...

    def find(self, after: tuple[datetime, str] | None, limit: int) -> Sequence[Stuck]:
        """Some of them, the oldest first."""
        ...

    def retry(self, stuck_id: str) -> int:
        """Have what is stuck about a resource tried again now; how many pieces. NotFound, NothingToRetry."""
        ...


class NothingStuck:
    """Work of a service all of which goes on by itself."""

    def in_flight(self) -> int:
        """None."""
        return 0

    def count(self) -> int:
        """None."""
        return 0

    def find(self, after: tuple[datetime, str] | None, limit: int) -> Sequence[Stuck]:  # noqa: ARG002
        """None."""
        return ()

    def retry(self, stuck_id: str) -> int:
        """There is nothing."""
        raise NotFound(f"nothing is stuck about {stuck_id}")
