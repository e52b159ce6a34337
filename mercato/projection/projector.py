"""The worker that keeps a projection up to date: so many new events at a time, with the checkpoint in the transaction.

Any number of processes may run one; the row of the checkpoint is locked by whoever is at it, and the others pass on.
"""

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection

from mercato import log
from mercato.event_store import EpochChanged, PostgresEventStore
from mercato.event_store.postgres import TIMELINE, cluster
from mercato.failpoint import failpoint
from mercato.postgres import Database
from mercato.projection import place as places
from mercato.projection.definition import Projection
from mercato.projection.place import GenerationPlace
from mercato.projection.streams import FIRST, StreamReader
from mercato.projection.table import ProjectionTable
from mercato.telemetry import Counter

BATCH = 500
PAGE = 500
# One look, so that a projector with nothing to do costs next to nothing.
UP_TO_DATE: LiteralString = """
    select p.epoch = %s || '/' || {timeline}
        and not exists (
            select from {events} e
            where (e.xid, e.position) > (p.xid, p.position) and e.xid < pg_snapshot_xmin(pg_current_snapshot()))
    from projection p where p.name = %s and p.live
"""

PROJECTED = Counter("mercato_projection_events", "Events that a projection has taken in.", ("projection",))
_log = log.get(__name__)


class Projector:
    """Keeps one projection up to date."""

    idle = 0.25  # what this process writes wakes it
    gather = 0.25  # readers who must miss nothing add what is not here yet

    def __init__(self, database: Database, projection: Projection, events: str = "events", batch: int = BATCH) -> None:
        self.name = projection.name
        self.wake = database.published.listen()
        self._database = database
        self._events = events
        self._batch = batch
        self._table = ProjectionTable(projection, events)
        self._reader = StreamReader(events)
        self._up_to_date = UP_TO_DATE.replace("{events}", events).replace("{timeline}", TIMELINE).encode()

    def run_once(self, now: datetime | None = None) -> bool:  # noqa: ARG002  it goes by commits, not by time
        """Take in one batch; False if there was none, or somebody else is at it."""
        with self._database.reading() as connection:
            row = connection.execute(self._up_to_date, [cluster(connection), self.name]).fetchone()
            if row and row[0]:
                return False
            if row is None:
                places.begin_live(connection, self.name, self._events)
        try:
            return self._advance_live()
        except EpochChanged:
            self._resynchronise()
            return True

    def _advance_live(self) -> bool:
        with self._database.transaction() as connection:
            place = places.live(connection, self.name, places.LIVE_UNLESS_LOCKED)
            return place is not None and self.advance(connection, place) > 0

    def advance(self, connection: Connection[Any], place: GenerationPlace) -> int:
        """Take in the next events of a generation whose row is locked; how many. EpochChanged."""
        store = PostgresEventStore(connection, self._events)
        events = store.read_all(place.checkpoint, self._batch)
        if events:
            streams = self._reader.of(connection, {each.stream_id for each in events})
            self._table.put(connection, place.generation, streams)
            failpoint("between_rows_and_checkpoint")
            places.move(connection, self.name, place.generation, place.checkpoint.behind(events[-1]))
            PROJECTED.add(self.name, amount=len(events))
        return len(events)

    def _resynchronise(self) -> None:
        """Go by the versions of the streams: in a database restored from a copy, the checkpoint means other events."""
        with self._database.reading() as connection:
            frontier = PostgresEventStore(connection, self._events).frontier()
        after: UUID | None = FIRST
        while after is not None:
            with self._database.transaction() as connection:
                place = places.live(connection, self.name, places.LIVE_LOCKED)
                after = self._amend(connection, place.generation, after) if place else None
                if place and after is None:
                    places.move(connection, self.name, place.generation, frontier)
        _log.warning("projection.resynchronised", projection=self.name, epoch=frontier.epoch)

    def _amend(self, connection: Connection[Any], generation: int, after: UUID) -> UUID | None:
        """Make the rows of the next streams that have gone on anew; the last one looked at, None if that was all."""
        page = self._table.versions(connection, generation, after, PAGE)
        behind = [stream_id for stream_id, version, held in page if held < version]
        self._table.put(connection, generation, self._reader.of(connection, behind))
        return page[-1][0] if len(page) == PAGE else None
