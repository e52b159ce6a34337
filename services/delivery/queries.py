"""Reads of zones, slots, shipments and couriers that lock nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row, dict_row

from mercato.errors import NotFound
from mercato.postgres import Database
from services.delivery.domain import AddressNotServed, Courier, Slot, SlotClosed, UnknownZone, Zone
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

OPEN_SLOT: LiteralString = SLOTS + "where s.id = %s and s.zone_id = %s and s.cutoff_time > now() and s.capacity > 0"

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

    def open_slot(self, slot_id: UUID, zone_id: str) -> Slot:
        """A slot that may still be ordered. SlotClosed if it may not, or is not one of the zone's."""
        for row in self._rows(OPEN_SLOT, [slot_id, zone_id]):
            return slot_of(row)
        raise SlotClosed

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
