"""Worlds for the laws of stock: memory and PostgreSQL behind one face, with the books that an auditor reads."""

import copy
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self
from uuid import UUID

import psycopg
from google.protobuf.message import Message

from mercato.group_commit import GroupCommit
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.rpc import Key
from services.inventory.domain import Basket, Change, Claim, Kind, Ledger, Level, Place, Stock, Warehouse, shortage
from services.inventory.reservation import Reservation, State
from services.inventory.store import InventoryWork
from services.inventory.usecases import Inventory

HOLD = timedelta(minutes=15)
OVER = timedelta(days=-1)  # a hold that has run out when it begins, however a clock is set right meanwhile

Told = tuple[str, int, Message]


@dataclass
class MemoryStock:
    """Stock kept in dictionaries: a transaction holds the one lock, and is undone by putting a copy back."""

    reservations_by_id: dict[UUID, Reservation] = field(default_factory=dict)
    levels: dict[Place, Level] = field(default_factory=dict)
    moves: list[Change] = field(default_factory=list)
    places: dict[str, Warehouse] = field(default_factory=dict)
    returns: dict[UUID, tuple[UUID, str, list[str]]] = field(default_factory=dict)

    def reserve(self, basket: Basket, hold: timedelta) -> tuple[Reservation, list[Change]] | None:
        earlier = self.reservations_by_id.get(basket.reservation_id)
        if earlier and earlier.state is not State.EXPIRED:
            return None
        known = {place: level.available for place, level in self.levels.items()}
        able = [each for each in basket.warehouses if not shortage(basket.claims, [each], known)]
        if not able or set(basket.warehouses) - set(self.places):
            return None
        version = earlier.version + 1 if earlier else 1
        ends = datetime.now(UTC) + hold
        reservation = Reservation(
            basket.reservation_id, basket.order_id, able[0], State.HELD, basket.claims, ends, version
        )
        ledger = self.lock(reservation.places)
        changes = reservation.take(ledger)
        self.write(ledger)
        self.advance(reservation)
        return reservation, changes

    def look(self, ids: Sequence[UUID], hold: timedelta) -> tuple[datetime, dict[UUID, Reservation]]:
        return datetime.now(UTC) + hold, {each.id: each for each in self.lock_all(ids)}

    def hold(self, held: Sequence[Reservation], ledger: Ledger) -> None:
        self.advance(*held)
        self.write(ledger)

    def find(self, reservation_id: UUID) -> Reservation | None:
        return self.reservations_by_id.get(reservation_id)

    def lock_all(self, ids: Sequence[UUID]) -> list[Reservation]:
        return [self.reservations_by_id[each] for each in ids if each in self.reservations_by_id]

    def bury(self, *tombstones: Reservation) -> None:
        self.advance(*tombstones)

    def advance(self, *locked: Reservation) -> None:
        self.reservations_by_id.update({each.id: each for each in locked})

    def due(self) -> bool:
        return True

    def expire(self, most: int) -> list[Reservation]:
        now = datetime.now(UTC)
        held = [each for each in self.reservations_by_id.values() if each.state is State.HELD]
        due = [each for each in held if each.expire_time and each.expire_time <= now][:most]
        expired = [replace(each, state=State.EXPIRED, version=each.version + 1) for each in due]
        for each in expired:
            self.advance(each)
        return expired

    def forget(self, keep: timedelta, most: int) -> int:
        raise NotImplementedError  # memory keeps no time of making; tests/component does

    def lock(self, places: Collection[Place]) -> Ledger:
        return Ledger(self.levels[place] for place in places if place in self.levels)

    def lock_sku(self, sku: str) -> Ledger:
        return Ledger(level for place, level in sorted(self.levels.items()) if place.sku == sku)

    def open(self, place: Place) -> Ledger:
        self.levels.setdefault(place, Level(*place))
        return self.lock([place])

    def bring(self, kind: Kind, warehouse_id: str, claims: Sequence[Claim], reference: str) -> list[Change]:
        ledger = self.lock([Place(claim.sku, warehouse_id) for claim in claims])
        changes = [
            ledger.move(kind, Place(claim.sku, warehouse_id), on_hand=claim.quantity, reference=reference)
            for claim in claims
        ]
        self.write(ledger)
        return changes

    def write(self, ledger: Ledger) -> None:
        self.levels.update({level.place: level for level in ledger.changed})
        self.moves += ledger.changes

    def of(self, skus: Sequence[str]) -> list[Stock]:
        return [Stock(sku, tuple(self.lock_sku(sku))) for sku in sorted(skus) if any(self.lock_sku(sku))]

    def put(self, warehouse: Warehouse) -> None:
        self.places[warehouse.id] = warehouse

    def known(self, ids: Sequence[str]) -> set[str]:
        return set(ids) & set(self.places)

    def take_back(self, return_id: UUID, order_id: UUID, warehouse_id: str, skus: Sequence[str]) -> bool:
        new = (order_id, warehouse_id, list(skus))
        return self.returns.setdefault(return_id, new) is new

    def taken_back(self, return_id: UUID) -> list[str]:
        return self.returns[return_id][2]


