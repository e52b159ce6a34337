"""Whole streams, read many at a time: those that were touched, or all of them by id."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection, sql

from mercato.event_store import StoredEvent

EVENT: LiteralString = "select stream_id, version, event_id, type, schema, payload, time from {events} "
TOUCHED: LiteralString = EVENT + "where stream_id = any(%s) order by stream_id, version"
NEXT: LiteralString = EVENT + "where (stream_id, version) > (%s, %s) order by stream_id, version limit %s"
FIRST = UUID(int=0)


class StreamReader:
    """Reads streams of a table of events."""

    def __init__(self, events: str) -> None:
        self._touched = sql.SQL(TOUCHED).format(events=sql.Identifier(events)).as_bytes(None)
        self._next = sql.SQL(NEXT).format(events=sql.Identifier(events)).as_bytes(None)

    def of(self, connection: Connection[Any], stream_ids: Iterable[UUID]) -> dict[UUID, list[StoredEvent]]:
        """These streams, whole."""
        with connection.cursor(binary=True) as cursor:
            found = cursor.execute(self._touched, [list(stream_ids)]).fetchall()
        return _by_stream(StoredEvent(*row) for row in found)

    def all(self, connection: Connection[Any], size: int) -> Iterator[dict[UUID, list[StoredEvent]]]:
        """All streams, whole, by id: about `size` events at a time, each time as they are by then."""
        place, rest = (FIRST, 0), list[StoredEvent]()
        while True:
            with connection.cursor(binary=True) as cursor:
                found = [StoredEvent(*row) for row in cursor.execute(self._next, [*place, size]).fetchall()]
            streams = _by_stream([*rest, *found])
            if len(found) < size:
                yield streams
                return
            # The last one may go on in the next chunk.
            place = (found[-1].stream_id, found[-1].version)
            rest = streams.pop(found[-1].stream_id)
            if streams:
                yield streams


def _by_stream(events: Iterable[StoredEvent]) -> dict[UUID, list[StoredEvent]]:
    return {stream_id: list(group) for stream_id, group in groupby(events, lambda each: each.stream_id)}
