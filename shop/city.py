"""The demo shop's town: Cincinnati in four zones, two warehouses, and the people who work there.

The zones meet in one corner and share their edges, so that every place between them belongs to exactly one.
"""

from __future__ import annotations

from dataclasses import dataclass

TIME_ZONE = "America/New_York"
CURRENCY = "USD"
SLOT_CAPACITY = 60
FIRST_HOUR, LAST_HOUR = 8, 22

Corner = tuple[float, float]
"""Latitude and longitude in degrees."""

SERVED: Corner = (39.1031, -84.5120)
"""A place that is served: Fountain Square, in the zone `downtown`."""

_CENTRE: Corner = (39.1150, -84.5030)
_NORTH, _EAST, _SOUTH, _WEST = (39.1650, -84.5010), (39.1170, -84.4450), (39.0930, -84.5045), (39.1130, -84.5600)
_NORTH_EAST, _SOUTH_EAST = (39.1610, -84.4500), (39.0960, -84.4480)
_SOUTH_WEST, _NORTH_WEST = (39.0950, -84.5560), (39.1600, -84.5570)


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where goods lie."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the town. Money is in cents."""

    id: str
    name: str
    polygon: tuple[Corner, ...]
    warehouse_ids: tuple[str, ...]
    delivery_fee: int
    free_from: int
    doorstep: Corner
    """A place in it, for those who want to order there."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody with a demo account."""

    email: str
    name: str
    role: str


RIVERSIDE = Warehouse("riverside", "Riverside Depot")
UPTOWN = Warehouse("uptown", "Uptown Depot")
WAREHOUSES = (RIVERSIDE, UPTOWN)

_BY_THE_RIVER, _ON_THE_HILL = ("riverside", "uptown"), ("uptown", "riverside")
_CORNERS = {
    "downtown": (_CENTRE, _SOUTH, _SOUTH_WEST, _WEST),
    "mount-adams": (_CENTRE, _EAST, _SOUTH_EAST, _SOUTH),
    "clifton": (_CENTRE, _WEST, _NORTH_WEST, _NORTH),
    "walnut-hills": (_CENTRE, _NORTH, _NORTH_EAST, _EAST),
}

ZONES = (
    Zone("downtown", "Downtown", _CORNERS["downtown"], _BY_THE_RIVER, 299, 3500, SERVED),
    Zone("mount-adams", "Mount Adams", _CORNERS["mount-adams"], _BY_THE_RIVER, 349, 3500, (39.1080, -84.4970)),
    Zone("clifton", "Clifton", _CORNERS["clifton"], _ON_THE_HILL, 349, 4000, (39.1400, -84.5200)),
    Zone("walnut-hills", "Walnut Hills", _CORNERS["walnut-hills"], _ON_THE_HILL, 399, 4000, (39.1260, -84.4850)),
)

ACCOUNTS = (
    Account("customer@mercato.example", "Casey Customer", "customer"),
    Account("support@mercato.example", "Sam Support", "support"),
    Account("catalog@mercato.example", "Cat Catalog", "catalog"),
    Account("warehouse@mercato.example", "Wil Warehouse", "warehouse"),
    Account("courier@mercato.example", "Corey Courier", "courier"),
    Account("courier-2@mercato.example", "Kit Courier", "courier"),
    Account("finance@mercato.example", "Fran Finance", "finance"),
    Account("admin@mercato.example", "Ada Admin", "admin"),
)
