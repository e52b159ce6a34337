"""Stock: levels, the ledger that moves them, and what a basket lacks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Self
from uuid import UUID

from mercato.errors import FailedPrecondition, InvalidArgument

LOW_AT = 5
MOST_ON_HAND = 1_000_000_000


class BelowReserved(FailedPrecondition):
    """Fewer units would lie there than orders have a claim on."""

    def __init__(self, sku: str, on_hand: int, reserved: int) -> None:
        super().__init__(f"{reserved} of {on_hand} units of {sku} are reserved", sku=sku, reserved=reserved)


class TooMuch(FailedPrecondition):
    """No warehouse holds more than a billion units of one SKU."""


class Kind(StrEnum):
    """What may happen to stock."""

    RECEIVED = "RECEIVED"
    ADJUSTED = "ADJUSTED"
    RESERVED = "RESERVED"
    RELEASED = "RELEASED"
    CONSUMED = "CONSUMED"
    RESTOCKED = "RESTOCKED"


class Crossing(StrEnum):
    """A border that the units available crossed."""

    LOW = "LOW"
    OUT = "OUT"
    BACK = "BACK"


class Availability(StrEnum):
    """How much there is, without figures."""

    IN_STOCK = "IN_STOCK"
    LOW = "LOW"
    OUT_OF_STOCK = "OUT_OF_STOCK"

    @classmethod
    def of(cls, available: int) -> Self:
        """What so many units are called."""
        return cls("OUT_OF_STOCK" if available <= 0 else "LOW" if available <= LOW_AT else "IN_STOCK")


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A place where goods lie."""

    id: str
    name: str


class Place(NamedTuple):
    """One SKU in one warehouse."""

    sku: str
    warehouse_id: str

    def __str__(self) -> str:
        return f"{self.sku}@{self.warehouse_id}"


@dataclass(frozen=True, slots=True)
class Claim:
    """Units of one SKU that somebody wants, brings or takes."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Basket:
    """What an order asks for as a whole, and the warehouses that may serve it, the best first."""

    reservation_id: UUID
    order_id: UUID
    warehouses: tuple[str, ...]
    claims: tuple[Claim, ...]

    @property
    def places(self) -> list[Place]:
        """Wherever what it asks for may come from."""
        return [Place(claim.sku, warehouse_id) for warehouse_id in self.warehouses for claim in self.claims]


@dataclass(frozen=True, slots=True)
class Shortage:
    """A SKU of which there are fewer units than were asked for."""

    sku: str
    wanted: int
    available: int


@dataclass(frozen=True, slots=True)
class Level:
    """The stock of one SKU in one warehouse. `version` counts changes of on_hand, `sequence` the events told of it."""

    sku: str
    warehouse_id: str
    on_hand: int = 0
    reserved: int = 0
    version: int = 0
    sequence: int = 0

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.sku, self.warehouse_id)

    @property
    def available(self) -> int:
        """Units that may still be reserved."""
        return self.on_hand - self.reserved


@dataclass(frozen=True, slots=True)
class Stock:
    """The stock of one SKU in all warehouses that ever had it."""

    sku: str
    levels: tuple[Level, ...]

    @property
    def version(self) -> int:
        """Counts the changes of what lies there, reservations apart. Levels never go away, so it only grows."""
        return sum(level.version for level in self.levels)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a level, as the ledger notes it. The level after it has all numbers that are told of it."""

    kind: Kind
    before: Level
    after: Level
    crossings: tuple[Crossing, ...]
    reference: str

    @classmethod
    def of(cls, kind: Kind, before: Level, *, on_hand: int = 0, reserved: int = 0, reference: str = "") -> Self:
        """What becomes of a level by so many units more that lie there, or that are reserved."""
        available = before.available
        crossings = _crossed(available, available + on_hand - reserved, known=before.sequence > 0)
        after = Level(
            before.sku,
            before.warehouse_id,
            before.on_hand + on_hand,
            before.reserved + reserved,
            before.version + (on_hand != 0),
            before.sequence + 1 + len(crossings),
        )
        return cls(kind, before, after, crossings, reference)

    @property
    def place(self) -> Place:
        """Where it happened."""
        return self.before.place

    @property
    def sequence(self) -> int:
        """The number of the event that tells of the change; those of its crossings follow."""
        return self.before.sequence + 1

    @property
    def on_hand(self) -> int:
        """Units that came; negative if they left."""
        return self.after.on_hand - self.before.on_hand

    @property
    def reserved(self) -> int:
        """Units that were reserved; negative if they were set free or left."""
        return self.after.reserved - self.before.reserved

    @property
    def quantity(self) -> int:
        """The units that it was about; negative for a correction downwards."""
        match self.kind:
            case Kind.RESERVED | Kind.RELEASED:
                return abs(self.reserved)
            case Kind.CONSUMED:
                return -self.on_hand
            case _:
                return self.on_hand


