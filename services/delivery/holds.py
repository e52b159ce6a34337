"""Holds on places of slots in PostgreSQL.

Locks are taken in one order everywhere: holds that are there, then slots by their id, then new holds by theirs. So
nobody who has a slot ever waits for somebody who needs one, and nobody deadlocks.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, dict_row, kwargs_row

from mercato.postgres import LostRace
from services.delivery.booking import Room, Wanted
from services.delivery.domain import Hold, HoldState
from services.delivery.rows import hold_of

# The last place goes to whoever locks the slot first; the id must be free. What does not go through at the first look
# writes nothing, and is decided as a set of one.
HOLD: LiteralString = """
    with room as materialized (
        select id from delivery.slot
        where id = %(slot_id)s and taken < capacity and cutoff_time > now()
          and not exists (select from delivery.hold where id = %(id)s)
        for update
    ),
    claim as (
        insert into delivery.hold (id, order_id, slot_id, state, expire_time)
        select %(id)s, %(order_id)s, id, 'HELD', now() + %(hold)s from room
        on conflict (id) do nothing
        returning id, order_id, slot_id, state, expire_time, version
    ),
    taken as (
        update delivery.slot s set taken = s.taken + 1 from claim where s.id = claim.slot_id
    )
    select id, order_id, slot_id, state, expire_time, version from claim
"""

# What a set needs to know beforehand: until when it holds, and the holds that there are.
LOOK: LiteralString = """
    select until, h.id, h.order_id, h.slot_id, h.state, h.expire_time, h.version
    from (select now() + %(hold)s as until) t left join delivery.hold h on h.id = any(%(ids)s)
"""

ROOMS: LiteralString = """
    select id as slot_id, capacity - taken as left, cutoff_time > now() and capacity > 0 as open
    from delivery.slot where id = any(%s) order by id for update
"""

# Says how many it wrote; an id that somebody else took in between is missing, and then all of it must be undone. What
# ran out and is held afresh was locked before.
HOLD_ALL: LiteralString = """
    with held as materialized (
        select * from unnest((select %(ids)b::uuid[]), (select %(orders)b::uuid[]), (select %(slots)b::uuid[]),
                             (select %(versions)b::bigint[])) as h (id, order_id, slot_id, version)
    ),
    begun as (
        insert into delivery.hold (id, order_id, slot_id, state, expire_time)
        select id, order_id, slot_id, 'HELD', %(until)s from held where version = 1 order by id
        on conflict (id) do nothing
        returning id
    ),
    afresh as (
        update delivery.hold h
        set state = 'HELD', version = n.version, order_id = n.order_id, slot_id = n.slot_id, expire_time = %(until)s
        from held n where h.id = n.id and n.version > 1
        returning h.id
    ),
    taken as (
        update delivery.slot s set taken = s.taken + g.places
        from (select slot_id, count(*)::int as places from held group by slot_id) g
        where s.id = g.slot_id
    )
    select (select count(*) from begun) + (select count(*) from afresh)
"""

LOCK: LiteralString = """
    select id, order_id, slot_id, state, expire_time, version
    from delivery.hold where id = any(%s) order by id for update
"""

FIND: LiteralString = "select id, order_id, slot_id, state, expire_time, version from delivery.hold where id = %s"

BURY: LiteralString = """
    insert into delivery.hold (id, state)
    select id, 'RELEASED' from unnest((select %b::uuid[])) as t (id) order by id
    on conflict (id) do nothing
"""

ADVANCE: LiteralString = """
    update delivery.hold h set state = a.state, version = a.version
    from unnest((select %b::uuid[]), (select %b::text[]), (select %b::bigint[])) as a (id, state, version)
    where h.id = a.id
"""

DUE: LiteralString = "select exists (select from delivery.hold where state = 'HELD' and expire_time <= now())"

# `skip locked`: any number of sweepers, and a confirm or release under way, go past each other. Whoever has the row
# decides; what it leaves HELD is due at the next sweep.
EXPIRE: LiteralString = """
    update delivery.hold h set state = 'EXPIRED', version = h.version + 1
    from (
        select id from delivery.hold
        where state = 'HELD' and expire_time <= now()
        order by expire_time
        limit %s
        for update skip locked
    ) due
    where h.id = due.id
    returning h.id, h.order_id, h.slot_id, h.state, h.expire_time, h.version