class MemoryReservations:
    """The claims of a MemoryStock; its one lock stands for the row's."""

    def __init__(self, stock: MemoryStock) -> None:
        self.reserve, self.look, self.hold, self.lock, self.lock_all = (
            stock.reserve,
            stock.look,
            stock.hold,
            stock.find,
            stock.lock_all,
        )
        self.bury, self.advance, self.expire, self.due = stock.bury, stock.advance, stock.expire, stock.due
        self.forget = stock.forget


class NoRepeats:
    """These laws send no request keys; tests/component does."""

    def find(self, key: Key | None) -> str | None:
        assert key is None
        return None

    def made(self, key: Key | None, resource_id: str) -> None:
        assert key is None
        assert resource_id


class MemoryWork:
    """One transaction on a MemoryStock."""

    def __init__(self, stock: MemoryStock, lock: threading.Lock, told: list[Told]) -> None:
        self._lock, self._told = lock, told
        self._new: list[Told] = []
        self.stock = self.warehouses = stock
        self.reservations = MemoryReservations(stock)
        self.idempotency = NoRepeats()

    def publish(self, event: Message, aggregate_id: str, version: int) -> None:
        self._new.append((aggregate_id, version, event))

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._before = copy.deepcopy(vars(self.stock))
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self._told += self._new
        else:
            vars(self.stock).update(self._before)
        self._lock.release()


class Books(Protocol):
    """What an auditor reads."""

    def levels(self) -> dict[Place, Level]: ...
    def sums(self) -> dict[Place, tuple[int, int]]: ...
    def claimed(self) -> dict[Place, int]: ...


