"""Streams in memory, for tests."""

from collections.abc import Sequence
from uuid import UUID

from mercato.clock import Clock, SystemClock
from mercato.event_store.event import (
    ANY,
    Checkpoint,
    EpochChanged,
    LoggedEvent,
    NewEvent,
    StoredEvent,
    WrongExpectedVersion,
)


class MemoryEventStore:
    """Streams in memory. Every append is a transaction of its own, and commits at once."""

    def __init__(self, clock: Clock | None = None, epoch: str = "memory") -> None:
        self.epoch = epoch
        self._clock = clock or SystemClock()
        self._streams: dict[UUID, list[LoggedEvent]] = {}
        self._log: list[LoggedEvent] = []
        self._appends = 0

    def append(self, stream_id: UUID, events: Sequence[NewEvent], expected: int) -> int:
        """See EventStore."""
        if not events:
            raise ValueError("nothing to append")
        stream = self._streams.setdefault(stream_id, [])
        known = [each.version for each in stream if each.id in {new.id for new in events}]
        if len(known) == len(events):
            return max(known)
        taken = {each.id for each in self._log}
        if (expected not in (ANY, len(stream))) or any(each.id in taken for each in events):
            raise WrongExpectedVersion(stream_id, expected)
        self._appends += 1
        for each in events:
            told = (each.id, each.type, each.schema, each.payload, self._clock.now())
            logged = LoggedEvent(stream_id, len(stream) + 1, *told, self._appends, len(self._log) + 1)
            stream.append(logged)
            self._log.append(logged)
        return len(stream)

    def read(self, stream_id: UUID, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """See EventStore."""
        found = self._streams.get(stream_id, [])[after:]
        return list(found[:limit])

    def read_backward(self, stream_id: UUID, before: int | None = None, limit: int | None = None) -> list[StoredEvent]:
        """See EventStore."""
        stream = self._streams.get(stream_id, [])
        found = stream[: len(stream) if before is None else max(0, before - 1)]
        return list(found[::-1][:limit])

    def read_all(self, after: Checkpoint, limit: int) -> list[LoggedEvent]:
        """See EventStore."""
        if after.epoch != self.epoch:
            raise EpochChanged(after.epoch)
        ahead = (each for each in self._log if (each.xid, each.position) > (after.xid, after.position))
        return [each for each, _ in zip(ahead, range(limit), strict=False)]

    def beginning(self) -> Checkpoint:
        """See EventStore."""
        return Checkpoint(self.epoch)

    def frontier(self) -> Checkpoint:
        """See EventStore."""
        return Checkpoint(self.epoch, self._appends + 1)
