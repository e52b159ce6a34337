"""What waits for people, as SQL."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from mercato.postgres import Database
from services.order.awaiting import Decision

AWAIT: LiteralString = """
    insert into awaited_decision (order_id, decision, reason) values (%s, %s, %s)
    on conflict (order_id) do update set decision = excluded.decision, reason = excluded.reason,
        create_time = clock_timestamp()
"""
DECIDED: LiteralString = "delete from awaited_decision where order_id = %s"
# Neighbours that refuse three times have not only lost a race; silence that lasts has a cause that somebody can mend.
_WAITING: LiteralString = """
    with waiting as (
        select order_id, decision as waits_for, create_time as since, 0 as attempts, reason as last_reason
        from awaited_decision
        union all
        select order_id, kind, create_time, attempt, last_reason from process
        where refusals >= 3 or (attempt > 0 and create_time < clock_timestamp() - %(patience)s)
    )
"""
FIND: LiteralString = (
    _WAITING
    + """
    select order_id, state, waits_for, since, attempts, last_reason from waiting join order_view using (order_id)
    where %(after_time)s::timestamptz is null or (since, order_id) > (%(after_time)s, %(after_id)s::uuid)
    order by since, order_id limit %(limit)s
"""
)
COUNT: LiteralString = _WAITING + "select count(distinct order_id) from waiting"
IN_FLIGHT: LiteralString = "select count(*) from process"
AT_ONCE: LiteralString = """
    update process set next_run_at = clock_timestamp(), attempt = 0, refusals = 0 where order_id = %s
"""
AWAITED: LiteralString = "select decision from awaited_decision where order_id = %s"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits for a person: a decision, or a task by its kind."""

    order_id: UUID
    state: str
    waits_for: str
    since: datetime
    attempts: int
    last_reason: str


class AwaitedStore:
    """Decisions that are waited for, in the transaction of the event that asks for them or makes them."""

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self._connection = connection

    def put(self, order_id: UUID, decision: Decision | None, reason: str) -> None:
        """An order waits for this from now on, or for nothing."""
        if decision is None:
            self._connection.execute(DECIDED, (order_id,))
        else:
            self._connection.execute(AWAIT, (order_id, decision, reason))

    def of(self, order_id: UUID) -> Decision | None:
        """What an order waits for."""
        row = self._connection.execute(AWAITED, (order_id,)).fetchone()
        return Decision(row[0]) if row else None

    def try_at_once(self, order_id: UUID) -> int:
        """Have every task of an order begun anew now; how many there are."""
        return self._connection.execute(AT_ONCE, (order_id,)).rowcount


class WaitingQueries:
    """Reads what waits for people."""

    def __init__(self, database: Database, patience: timedelta) -> None:
        """`patience` is how long silence may last before somebody should look."""
        self._database = database
        self._patience = patience

    def find(self, after: tuple[datetime, UUID] | None, limit: int) -> list[Waiting]:
        """Some of it, the oldest first."""
        after_time, after_id = after or (None, None)
        values = {"patience": self._patience, "after_time": after_time, "after_id": after_id, "limit": limit}
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Waiting)) as cursor:
            return cursor.execute(FIND, values).fetchall()

    def count(self) -> int:
        """How many orders wait."""
        return self._number(COUNT)

    def in_flight(self) -> int:
        """How many tasks are not done."""
        return self._number(IN_FLIGHT)

    def _number(self, statement: LiteralString) -> int:
        with self._database.reading() as connection:
            row = connection.execute(statement, {"patience": self._patience}).fetchone()
        return int(row[0]) if row else 0
