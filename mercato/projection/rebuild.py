"""Rebuilding a projection: a new generation is filled beside the live one, caught up, and takes its place."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, Error, sql

from mercato import log
from mercato.ahead import ahead
from mercato.errors import Conflict
from mercato.event_store import PostgresEventStore
from mercato.postgres import Database
from mercato.projection import place as places
from mercato.projection.definition import Progress, Projection
from mercato.projection.place import GenerationPlace
from mercato.projection.projector import Projector
from mercato.projection.streams import StreamReader
from mercato.projection.table import ProjectionTable

CHUNK = 4_000
_log = log.get(__name__)


class RebuildUnderWay(Conflict):
    """Somebody is rebuilding this projection already."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: events replayed, streams that they belong to, and how long (seconds) it took."""

    events: int
    streams: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """What comes of some streams: how many events and streams they are, and their rows as they travel."""

    events: int
    streams: int
    rows: str


class Rebuild:
    """Rebuilds one projection."""

    def __init__(self, database: Database, projection: Projection, events: str, chunk: int = CHUNK) -> None:
        self._database = database
        self._name = projection.name
        self._events = events
        self._chunk = chunk
        self._table = ProjectionTable(projection, events)
        self._reader = StreamReader(events)
        self._projector = Projector(database, projection, events)

    def run(self, progress: Progress) -> Rebuilt:
        """Rebuild, and return when the new rows are those that are read. RebuildUnderWay."""
        began = time.perf_counter()
        with alone(self._database, self._name) as connection:
            places.begin_live(connection, self._name, self._events)
            new = self._begin(connection)
            events, streams = self._fill(connection, new, progress)
            while self._catch_up(connection, new):
                pass
            self._swap(connection, new)
            self._table.sweep(connection, new)
        rebuilt = Rebuilt(events, streams, time.perf_counter() - began)
        _log.info("projection.rebuilt", projection=self._name, generation=new, events=events, seconds=rebuilt.seconds)
        return rebuilt

    def _begin(self, connection: Connection[Any]) -> int:
        """The number of the new generation, after what an interrupted rebuild left was removed."""
        connection.execute(places.GIVE_UP, [self._name])
        live = places.live(connection, self._name)
        present = live.generation if live else 0
        self._table.sweep(connection, present)
        # Read before the first stream is: whatever is committed later is found behind it.
        frontier = PostgresEventStore(connection, self._events).frontier()
        places.begin(connection, self._name, present + 1, frontier, is_live=False)
        return present + 1

    def _fill(self, connection: Connection[Any], generation: int, progress: Progress) -> tuple[int, int]:
        total, done, number = self._count(connection), 0, 0
        # The rows of the next streams are made while PostgreSQL writes those of the ones before.
        with closing(ahead(self._chunks())) as chunks:
            for chunk in chunks:
                self._table.fill(connection, generation, chunk.rows)
                done += chunk.events
                number += chunk.streams
                progress(done, max(total, done))
        return done, number

    def _count(self, connection: Connection[Any]) -> int:
        row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(self._events))).fetchone()
        return row[0] if row else 0

    def _chunks(self) -> Iterator[Chunk]:
        with self._database.dedicated() as connection:
            connection.execute("set statement_timeout = 0")
            for streams in self._reader.all(connection, self._chunk):
                yield Chunk(sum(map(len, streams.values())), len(streams), self._table.made(streams))

    def _catch_up(self, connection: Connection[Any], generation: int) -> int:
        with connection.transaction():
            return self._projector.advance(connection, self._place(connection, generation))

    def _swap(self, connection: Connection[Any], generation: int) -> None:
        """In one transaction: the live one is held where it is, the new one comes at least as far, and is live."""
        with connection.transaction():
            live = places.live(connection, self._name, places.LIVE_LOCKED)
            place = self._place(connection, generation)
            while live and live.epoch == place.epoch and place.checkpoint < live.checkpoint:
                if not self._projector.advance(connection, place):
                    break
                place = self._place(connection, generation)
            connection.execute(places.RETIRE, [self._name])
            connection.execute(places.GO_LIVE, [self._name, generation])

    def _place(self, connection: Connection[Any], generation: int) -> GenerationPlace:
        row = connection.execute(
            places.PLACE + "where name = %s and generation = %s for update", [self._name, generation]
        ).fetchone()
        if row is None:
            raise RebuildUnderWay(f"the rebuild of {self._name} was given up by another one")
        return GenerationPlace(*row)


@contextmanager
def alone(database: Database, name: str) -> Iterator[Connection[Any]]:
    """A connection of one's own, for whoever is the only one to rebuild the projection. RebuildUnderWay."""
    with database.dedicated() as connection:
        # In chunks, none of which takes long; but counting all events may.
        connection.execute("set statement_timeout = 0")
        lock = f"mercato.projection.{database.schema}.{name}"
        row = connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", [lock]).fetchone()
        if not (row and row[0]):
            raise RebuildUnderWay(f"{name} is being rebuilt already")
        try:
            yield connection
        finally:
            # The server itself gives a lock back a moment after the connection has gone, when it notices.
            with suppress(Error):
                connection.execute("select pg_advisory_unlock_all()")
