"""Verifying a projection: every row is what a replay of its stream makes, as of one moment."""

import time
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection, sql

from mercato.postgres import Database
from mercato.projection import place as places
from mercato.projection.definition import Progress, Projection
from mercato.projection.projector import Projector
from mercato.projection.streams import StreamReader
from mercato.projection.table import ProjectionTable

CHUNK = 4_000
NAMED = 20
# What the projection has not come to yet: the rows of these streams may be older than their events.
TAIL: LiteralString = """
    select distinct stream_id from {events}
    where (xid, position) > (%s::text::xid8, %s) and xid < pg_snapshot_xmax(pg_current_snapshot())
"""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a comparison found.

    How many streams and events were compared; how many streams were left out because they were just changing; how many
    differ, and some of them; how long (seconds) it took.
    """

    streams: int
    events: int
    left_out: int
    differing: int
    examples: tuple[UUID, ...]
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether every row is as it should be."""
        return self.differing == 0


class Verification:
    """Compares one projection with a replay."""

    def __init__(self, database: Database, projection: Projection, events: str, chunk: int = CHUNK) -> None:
        self._database = database
        self._name = projection.name
        self._events = events
        self._chunk = chunk
        self._table = ProjectionTable(projection, events)
        self._reader = StreamReader(events)
        self._projector = Projector(database, projection, events)

    def run(self, progress: Progress) -> Verified:
        """Compare all rows."""
        began = time.perf_counter()
        while self._projector.run_once():
            pass
        with self._database.dedicated() as connection:
            connection.execute("set statement_timeout = 0")
            connection.execute("set idle_in_transaction_session_timeout = 0")
            connection.execute("begin isolation level repeatable read, read only")
            streams, events, left_out, differing = self._compare(connection, progress)
            connection.rollback()
        examples = tuple(sorted(differing)[:NAMED])
        return Verified(streams, events, left_out, len(differing), examples, time.perf_counter() - began)

    def _compare(self, connection: Connection[Any], progress: Progress) -> tuple[int, int, int, set[UUID]]:
        place = places.live(connection, self._name)
        generation = place.generation if place else 0
        tail = self._tail(connection, place.xid, place.position) if place else set[UUID]()
        total, done, number = self._count(connection), 0, 0
        differing = set(self._table.phantoms(connection, generation))
        for streams in self._reader.all(connection, self._chunk):
            compared = {stream_id: events for stream_id, events in streams.items() if stream_id not in tail}
            differing.update(self._table.differing(connection, generation, compared))
            done += sum(map(len, streams.values()))
            number += len(compared)
            progress(done, total)
        return number, done, len(tail), differing

    def _tail(self, connection: Connection[Any], xid: int, position: int) -> set[UUID]:
        statement = sql.SQL(TAIL).format(events=sql.Identifier(self._events))
        return {stream_id for (stream_id,) in connection.execute(statement, [str(xid), position])}

    def _count(self, connection: Connection[Any]) -> int:
        row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(self._events))).fetchone()
        return row[0] if row else 0
