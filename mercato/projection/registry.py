"""The projections of a service: what runs them, how they do, and what can be done to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection, sql

from mercato.errors import NotFound
from mercato.postgres import Database
from mercato.projection.definition import Progress, Projection, unseen
from mercato.projection.projector import Projector
from mercato.projection.rebuild import Rebuild, Rebuilt
from mercato.projection.verify import Verification, Verified

# A lag is counted so far; there is no use in knowing exactly how hopeless it is.
MOST_COUNTED = 100_000
# How old (seconds) the oldest event may be that a projection has not taken in, before it counts as behind.
PATIENCE = 10.0
STATUS: LiteralString = """
    select p.name, p.generation, p.xid::text || '/' || p.position, tail.count, tail.seconds, p.update_time,
        exists (select from projection other where other.name = p.name and not other.live)
    from projection p cross join lateral (
        select count(*), coalesce(extract(epoch from clock_timestamp() - min(time)), 0)::float8 as seconds from (
            select time from {events} e
            where (e.xid, e.position) > (p.xid, p.position) and e.xid < pg_snapshot_xmax(pg_current_snapshot())
            order by e.xid, e.position limit {limit}) ahead) tail
    where p.live and p.name = any(%s)
"""
# An event with a number that this cluster has not come to is from before a restore; the versions were compared then.
UNREACHED: LiteralString = """
    select exists (
        select from unnest(%(streams)s::uuid[], %(versions)s::bigint[]) as wanted (stream_id, version)
        join projection p on p.name = any(%(names)s) and p.live
        left join {events} e using (stream_id, version)
        where e.xid is null
            or (e.xid, e.position) > (p.xid, p.position) and e.xid < pg_snapshot_xmax(pg_current_snapshot())
                and (select count(*) from (
                    select from {events} ahead
                    where (ahead.xid, ahead.position) > (p.xid, p.position)
                        and (ahead.xid, ahead.position) <= (e.xid, e.position)
                    limit %(read_ahead)s + 1) unread) > %(read_ahead)s)
"""


class UnknownProjection(NotFound):
    """There is no projection of this name."""


class ProjectionState(StrEnum):
    """How a projection does."""

    LIVE = "LIVE"
    BEHIND = "BEHIND"
    REBUILDING = "REBUILDING"
    NEVER_RUN = "NEVER_RUN"


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """How far a projection has come.

    `position` is the last event that it took in (xid/position), `lag` how many it has not, `lag_seconds` for how long
    the oldest of those has been waiting.
    """

    name: str
    state: ProjectionState
    position: str = ""
    lag: int = 0
    lag_seconds: float = 0.0
    generation: int = 0
    update_time: datetime | None = None


class Projections:
    """The projections that follow one table of events."""

    def __init__(
        self, database: Database, projections: Sequence[Projection], events: str = "events", *, read_ahead: int = 0
    ) -> None:
        """`read_ahead`: how many events that a projection has not come to its readers add by themselves."""
        self._database = database
        self._read_ahead = read_ahead
        self._events = events
        self._projections: Mapping[str, Projection] = {each.name: each for each in projections}
        self.workers: Mapping[str, Projector] = {each.name: Projector(database, each, events) for each in projections}

    def names(self) -> list[str]:
        """What they are called."""
        return list(self._projections)

    def status(self, connection: Connection[Any] | None = None) -> list[ProjectionStatus]:
        """How each does, in the order of their names' listing."""
        if connection is None:
            with self._database.reading() as opened:
                return self.status(opened)
        statement = sql.SQL(STATUS).format(events=sql.Identifier(self._events), limit=sql.Literal(MOST_COUNTED))
        found = {row[0]: _status(*row) for row in connection.execute(statement, [self.names()])}
        return [found.get(name) or ProjectionStatus(name, ProjectionState.NEVER_RUN) for name in self.names()]

    def rebuild(self, name: str, progress: Progress = unseen) -> Rebuilt:
        """Replay all events into new rows, and have those be read. UnknownProjection, RebuildUnderWay."""
        return Rebuild(self._database, self._named(name), self._events).run(progress)

    def verify(self, name: str, progress: Progress = unseen) -> Verified:
        """Compare every row with a replay. UnknownProjection."""
        return Verification(self._database, self._named(name), self._events).run(progress)

    def reached(self, connection: Connection[Any], names: Sequence[str], wanted: Mapping[UUID, int]) -> bool:
        """Whether whoever reads these projections finds these versions of streams."""
        values = {
            "names": list(names),
            "streams": list(wanted),
            "versions": list(wanted.values()),
            "read_ahead": self._read_ahead,
        }
        row = connection.execute(sql.SQL(UNREACHED).format(events=sql.Identifier(self._events)), values).fetchone()
        return not (row and row[0])

    def wake(self, names: Sequence[str]) -> None:
        """Have these look at once: somebody is waiting."""
        for name in names:
            self.workers[name].wake.set()

    def _named(self, name: str) -> Projection:
        if name not in self._projections:
            known = ", ".join(self._projections)
            raise UnknownProjection(f"no projection is called {name!r}; there are {known or 'none'}")
        return self._projections[name]


def _status(
    name: str, generation: int, position: str, lag: int, seconds: float, updated: datetime, rebuilding: bool
) -> ProjectionStatus:
    state = ProjectionState.REBUILDING if rebuilding else ProjectionState.LIVE
    if state is ProjectionState.LIVE and seconds > PATIENCE:
        state = ProjectionState.BEHIND
    return ProjectionStatus(name, state, position, lag, seconds, generation, updated)
