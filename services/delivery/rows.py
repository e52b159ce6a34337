"""Rows of the delivery tables as what they stand for, and back."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from mercato.money import Money
from services.delivery.domain import Hold, HoldState, Hours, Slot, Zone
from services.delivery.shipment import Destination, Plan, Position, Shipment, State

Row = dict[str, Any]


def zone_of(row: Mapping[str, Any]) -> Zone:
    """A row of `zone` as a zone."""
    currency, free_from = row["currency"], row["free_from"]
    return Zone(
        row["id"],
        row["name"],
        row["time_zone"],
        _corners(row["area"]),
        tuple(row["warehouse_ids"]),
        Money(row["delivery_fee"], currency),
        None if free_from is None else Money(free_from, currency),
        Money(row["minimum_total"], currency),
    )


def hours_of(row: Mapping[str, Any]) -> Hours:
    """The hours in a row of `zone`."""
    return Hours(row["slot_capacity"], row["first_hour"], row["last_hour"])


def slot_of(row: Mapping[str, Any]) -> Slot:
    """A row of SLOTS as a slot."""
    return _slot(row["id"], row["currency"], row)


def shipment_of(row: Mapping[str, Any]) -> Shipment:
    """A row of SHIPMENTS as a shipment."""
    return Shipment(
        row["id"],
        row["order_id"],
        row["customer_id"],
        None if row["slot_id"] is None else _slot(row["slot_id"], row["zone_currency"], row),
        State(row["state"]),
        row["create_time"],
        row["update_time"],
        row["courier_id"],
        _money(row["cash_due"], row["currency"]),
        _money(row["cash_collected"], row["currency"]),
        row["failure_reason"],
        None if row["latitude"] is None else Position((row["latitude"], row["longitude"]), row["position_time"]),
        _destination(row) if row["known"] else None,
        row["version"],
    )


def _slot(slot_id: UUID, currency: str, row: Mapping[str, Any]) -> Slot:
    return Slot(
        slot_id,
        row["zone_id"],
        row["start_time"],
        row["end_time"],
        row["cutoff_time"],
        row["capacity"],
        row["taken"],
        Money(row["delivery_fee"], currency),
    )


def _destination(row: Mapping[str, Any]) -> Destination:
    place = None if row["to_latitude"] is None else (row["to_latitude"], row["to_longitude"])
    names = ("recipient", "line1", "line2", "postal_code", "city", "country_code", "phone", "note")
    return Destination(**{name: row[name] for name in names}, place=place)


def plan_columns(plan: Plan) -> Row:
    """The columns of a new shipment and its destination, as JSON holds them."""
    latitude, longitude = plan.destination.place or (None, None)
    named = {name: getattr(plan.destination, name) for name in Destination.__slots__ if name != "place"}
    return {
        "id": plan.shipment_id,
        "order_id": plan.order_id,
        "hold_id": plan.hold_id,
        "customer_id": plan.customer_id,
        "currency": currency(plan.cash_due),
        "cash_due": amount(plan.cash_due),
        **named,
        "latitude": latitude,
        "longitude": longitude,
    }


def planned_of(row: Mapping[str, Any], plan: Plan) -> Shipment:
    """The shipment that came of a plan, with the row of its slot."""
    return Shipment(
        plan.shipment_id,
        plan.order_id,
        plan.customer_id,
        slot_of(row),
        State.PLANNED,
        row["create_time"],
        row["update_time"],
        cash_due=plan.cash_due,
        destination=plan.destination if row["known"] else None,
    )


def shipment_columns(shipment: Shipment) -> Row:
    """The columns of a shipment that may change."""
    position = shipment.position
    return {
        "id": shipment.id,
        "state": shipment.state,
        "courier_id": shipment.courier_id,
        "currency": currency(shipment.cash_due, shipment.cash_collected),
        "cash_due": amount(shipment.cash_due),
        "cash_collected": amount(shipment.cash_collected),
        "failure_reason": shipment.failure_reason,
        "latitude": position and position.place[0],
        "longitude": position and position.place[1],
        "position_time": position and position.time,
        "version": shipment.version,
    }


def amount(money: Money | None) -> int | None:
    """Minor units, if there are any; zero is some."""
    return None if money is None else money.amount


def currency(*amounts: Money | None) -> str | None:
    """The currency of the first that there is."""
    return next((money.currency for money in amounts if money is not None), None)


def hold_of(state: str, **columns: Any) -> Hold:
    return Hold(state=HoldState(state), **columns)


def _money(amount: int | None, currency: str) -> Money | None:
    return None if amount is None else Money(amount, currency)


def zone_columns(zone: Zone, hours: Hours) -> Row:
    return {
        "id": zone.id,
        "name": zone.name,
        "time_zone": zone.time_zone,
        "area": area(zone),
        "warehouse_ids": list(zone.warehouse_ids),
        "currency": zone.delivery_fee.currency,
        "delivery_fee": zone.delivery_fee.amount,
        "free_from": amount(zone.free_from),
        "minimum_total": zone.minimum_total.amount,
        "slot_capacity": hours.capacity,
        "first_hour": hours.first,
        "last_hour": hours.last,
    }


def area(zone: Zone) -> str:
    """The corners as PostgreSQL writes them, (x, y) for each; no digit is lost on the way."""
    return "(" + ",".join(f"({longitude!r},{latitude!r})" for latitude, longitude in zone.polygon) + ")"


@lru_cache(256)
def _corners(area: str) -> tuple[tuple[float, float], ...]:
    points = json.loads(area.translate(str.maketrans("()", "[]")))
    return tuple((float(latitude), float(longitude)) for longitude, latitude in points)
