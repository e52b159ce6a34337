"""How far a generation of a projection has come: its row in `projection`, locked by whoever moves it."""

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import class_row

from mercato.event_store import Checkpoint, PostgresEventStore

PLACE: LiteralString = "select name, generation, epoch, xid::text::bigint as xid, position from projection "
# Who finds the row locked has nothing to do: somebody else is at it.
LIVE_UNLESS_LOCKED: LiteralString = PLACE + "where name = %s and live for update skip locked"
LIVE_LOCKED: LiteralString = PLACE + "where name = %s and live for update"
LIVE: LiteralString = PLACE + "where name = %s and live"
THERE: LiteralString = "select exists (select from projection where name = %s and live)"
BEGIN: LiteralString = """
    insert into projection (name, generation, live, epoch, xid, position)
    values (%s, %s, %s, %s, %s::text::xid8, %s) on conflict do nothing
"""
MOVE: LiteralString = """
    update projection set epoch = %s, xid = %s::text::xid8, position = %s, update_time = clock_timestamp()
    where name = %s and generation = %s
"""
GIVE_UP: LiteralString = "delete from projection where name = %s and not live"
RETIRE: LiteralString = "delete from projection where name = %s and live"
GO_LIVE: LiteralString = "update projection set live = true where name = %s and generation = %s"


@dataclass(frozen=True, slots=True)
class GenerationPlace:
    """A generation of a projection, and how far it has come."""

    name: str
    generation: int
    epoch: str
    xid: int
    position: int

    @property
    def checkpoint(self) -> Checkpoint:
        """How far."""
        return Checkpoint(self.epoch, self.xid, self.position)


def live(connection: Connection[Any], name: str, statement: LiteralString = LIVE) -> GenerationPlace | None:
    """The generation that is read; None if there is none, or it is locked and shall not be waited for."""
    with connection.cursor(row_factory=class_row(GenerationPlace)) as cursor:
        return cursor.execute(statement, [name]).fetchone()


def begin(connection: Connection[Any], name: str, generation: int, start: Checkpoint, *, is_live: bool) -> None:
    """Have a generation begin behind a checkpoint."""
    connection.execute(BEGIN, [name, generation, is_live, start.epoch, str(start.xid), start.position])


def begin_live(connection: Connection[Any], name: str, events: str) -> None:
    """Have the first generation begin before everything, unless there is one."""
    row = connection.execute(THERE, [name]).fetchone()
    if not (row and row[0]):
        begin(connection, name, 1, PostgresEventStore(connection, events).beginning(), is_live=True)


def move(connection: Connection[Any], name: str, generation: int, to: Checkpoint) -> None:
    """A generation has come so far."""
    connection.execute(MOVE, [to.epoch, str(to.xid), to.position, name, generation])
