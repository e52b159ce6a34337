"""Zones, slots, couriers and shipments in PostgreSQL: the statements that change them.

Slots are locked by their id, after the holds that want or give back their places: see `services.delivery.holds`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.rows import class_row, dict_row, scalar_row

from mercato.ids import uuid7
from mercato.postgres import Work
from services.delivery.domain import CUTOFF, SLOT, Courier, Hours, Zone
from services.delivery.holds import HoldStore
from services.delivery.rows import (
    area,
    hours_of,
    plan_columns,
    planned_of,
    shipment_columns,
    shipment_of,
    zone_columns,
    zone_of,
)
from services.delivery.shipment import Plan, Shipment

ZONES: LiteralString = """
    select id, name, time_zone, area, warehouse_ids, currency, delivery_fee, free_from, minimum_total, slot_capacity,
        first_hour, last_hour
    from delivery.zone
"""

SLOTS: LiteralString = """
    select s.id, s.zone_id, s.start_time, s.end_time, s.cutoff_time, s.capacity, s.taken, z.delivery_fee, z.currency
    from delivery.slot s join delivery.zone z on z.id = s.zone_id
"""

SHIPMENTS: LiteralString = """
    select h.id, h.order_id, h.customer_id, h.state, h.courier_id, h.currency, h.cash_due, h.cash_collected,
    h.failure_reason, h.latitude, h.longitude, h.position_time, h.version, h.create_time, h.update_time, h.slot_id,
    s.zone_id, s.start_time, s.end_time, s.cutoff_time, s.capacity, s.taken,
    z.delivery_fee, z.currency as zone_currency,
    d.shipment_id is not null as known, d.recipient, d.line1, d.line2, d.postal_code, d.city, d.country_code, d.phone,
    d.note, d.latitude as to_latitude, d.longitude as to_longitude
    from delivery.shipment h
    left join delivery.slot s on s.id = h.slot_id
    left join delivery.zone z on z.id = s.zone_id
    left join delivery.destination d on d.shipment_id = h.id
"""

PUT_ZONE: LiteralString = """
    insert into delivery.zone (id, name, time_zone, area, warehouse_ids, currency, delivery_fee, free_from,
        minimum_total, slot_capacity, first_hour, last_hour)
    values (%(id)s, %(name)s, %(time_zone)s, %(area)s::text::polygon, %(warehouse_ids)s, %(currency)s, %(delivery_fee)s,
        %(free_from)s, %(minimum_total)s, %(slot_capacity)s, %(first_hour)s, %(last_hour)s)
    on conflict (id) do update
        set name = excluded.name, time_zone = excluded.time_zone, area = excluded.area,
            warehouse_ids = excluded.warehouse_ids, currency = excluded.currency,
            delivery_fee = excluded.delivery_fee, free_from = excluded.free_from,
            minimum_total = excluded.minimum_total, slot_capacity = excluded.slot_capacity,
            first_hour = excluded.first_hour, last_hour = excluded.last_hour
"""

# Zones whose frames meet; whether they share ground is for the geometry to say.
NEAR: LiteralString = ZONES + "where id <> %s and box(area) && box(%s::text::polygon) order by id"

# All days at once; whatever is there already stays, whoever else rolls them on at the same moment.
ADD_SLOTS: LiteralString = """
    insert into delivery.slot (id, zone_id, start_time, end_time, cutoff_time, capacity)
    select id, %(zone_id)s, start_time, start_time + %(length)s, start_time - %(cutoff)s, %(capacity)s
    from unnest(%(ids)s::uuid[], %(starts)s::timestamptz[]) as n (id, start_time)
    order by start_time
    on conflict (zone_id, start_time) do nothing
"""

# Open slots follow their zone: those outside its hours take nobody any more. What is taken stays taken, so a slot that
# is cut below that gives up its places as they are given back. Only rows that differ are locked, in the order of ids.
FIT_SLOTS: LiteralString = """
    update delivery.slot s
    set capacity = greatest(f.wanted, s.taken)
    from (
        select id, case when start_time = any(%(starts)s::timestamptz[]) then %(capacity)s else 0 end as wanted
        from delivery.slot
        where zone_id = %(zone_id)s and cutoff_time > %(now)s and start_time < %(until)s
          and capacity <> greatest(
              case when start_time = any(%(starts)s::timestamptz[]) then %(capacity)s else 0 end, taken)
        order by id
        for update
    ) f
    where s.id = f.id
