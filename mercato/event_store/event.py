"""Events, the stores that hold them, and how far a reader of all of them has come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from mercato.errors import Conflict

NEW: Final = 0
"""The expected version of a stream that is not there yet."""
ANY: Final = -1
"""No expectation: append after whatever is there."""


class WrongExpectedVersion(Conflict):
    """The stream has gone on since it was read."""

    def __init__(self, stream_id: UUID, expected: int) -> None:
        super().__init__(f"{stream_id} is no longer at version {expected}", stream_id=str(stream_id), expected=expected)


class EpochChanged(Exception):
    """The store was restored from a copy: its numbers began anew, and checkpoints made before mean nothing."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append: its id (the same id again is the same event), its type and schema version, its bytes."""

    id: UUID
    type: str
    schema: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """New events of one stream, to follow an exact version."""

    stream_id: UUID
    events: Sequence[NewEvent]
    expected: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a stream."""

    stream_id: UUID
    version: int
    id: UUID
    type: str
    schema: int
    payload: bytes
    time: datetime


@dataclass(frozen=True, slots=True)
class LoggedEvent(StoredEvent):
    """An event among those of all streams: in the order of `xid`, then of `position`."""

    xid: int
    position: int


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """How far somebody has read all streams, in which epoch of the database."""

    epoch: str
    xid: int = 0
    position: int = 0

    def behind(self, event: LoggedEvent) -> "Checkpoint":
        """The same after an event."""
        return Checkpoint(self.epoch, event.xid, event.position)


class EventStore(Protocol):
    """Streams of events."""

    def append(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        """Append events to a stream at the expected version (NEW, ANY or exact); its new version.

        WrongExpectedVersion if the stream is at another. Appending the same events again changes nothing.
        """
        ...

    def read(self, stream_id: UUID, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """The events of a stream after a version, in order, at most so many; none if there is no such stream."""
        ...

    def read_backward(self, stream_id: UUID, before: int | None = None, limit: int | None = None) -> list[StoredEvent]:
        """The events of a stream before a version (or from its end), the newest first, at most so many."""
        ...

    def read_all(self, after: Checkpoint, limit: int) -> list[LoggedEvent]:
        """The next events of all streams in the order of commits, and those of a stream in the order of its versions.

        What is committed later never comes before what was read. EpochChanged if `after` is from another epoch.
        """
        ...

    def beginning(self) -> Checkpoint:
        """Before everything, in the present epoch."""
        ...

    def frontier(self) -> Checkpoint:
        """Everything before it can be read by now; what is committed from now on lies behind it."""
        ...


def in_chunks(store: EventStore, stream_id: UUID, *, after: int = 0, size: int = 500) -> Iterator[list[StoredEvent]]:
    """The events of a stream after a version, some at a time, so that a long one need not fit into memory."""
    while chunk := store.read(stream_id, after, size):
        yield chunk
        if len(chunk) < size:
            return
        after = chunk[-1].version