"""

# Nobody asks for those any more: what was held for an order that went on is CONFIRMED, and stays.
FORGET: LiteralString = """
    delete from delivery.hold h
    using (
        select id from delivery.hold
        where state in ('RELEASED', 'EXPIRED') and create_time < now() - %s
        order by create_time
        limit %s
        for update skip locked
    ) old
    where h.id = old.id
"""


class HoldStore:
    """Rows of `hold`, and the places that they take."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def hold(self, wanted: Wanted, hold: timedelta) -> Hold | None:
        """Take a place at the first look. None, and nothing written, if there is none or the id is taken."""
        values = {"id": wanted.hold_id, "order_id": wanted.order_id, "slot_id": wanted.slot_id, "hold": hold}
        return next(iter(self._holds(HOLD, values)), None)

    def look(self, ids: Sequence[UUID], hold: timedelta) -> tuple[datetime, dict[UUID, Hold]]:
        """Until when what is held now lasts, and those of the holds that there are; what ran out is locked."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(LOOK, {"ids": list(ids), "hold": hold}).fetchall()
        [until, *_] = [row.pop("until") for row in rows]
        found = {row["id"]: hold_of(**row) for row in rows if row["id"]}
        if expired := [each.id for each in found.values() if each.state is HoldState.EXPIRED]:
            found |= {each.id: each for each in self.lock_all(expired)}
        return until, found

    def rooms(self, slot_ids: Sequence[UUID]) -> list[Room]:
        """What these slots still take, locked."""
        with self._connection.cursor(row_factory=class_row(Room)) as cursor:
            return cursor.execute(ROOMS, [list(slot_ids)]).fetchall()

    def hold_all(self, held: Sequence[Hold]) -> None:
        """Write new holds and take their places. LostRace if somebody else took one of the ids meanwhile."""
        if held:
            values = {
                "ids": [each.id for each in held],
                "orders": [each.order_id for each in held],
                "slots": [each.slot_id for each in held],
                "versions": [each.version for each in held],
                "until": held[0].expire_time,
            }
            if self._connection.execute(HOLD_ALL, values).fetchone() != (len(held),):
                raise LostRace("the hold was made or released at the same moment; try again")

    def find(self, hold_id: UUID) -> Hold | None:
        """A hold as it is."""
        return next(iter(self._holds(FIND, [hold_id])), None)

    def lock_all(self, ids: Sequence[UUID]) -> list[Hold]:
        """Those of the holds that there are, by id; nobody else changes them until this transaction ends."""
        return self._holds(LOCK, [list(ids)])

    def bury(self, *ids: UUID) -> None:
        """Leave tombstones. LostRace if somebody held one of the ids meanwhile."""
        if ids and self._connection.execute(BURY, [list(ids)]).rowcount != len(ids):
            raise LostRace("the hold was made or released at the same moment; try again")

    def advance(self, *locked: Hold) -> None:
        """Write the state and version of locked holds."""
        if locked:
            states, versions = [str(each.state) for each in locked], [each.version for each in locked]
            self._connection.execute(ADVANCE, [[each.id for each in locked], states, versions])

    def due(self) -> bool:
        """Whether there is a hold whose time has come."""
        return self._connection.execute(DUE).fetchone() == (True,)

    def expire(self, most: int) -> list[Hold]:
        """Let holds run out whose time has come by the database's clock, oldest first."""
        return self._holds(EXPIRE, [most])

    def forget(self, keep: timedelta, most: int) -> int:
        """Delete holds that came to nothing longer ago than that; how many."""
        return self._connection.execute(FORGET, [keep, most]).rowcount

    def _holds(self, statement: LiteralString, values: Any) -> list[Hold]:
        with self._connection.cursor(row_factory=kwargs_row(hold_of)) as cursor:
            return cursor.execute(statement, values).fetchall()