"""

GIVE_BACK: LiteralString = """
    update delivery.slot s
    set taken = s.taken - g.places
    from (
        select s.id, count(*)::int as places
        from unnest(%s::uuid[]) as given (id) join delivery.slot s using (id)
        group by s.id
    ) g
    where s.id = g.id
"""

# Slots long past that nobody came to use; those of shipments are part of their history.
FORGET_SLOTS: LiteralString = """
    delete from delivery.slot s
    using (
        select id from delivery.slot p
        where end_time < now() - %s and taken = 0
          and not exists (select from delivery.shipment where slot_id = p.id)
        order by id
        limit %s
        for update skip locked
    ) old
    where s.id = old.id
"""

LOCK_SLOTS: LiteralString = "select id from delivery.slot where id = any(%s) order by id for update"

# Rows travel as one JSON text. A destination is not written down for those who were erased meanwhile: what arrives late
# about them is kept nowhere. Plans without a row in the answer came to nothing: somebody decides why.
PLAN: LiteralString = """
    with wanted as (
        select * from json_to_recordset(%s::json) as plan (id uuid, order_id uuid, hold_id uuid, customer_id uuid,
            currency text, cash_due bigint, recipient text, line1 text, line2 text, postal_code text, city text,
            country_code text, phone text, note text, latitude float8, longitude float8)
    ),
    planned as (
        insert into delivery.shipment (id, order_id, customer_id, slot_id, state, currency, cash_due)
        select w.id, w.order_id, w.customer_id, h.slot_id, 'PLANNED', w.currency, w.cash_due
        from wanted w join delivery.hold h on h.id = w.hold_id
        where h.state = 'CONFIRMED' and h.slot_id is not null and (h.order_id is null or h.order_id = w.order_id)
        order by w.id
        on conflict (id) do nothing
        returning id, slot_id, create_time, update_time
    ),
    told as (
        insert into delivery.destination (shipment_id, customer_id, recipient, line1, line2, postal_code, city,
            country_code, phone, note, latitude, longitude)
        select id, customer_id, recipient, line1, line2, postal_code, city, country_code, phone, note, latitude,
            longitude
        from wanted join planned using (id)
        where not exists (select from delivery.erased where user_id = customer_id)
        returning shipment_id
    )
    select p.id as shipment_id, p.create_time, p.update_time, t.shipment_id is not null as known, s.id, s.zone_id,
        s.start_time, s.end_time, s.cutoff_time, s.capacity, s.taken, z.delivery_fee, z.currency
    from planned p join delivery.slot s on s.id = p.slot_id join delivery.zone z on z.id = s.zone_id
    left join told t on t.shipment_id = p.id
"""

BURY_SHIPMENT: LiteralString = """
    insert into delivery.shipment (id, state) values (%s, 'CANCELLED') on conflict (id) do nothing
"""

ADVANCE_SHIPMENT: LiteralString = """
    update delivery.shipment
    set state = %(state)s, courier_id = %(courier_id)s, currency = %(currency)s, cash_due = %(cash_due)s,
        cash_collected = %(cash_collected)s, failure_reason = %(failure_reason)s, latitude = %(latitude)s,
        longitude = %(longitude)s, position_time = %(position_time)s, version = %(version)s, update_time = now()
    where id = %(id)s
"""

# A courier's own words may name the person, and the last position is their door.
FORGET: LiteralString = """
    update delivery.shipment
    set failure_reason = '', latitude = null, longitude = null, position_time = null
    where customer_id = %s