def _crossed(before: int, after: int, *, known: bool) -> tuple[Crossing, ...]:
    """The borders crossed, in order. A SKU that was never there does not come back."""
    if before > LOW_AT and after > LOW_AT:
        return ()
    crossed = (
        (Crossing.LOW, before > LOW_AT >= after),
        (Crossing.OUT, before > 0 >= after),
        (Crossing.BACK, before <= 0 < after and known),
    )
    return tuple(border for border, true in crossed if true)


@dataclass(frozen=True, slots=True)
class Movement:
    """A change as the ledger keeps it."""

    id: int
    sku: str
    warehouse_id: str
    kind: str
    on_hand_delta: int
    reserved_delta: int
    reference: str
    create_time: datetime


class Ledger:
    """Levels that are locked, and the changes made to them one after the other."""

    def __init__(self, levels: Iterable[Level]) -> None:
        """Begin with the levels as they are."""
        self._levels = {level.place: level for level in levels}
        self.changes: list[Change] = []

    def __iter__(self) -> Iterator[Level]:
        return iter(self._levels.values())

    def __contains__(self, place: Place) -> bool:
        return place in self._levels

    @property
    def available(self) -> dict[Place, int]:
        """What may be reserved now, where anything was ever stocked."""
        return {place: level.available for place, level in self._levels.items()}

    def serves(self, warehouse_id: str, claims: Iterable[Claim]) -> bool:
        """Whether a warehouse has every line of a basket."""
        levels = ((self._levels.get(Place(claim.sku, warehouse_id)), claim) for claim in claims)
        return all(level is not None and level.available >= claim.quantity for level, claim in levels)

    @property
    def changed(self) -> list[Level]:
        """The levels that are not as they were, each as it is now."""
        return [self._levels[place] for place in {change.place for change in self.changes}]

    def move(self, kind: Kind, place: Place, *, on_hand: int = 0, reserved: int = 0, reference: str = "") -> Change:
        """Note one change. A place that was never stocked begins with nothing."""
        before = self._levels.get(place) or Level(*place)
        change = Change.of(kind, before, on_hand=on_hand, reserved=reserved, reference=reference)
        if change.after.available < 0:
            raise BelowReserved(place.sku, before.on_hand, before.reserved)
        if change.after.on_hand > MOST_ON_HAND:
            raise TooMuch
        self._levels[place] = change.after
        self.changes.append(change)
        return change


def each_once(claims: Sequence[Claim]) -> Sequence[Claim]:
    """The claims, if no SKU stands there twice."""
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        if claim.sku in seen:
            raise InvalidArgument.of(f"lines[{number}].sku", f"{claim.sku} stands there twice", "DUPLICATE")
        seen.add(claim.sku)
    return claims


def shortage(claims: Sequence[Claim], warehouses: Sequence[str], available: Mapping[Place, int]) -> list[Shortage]:
    """What the warehouse lacks that comes closest to the whole basket; nothing if one serves it all.

    Closest is who lacks the fewest lines, then the fewest units, then whoever the caller likes better.
    """
    return min((_lacking(claims, each, available) for each in warehouses), key=_distance)


def _lacking(claims: Sequence[Claim], warehouse_id: str, available: Mapping[Place, int]) -> list[Shortage]:
    here = [(claim, available.get(Place(claim.sku, warehouse_id), 0)) for claim in claims]
    return [Shortage(claim.sku, claim.quantity, units) for claim, units in here if units < claim.quantity]


def _distance(short: Sequence[Shortage]) -> tuple[int, int]:
    return len(short), sum(line.wanted - line.available for line in short)