class MemoryBooks:
    """The books of a MemoryStock."""

    def __init__(self, stock: MemoryStock) -> None:
        self._stock = stock

    def levels(self) -> dict[Place, Level]:
        return self._stock.levels

    def sums(self) -> dict[Place, tuple[int, int]]:
        sums: dict[Place, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for move in self._stock.moves:
            on_hand, reserved = sums[move.place]
            sums[move.place] = (on_hand + move.on_hand, reserved + move.reserved)
        return sums

    def claimed(self) -> dict[Place, int]:
        claimed: Counter[Place] = Counter()
        for each in self._stock.reservations_by_id.values():
            if each.holds:
                claimed.update({place: claim.quantity for place, claim in zip(each.places, each.claims, strict=True)})
        return claimed


class PostgresBooks:
    """The books in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _rows(self, statement: Any) -> list[tuple[Any, ...]]:
        with self._database.reading() as connection:
            return connection.execute(statement).fetchall()

    def levels(self) -> dict[Place, Level]:
        rows = self._rows("select sku, warehouse_id, on_hand, reserved, version, sequence from inventory.stock")
        return {Place(*row[:2]): Level(*row) for row in rows}

    def sums(self) -> dict[Place, tuple[int, int]]:
        rows = self._rows(
            "select sku, warehouse_id, sum(on_hand_delta), sum(reserved_delta) from inventory.movement group by 1, 2"
        )
        return {Place(*row[:2]): (row[2], row[3]) for row in rows}

    def claimed(self) -> dict[Place, int]:
        rows = self._rows(
            "select sku, warehouse_id, sum(quantity) from inventory.reservation,"
            " unnest(skus, quantities) l (sku, quantity) where state in ('HELD', 'COMMITTED') group by 1, 2"
        )
        return {Place(*row[:2]): row[2] for row in rows}


class Grouped(Inventory):
    """An inventory whose callers wait for each other and then go together, as over gRPC."""

    def __init__(self, work: Callable[[], Any], hold: timedelta) -> None:
        super().__init__(work, hold)
        self._reserving = GroupCommit(super().reserve_stock, super().reserve_together)
        self._committing = GroupCommit(super().commit_reservation, super().commit_together)

    def reserve_stock(self, basket: Basket) -> Reservation:
        return self._reserving.do(basket)

    def commit_reservation(self, reservation_id: UUID) -> Reservation:
        return self._committing.do(reservation_id)


@dataclass(repr=False)
class World:
    """An inventory with two warehouses, what it told, and its books."""

    work: Callable[[], Any]
    told: list[Told]
    books: Books
    kind: type[Inventory] = Inventory

    def __post_init__(self) -> None:
        self.inventory = self.kind(self.work, HOLD)

    @property
    def fleeting(self) -> Inventory:
        """The same, where holds run out at once."""
        return Inventory(self.work, OVER)

    def receive(self, warehouse_id: str = "north", **units: int) -> None:
        for sku, quantity in units.items():
            self.inventory.receive_stock(Place(sku, warehouse_id), quantity, "note")

    def level(self, sku: str, warehouse_id: str = "north") -> tuple[int, int]:
        level = self.books.levels()[Place(sku, warehouse_id)]
        return level.on_hand, level.reserved

    def names(self, aggregate_id: object) -> list[str]:
        told = sorted((each for each in self.told if each[0] == str(aggregate_id)), key=lambda each: each[1])
        return [event.DESCRIPTOR.name for _, _, event in told]

    def audit(self) -> None:
        """Whatever happened: the ledger explains stock, claims explain what is reserved, no number is used twice."""
        levels, sums, claimed = self.books.levels(), self.books.sums(), self.books.claimed()
        assert {place: (level.on_hand, level.reserved) for place, level in levels.items()} == sums
        assert {place: level.reserved for place, level in levels.items() if level.reserved} == claimed
        assert all(0 <= level.reserved <= level.on_hand for level in levels.values())
        assert max(Counter((about, version) for about, version, _ in self.told).values(), default=1) == 1
        told = _levels_told(self.told)
        for place, level in levels.items():
            _explain(level, sorted(told[place]))


def _levels_told(told: Sequence[Told]) -> dict[Place, list[tuple[int, int, int]]]:
    levels: defaultdict[Place, list[tuple[int, int, int]]] = defaultdict(list)
    for _, _, event in told:
        message: Any = event
        for level in [message.level] if hasattr(message, "level") else getattr(message, "levels", ()):
            levels[Place(level.sku, level.warehouse_id)].append((level.sequence, level.on_hand, level.available))
    return levels


def _explain(level: Level, told: list[tuple[int, int, int]]) -> None:
    """Every number of the row's sequence was told once, and the last one tells the row."""
    assert [sequence for sequence, _, _ in told] == list(range(1, level.sequence + 1))
    assert told[-1][1:] == (level.on_hand, level.available)


def in_memory() -> World:
    stock, lock, told = MemoryStock(), threading.Lock(), list[Told]()
    return World(lambda: MemoryWork(stock, lock, told), told, MemoryBooks(stock))


def in_postgres(database: Database) -> World:
    told = list[Told]()

    class RecordingWork(InventoryWork):
        def opened(self) -> None:
            super().opened()
            self.new: list[Told] = []

        def publish(self, event: Any, aggregate_id: str, version: int) -> None:
            super().publish(event, aggregate_id, version)
            self.new.append((aggregate_id, version, event))

        def __exit__(self, cls: Any, error: Any, traceback: Any) -> None:
            super().__exit__(cls, error, traceback)
            if error is None:
                told.extend(self.new)

    return World(lambda: RecordingWork(database, service="inventory"), told, PostgresBooks(database))


def emptied(url: str) -> None:
    """Take every row of stock away; the service's own role could not empty the ledger."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path = inventory")
        connection.execute("truncate warehouse, stock, movement, reservation, restock, outbox")


def basket(*warehouses: str, reservation_id: UUID | None = None, **units: int) -> Basket:
    claims = tuple(Claim(sku, quantity) for sku, quantity in units.items())
    return Basket(reservation_id or uuid7(), uuid7(), warehouses or ("north",), claims)
