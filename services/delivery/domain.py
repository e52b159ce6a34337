"""Zones, their slots, and the claims on a place of a slot."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mercato.errors import FailedPrecondition, InvalidArgument, NotFound
from mercato.money import Money

SLOT = timedelta(hours=1)
CUTOFF = timedelta(minutes=30)
DAYS_AHEAD = 7


class AddressNotServed(NotFound):
    """The shop does not deliver there."""


class UnknownZone(NotFound):
    """There is no such zone."""

    def __init__(self, zone_id: str) -> None:
        super().__init__(f"there is no zone {zone_id}", zone_id=zone_id)


class ZonesOverlap(FailedPrecondition):
    """Two zones would deliver to the same place."""

    def __init__(self, zone_id: str, other_id: str) -> None:
        super().__init__(f"{zone_id} would share ground with {other_id}", zone_id=zone_id, other_id=other_id)


class BelowMinimum(FailedPrecondition):
    """The zone delivers from a higher subtotal on."""

    def __init__(self, minimum: Money) -> None:
        super().__init__(f"delivered from {minimum} on", minimum=str(minimum))


class SlotClosed(FailedPrecondition):
    """The slot takes no orders any more, or is not one of the place's zone."""


class SlotFull(FailedPrecondition):
    """The slot has no place left."""

    def __init__(self, slot_id: UUID) -> None:
        super().__init__("the slot has no place left", slot_id=str(slot_id))


class HoldReleased(FailedPrecondition):
    """The place was given back, which is final."""


class HoldExpired(FailedPrecondition):
    """The hold ran out."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the town that is served. Corners are (latitude, longitude) in degrees."""

    id: str
    name: str
    time_zone: str
    polygon: tuple[tuple[float, float], ...]
    warehouse_ids: tuple[str, ...]
    delivery_fee: Money
    free_from: Money | None
    minimum_total: Money

    @property
    def clock(self) -> ZoneInfo:
        """What the clocks there show. InvalidArgument if nobody knows the time zone."""
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidArgument.of("zone.timeZone", f"{self.time_zone} is no time zone", "TIME_ZONE") from None

    def fee(self, subtotal: Money) -> Money:
        """What a delivery costs with goods for so much."""
        free = self.free_from is not None and subtotal >= self.free_from
        return Money.zero(self.delivery_fee.currency) if free else self.delivery_fee

    def require_minimum(self, subtotal: Money) -> None:
        """BelowMinimum if goods for so much are not delivered."""
        if subtotal < self.minimum_total:
            raise BelowMinimum(self.minimum_total)

    def day(self, day: date) -> tuple[datetime, datetime]:
        """When a date begins and ends there: 23 or 25 hours apart when the clocks change."""
        midnights = (datetime.combine(each, time(), self.clock) for each in (day, day + timedelta(days=1)))
        begin, end = (midnight.astimezone(UTC) for midnight in midnights)
        return begin, end

    def days_ahead(self, now: datetime) -> list[date]:
        """The dates that have slots: today's there, and those of the next days."""
        today = now.astimezone(self.clock).date()
        return [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)]


@dataclass(frozen=True, slots=True)
class Hours:
    """When a zone is delivered to, and how many deliveries an hour takes."""

    capacity: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first >= self.last:
            raise InvalidArgument.of("lastHour", "must be later than firstHour", "RANGE")

    def starts(self, zone: Zone, day: date) -> list[datetime]:
        """When the slots of a date begin. An hour that the clocks skip has none, one that they repeat has two."""
        return sorted({start for hour in range(self.first, self.last) for start in _instants(zone.clock, day, hour)})

    def upcoming(self, zone: Zone, now: datetime) -> list[datetime]:
        """When the slots of today and of the next days begin, as far as they may still be ordered."""
        days = zone.days_ahead(now)
        return [start for day in days for start in self.starts(zone, day) if start - CUTOFF > now]


def _instants(clock: ZoneInfo, day: date, hour: int) -> Iterator[datetime]:
    for fold in (0, 1):
        local = datetime.combine(day, time(hour, fold=fold), clock)
        instant = local.astimezone(UTC)
        if instant.astimezone(clock).replace(tzinfo=None) == local.replace(tzinfo=None):
            yield instant


@dataclass(frozen=True, slots=True)
class Slot:
    """One hour in which goods may arrive."""

    id: UUID
    zone_id: str
    start_time: datetime
    end_time: datetime
    cutoff_time: datetime
    capacity: int
    taken: int
    fee: Money

    @property
    def available(self) -> int:
        """How many deliveries it still takes."""
        return self.capacity - self.taken


@dataclass(frozen=True, slots=True)
class Asked:
    """Which slot an order is to come in, where to, and for how much."""

    slot_id: UUID
    place: tuple[float, float]
    subtotal: Money


@dataclass(frozen=True, slots=True)
class SlotQuote:
    """What an order needs to know of its slot."""

    slot: Slot
    warehouse_ids: tuple[str, ...]
    fee: Money


@dataclass(frozen=True, slots=True)
class Quote:
    """What a delivery to a place costs, and when the next one is."""

    zone: Zone
    fee: Money
    earliest: Slot | None


class HoldState(StrEnum):
    """Where a hold stands."""

    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Hold:
    """An order's claim on a place of a slot. Its version numbers its events."""

    id: UUID
    order_id: UUID | None
    slot_id: UUID | None
    state: HoldState
    expire_time: datetime | None
    version: int = 1

    @classmethod
    def tombstone(cls, hold_id: UUID) -> Self:
        """What a release leaves that came before its hold: the late one is refused."""
        return cls(hold_id, None, None, HoldState.RELEASED, None)

    @property
    def holds(self) -> bool:
        """Whether a place is taken for it."""
        return self.state in (HoldState.HELD, HoldState.CONFIRMED)

    @property
    def confirmed(self) -> bool:
        """Whether it is held for good."""
        return self.state is HoldState.CONFIRMED

    def again(self) -> Self:
        """The answer to a repeated hold. What ran out is held afresh before anybody asks this."""
        if self.state is HoldState.RELEASED:
            raise HoldReleased
        return self

    def confirm(self) -> Self:
        """Hold for good. Whoever changes the state first wins: no look at the time, the sweeper has that."""
        match self.state:
            case HoldState.HELD:
                return self._next(HoldState.CONFIRMED)
            case HoldState.RELEASED:
                raise HoldReleased
            case HoldState.EXPIRED:
                raise HoldExpired
            case HoldState.CONFIRMED:
                return self

    def release(self) -> Self:
        """Give up the claim, for ever: even what ran out is held no more."""
        return self if self.state is HoldState.RELEASED else self._next(HoldState.RELEASED)

    def _next(self, state: HoldState) -> Self:
        return replace(self, state=state, version=self.version + 1)


@dataclass(frozen=True, slots=True)
class Courier:
    """Somebody who brings goods."""

    id: UUID
    name: str
    create_time: datetime
