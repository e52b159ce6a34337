"""Reads of zones, slots, shipments and couriers that lock nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row, dict_row

from mercato.errors import NotFound
from mercato.postgres import Database
from services.delivery.domain import AddressNotServed, Courier, Slot, UnknownZone, Zone
from services.delivery.geometry import Corner, contains
from services.delivery.rows import Row, shipment_of, slot_of, zone_of
from services.delivery.shipment import Shipment
from services.delivery.store import SHIPMENTS, SLOTS, ZONES

# The index finds the zones whose frames the place lies in, few at most; the geometry decides.
FRAMED: LiteralString = ZONES + "where box(area) @> box(point(%(longitude)s, %(latitude)s)) order by id"

LIST_ZONES: LiteralString = (
    ZONES
    + """
    where %(after)s::text is null or (name, id) > (%(after)s, %(after_id)s)
    order by name, id
    limit %(most)s
"""
)

# A slot that its zone gave up, and that nobody is in, is not shown.
LIST_SLOTS: LiteralString = (
    SLOTS
    + """
    where s.zone_id = %(zone_id)s and s.capacity > 0
      and (%(begin)s::timestamptz is null or s.start_time >= %(begin)s)
      and (%(end)s::timestamptz is null or s.start_time < %(end)s)
      and (%(begin)s::timestamptz is not null or s.cutoff_time > now())
      and (%(after)s::timestamptz is null or s.start_time > %(after)s)
    order by s.start_time
    limit %(most)s
"""
)

EARLIEST: LiteralString = (
    SLOTS
    + """
    where s.zone_id = %s and s.cutoff_time > now() and s.taken < s.capacity
    order by s.start_time
    limit 1
"""
)

# For each place the zones whose frames it lies in, with the slot that is asked for if it is one of theirs, and open.
ZONES_AND_SLOTS: LiteralString = """
    select asked.n, asked.latitude, asked.longitude, z.id, z.name, z.time_zone, z.area, z.warehouse_ids, z.currency,
        z.delivery_fee, z.free_from, z.minimum_total, s.id as slot_id, s.zone_id, s.start_time, s.end_time,
        s.cutoff_time, s.capacity, s.taken
    from unnest(%b::float8[], %b::float8[], %b::uuid[]) with ordinality as asked (latitude, longitude, slot_id, n)
    join delivery.zone z on box(z.area) @> box(point(asked.longitude, asked.latitude))
    left join delivery.slot s on s.id = asked.slot_id and s.zone_id = z.id and s.cutoff_time > now() and s.capacity > 0
    order by asked.n, z.id
"""

# What nobody planned is nobody's: tombstones are not shown.
GET_SHIPMENT: LiteralString = (
    SHIPMENTS
    + """
    where h.id = %(id)s and h.order_id is not null
      and (%(only_of)s::uuid is null or h.customer_id = %(only_of)s or h.courier_id = %(only_of)s)
"""
)

LIST_SHIPMENTS: LiteralString = (
    SHIPMENTS
    + """
    where h.order_id is not null
      and (%(only_of)s::uuid is null or h.customer_id = %(only_of)s or h.courier_id = %(only_of)s)
      and (%(state)s::text is null or h.state = %(state)s)
      and (%(order_id)s::uuid is null or h.order_id = %(order_id)s)
      and (%(courier_id)s::uuid is null or h.courier_id = %(courier_id)s)
      and (%(time)s::timestamptz is null or (h.create_time, h.id) < (%(time)s, %(after)s::uuid))
    order by h.create_time desc, h.id desc
    limit %(most)s
"""
)

LIST_COURIERS: LiteralString = """
    select id, name, create_time from delivery.courier
    where %(after)s::text is null or (name, id) > (%(after)s, %(after_id)s::uuid)
    order by name, id
    limit %(most)s
"""


Located = tuple[Zone, Slot | None] | None
"""A zone and a slot of it; nothing where nobody delivers."""


class DeliveryQueries:
    """Reads on the schema `delivery`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def locate(self, place: Corner) -> Zone:
        """The zone that a place lies in; on a common edge, that with the smallest id. AddressNotServed."""
        for row in self._rows(FRAMED, {"latitude": place[0], "longitude": place[1]}):
            if contains((zone := zone_of(row)).polygon, place):
                return zone
        raise AddressNotServed

    def zone(self, zone_id: str) -> Zone:
        """One zone. UnknownZone."""
        for row in self._rows(ZONES + "where id = %s", [zone_id]):
            return zone_of(row)
        raise UnknownZone(zone_id)

    def list_zones(self, after: Sequence[str], most: int) -> list[Zone]:
        """Zones by name, after one of them."""
        return [zone_of(row) for row in self._rows(LIST_ZONES, {**_after(after), "most": most})]

    def list_slots(
        self, zone_id: str, day: tuple[datetime, datetime] | None, after: Sequence[str], most: int
    ) -> list[Slot]:
        """The slots of a zone by time, after one of them: those of a day, or all that are open."""
        begin, end = day or (None, None)
        values = {"zone_id": zone_id, "begin": begin, "end": end, "after": after[0] if after else None, "most": most}
        return [slot_of(row) for row in self._rows(LIST_SLOTS, values)]

    def earliest_slot(self, zone_id: str) -> Slot | None:
        """The next slot of a zone that has a place left."""
        return next((slot_of(row) for row in self._rows(EARLIEST, [zone_id])), None)

    def zones_and_slots(self, asked: Sequence[tuple[Corner, UUID]]) -> list[Located]:
        """The zone that each place lies in, with the slot of it that may still be ordered, if that is one."""
        places = [place for place, _ in asked]
        columns = [[place[0] for place in places], [place[1] for place in places], [slot_id for _, slot_id in asked]]
        found: dict[int, Located] = {}
        for row in self._rows(ZONES_AND_SLOTS, columns):
            number, zone = row["n"] - 1, zone_of(row)
            if number not in found and contains(zone.polygon, places[number]):
                found[number] = zone, slot_of({**row, "id": row["slot_id"]}) if row["slot_id"] else None
        return [found.get(number) for number in range(len(asked))]

    def shipment(self, shipment_id: UUID, only_of: str | None) -> Shipment:
        """A shipment, of this customer or courier alone if one is named. NotFound."""
        for row in self._rows(GET_SHIPMENT, {"id": shipment_id, "only_of": only_of}):
            return shipment_of(row)
        raise NotFound

    def list_shipments(
        self,
        only_of: str | None,
        state: str | None,
        order_id: str | None,
        courier_id: str | None,
        after: Sequence[str],
        most: int,
    ) -> list[Shipment]:
        """Shipments, the newest first, after one of them; None filters nothing."""
        time, after_id = after or (None, None)
        values = {
            "only_of": only_of,
            "state": state,
            "order_id": order_id,
            "courier_id": courier_id,
            "time": time,
            "after": after_id,
            "most": most,
        }
        return [shipment_of(row) for row in self._rows(LIST_SHIPMENTS, values)]

    def list_couriers(self, after: Sequence[str], most: int) -> list[Courier]:
        """Couriers by name, after one of them."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Courier)) as cursor:
            return cursor.execute(LIST_COURIERS, {**_after(after), "most": most}).fetchall()

    def _rows(self, statement: LiteralString, values: Any) -> list[Row]:
        with self._database.reading() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, values).fetchall()


def _after(cursor: Sequence[str]) -> dict[str, str | None]:
    return {"after": cursor[0], "after_id": cursor[1]} if cursor else {"after": None, "after_id": None}