"""


class ZoneStore:
    """Rows of `zone`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def lock_all(self) -> None:
        """Let nobody else change zones: two that overlap must not come at the same time. Readers go on."""
        self._connection.execute("lock table delivery.zone in share row exclusive mode")

    def put(self, zone: Zone, hours: Hours) -> None:
        """Write a zone as it shall be."""
        self._connection.execute(PUT_ZONE, zone_columns(zone, hours))

    def near(self, zone: Zone) -> list[Zone]:
        """Other zones whose frames meet this one's."""
        return [zone_of(row) for row in _rows(self._connection, NEAR, [zone.id, area(zone)])]

    def ids(self) -> list[str]:
        """The ids of all zones."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute("select id from delivery.zone order by id").fetchall()

    def find(self, zone_id: str) -> tuple[Zone, Hours] | None:
        """A zone and its hours."""
        return self._one(ZONES + "where id = %s", zone_id)

    def keep(self, zone_id: str) -> tuple[Zone, Hours] | None:
        """A zone and its hours, which nobody changes until this transaction ends."""
        return self._one(ZONES + "where id = %s for share", zone_id)

    def _one(self, statement: LiteralString, zone_id: str) -> tuple[Zone, Hours] | None:
        rows = _rows(self._connection, statement, [zone_id])
        return (zone_of(rows[0]), hours_of(rows[0])) if rows else None


class SlotStore:
    """Rows of `slot`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def roll(self, zone_id: str, starts: Sequence[datetime], capacity: int) -> int:
        """Make the slots that are not there yet; how many those were."""
        values = {
            "zone_id": zone_id,
            "ids": [uuid7() for _ in starts],
            "starts": list(starts),
            "capacity": capacity,
            "length": SLOT,
            "cutoff": CUTOFF,
        }
        return self._connection.execute(ADD_SLOTS, values).rowcount

    def fit(self, zone_id: str, starts: Sequence[datetime], capacity: int, now: datetime, until: datetime) -> None:
        """Let the open slots of a zone, as far as they are known, take so many, and those at other times none."""
        values = {"zone_id": zone_id, "starts": list(starts), "capacity": capacity, "now": now, "until": until}
        self._connection.execute(FIT_SLOTS, values)

    def forget(self, keep: timedelta, most: int) -> int:
        """Delete unused slots that ended longer ago than that; how many."""
        return self._connection.execute(FORGET_SLOTS, [keep, most]).rowcount

    def give_back(self, slot_ids: Sequence[UUID]) -> None:
        """Give places back, one for each time that a slot is named."""
        self._connection.execute(LOCK_SLOTS, [list(slot_ids)])
        self._connection.execute(GIVE_BACK, [list(slot_ids)])


class ShipmentStore:
    """Rows of `shipment` and `destination`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def plan(self, plans: Sequence[Plan]) -> dict[UUID, Shipment]:
        """Write new shipments and where they go; those whose id is known, or whose slot is not confirmed, not."""
        wanted = {each.shipment_id: each for each in plans}
        rows = _rows(self._connection, PLAN, [orjson.dumps([*map(plan_columns, wanted.values())]).decode()])
        return {row["shipment_id"]: planned_of(row, wanted[row["shipment_id"]]) for row in rows}

    def lock(self, shipment_id: UUID) -> Shipment | None:
        """A shipment that nobody else changes until this transaction ends."""
        rows = _rows(self._connection, SHIPMENTS + "where h.id = %s for update of h", [shipment_id])
        return shipment_of(rows[0]) if rows else None

    def bury(self, shipment_id: UUID) -> bool:
        """Leave a tombstone. False if there is a shipment by now."""
        return self._connection.execute(BURY_SHIPMENT, [shipment_id]).rowcount == 1

    def advance(self, shipment: Shipment) -> None:
        """Write what became of a locked shipment."""
        self._connection.execute(ADVANCE_SHIPMENT, shipment_columns(shipment))

    def forget(self, user_id: UUID) -> None:
        """Empty what tells who a customer is and where they live, and write nothing more of it down."""
        self._connection.execute("insert into delivery.erased values (%s) on conflict do nothing", [user_id])
        self._connection.execute("delete from delivery.destination where customer_id = %s", [user_id])
        self._connection.execute(FORGET, [user_id])


class CourierStore:
    """Rows of `courier`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def add(self, courier_id: UUID, name: str) -> bool:
        """Write a courier. False if the user is one."""
        statement: LiteralString = "insert into delivery.courier (id, name) values (%s, %s) on conflict do nothing"
        return self._connection.execute(statement, [courier_id, name]).rowcount == 1

    def find(self, courier_id: UUID) -> Courier | None:
        """A courier."""
        statement: LiteralString = "select id, name, create_time from delivery.courier where id = %s"
        with self._connection.cursor(row_factory=class_row(Courier)) as cursor:
            return cursor.execute(statement, [courier_id]).fetchone()

    def remove(self, courier_id: UUID) -> None:
        """Remove a courier; their shipments keep the id."""
        self._connection.execute("delete from delivery.courier where id = %s", [courier_id])


class DeliveryWork(Work):
    """One transaction on deliveries, and the events that leave with it."""

    zones: ZoneStore
    slots: SlotStore
    holds: HoldStore
    shipments: ShipmentStore
    couriers: CourierStore

    def opened(self) -> None:
        """Give every store the connection."""
        self.zones = ZoneStore(self.connection)
        self.slots = SlotStore(self.connection)
        self.holds = HoldStore(self.connection)
        self.shipments = ShipmentStore(self.connection)
        self.couriers = CourierStore(self.connection)


def _rows(connection: Connection[Any], statement: LiteralString, values: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()
