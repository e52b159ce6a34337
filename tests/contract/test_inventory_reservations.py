"""What holds for reservations, whatever keeps them: the same laws over memory and over PostgreSQL."""

import copy
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, Self
from uuid import UUID

import psycopg
import pytest
from google.protobuf.message import Message

from mercato.errors import Conflict, InvalidArgument, MercatoError, NotFound
from mercato.group_commit import GroupCommit
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.rpc import Key
from mercato.testing import all_at_once, at_once
from services.inventory.domain import Basket, Change, Claim, Kind, Ledger, Level, Place, Stock, Warehouse, shortage
from services.inventory.refusals import (
    OutOfStock,
    PickedTooMuch,
    ReservationConsumed,
    ReservationExpired,
    ReservationNotCommitted,
    ReservationReleased,
    UnknownWarehouse,
)
from services.inventory.reservation import Reservation, State
from services.inventory.store import InventoryWork
from services.inventory.usecases import Inventory
from tests.servers import FreshDatabase

HOLD = timedelta(minutes=15)
OVER = timedelta(seconds=-1)  # a hold that has run out when it begins
ROUNDS = 10

Told = tuple[str, int, Message]
Act = Callable[[], object]


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

    def bury(self, tombstone: Reservation) -> bool:
        return self.reservations_by_id.setdefault(tombstone.id, tombstone) is tombstone

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


@dataclass
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
        for place, level in levels.items():
            _explain(level, sorted(_levels_told(self.told, place)))


def _levels_told(told: Sequence[Told], place: Place) -> Iterator[tuple[int, int, int]]:
    for _, _, event in told:
        message: Any = event
        for level in [message.level] if hasattr(message, "level") else getattr(message, "levels", ()):
            if (level.sku, level.warehouse_id) == place:
                yield level.sequence, level.on_hand, level.available


def _explain(level: Level, told: list[tuple[int, int, int]]) -> None:
    """Every number of the row's sequence was told once, and the last one tells the row."""
    assert [sequence for sequence, _, _ in told] == list(range(1, level.sequence + 1))
    assert told[-1][1:] == (level.on_hand, level.available)


def _memory() -> World:
    stock, lock, told = MemoryStock(), threading.Lock(), list[Told]()
    return World(lambda: MemoryWork(stock, lock, told), told, MemoryBooks(stock))


def _postgres(database: Database) -> World:
    told = list[Told]()

    class RecordingWork(InventoryWork):
        def opened(self) -> None:
            super().opened()
            self.new: list[Told] = []

        def publish(self, event: Message, aggregate_id: str, version: int) -> None:
            super().publish(event, aggregate_id, version)
            self.new.append((aggregate_id, version, event))

        def __exit__(self, cls: Any, error: Any, traceback: Any) -> None:
            super().__exit__(cls, error, traceback)
            if error is None:
                told.extend(self.new)

    return World(lambda: RecordingWork(database, service="inventory"), told, PostgresBooks(database))


@pytest.fixture
def empty_inventory(inventory_database: Database, fresh_database: FreshDatabase) -> Database:
    """The module's database without a row; the service's own role could not empty the ledger."""
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute("set search_path = inventory")
        connection.execute("truncate warehouse, stock, movement, reservation, restock, outbox")
    return inventory_database


@pytest.fixture(params=["memory", "postgres", "grouped"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = _memory() if request.param == "memory" else _postgres(request.getfixturevalue("empty_inventory"))
    if request.param == "grouped":
        world = replace(world, kind=Grouped)
    for name in ("north", "south"):
        world.inventory.put_warehouse(Warehouse(name, name))
    yield world
    world.audit()


def basket(*warehouses: str, reservation_id: UUID | None = None, **units: int) -> Basket:
    claims = tuple(Claim(sku, quantity) for sku, quantity in units.items())
    return Basket(reservation_id or uuid7(), uuid7(), warehouses or ("north",), claims)


# Reserving


def test_a_basket_is_held_whole_and_told_once(world: World) -> None:
    world.receive(milk=10, bread=10)
    reservation = world.inventory.reserve_stock(basket(milk=2, bread=1))
    assert (reservation.state, reservation.warehouse_id) == (State.HELD, "north")
    assert (world.level("milk"), world.level("bread")) == ((10, 2), (10, 1))
    assert world.names(reservation.id) == ["StockReserved"]


def test_a_repeated_reservation_answers_as_the_first_and_holds_nothing_more(world: World) -> None:
    world.receive(milk=3)
    wanted = basket(milk=3)
    answers = [world.inventory.reserve_stock(wanted) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert world.level("milk") == (3, 3)
    assert world.names(wanted.reservation_id) == ["StockReserved"]


def test_a_basket_that_does_not_fit_holds_nothing_and_names_every_short_line(world: World) -> None:
    world.receive(milk=1, bread=10)
    with pytest.raises(OutOfStock) as refused:
        world.inventory.reserve_stock(basket(milk=2, bread=1, jam=1))
    assert refused.value.metadata == {
        "skus": [{"sku": "milk", "wanted": 2, "available": 1}, {"sku": "jam", "wanted": 1, "available": 0}]
    }
    assert (world.level("milk"), world.level("bread")) == ((1, 0), (10, 0))


def test_a_refusal_is_not_remembered(world: World) -> None:
    world.receive(milk=1)
    wanted = basket(milk=2)
    with pytest.raises(OutOfStock):
        world.inventory.reserve_stock(wanted)
    world.receive(milk=1)
    assert world.inventory.reserve_stock(wanted).state is State.HELD


def test_the_first_warehouse_that_serves_the_whole_basket_wins(world: World) -> None:
    world.receive("north", milk=5)
    world.receive("south", milk=5, bread=5)
    assert world.inventory.reserve_stock(basket("north", "south", milk=1)).warehouse_id == "north"
    assert world.inventory.reserve_stock(basket("north", "south", milk=1, bread=1)).warehouse_id == "south"
    assert world.inventory.reserve_stock(basket("south", "north", milk=1)).warehouse_id == "south"


def test_a_basket_is_never_split_between_warehouses(world: World) -> None:
    world.receive("north", milk=5)
    world.receive("south", bread=5, jam=5)
    with pytest.raises(OutOfStock) as refused:
        world.inventory.reserve_stock(basket("north", "south", milk=1, bread=1, jam=1))
    assert refused.value.metadata == {"skus": [{"sku": "milk", "wanted": 1, "available": 0}]}


def test_a_warehouse_that_nobody_knows_is_refused_even_if_another_could_serve(world: World) -> None:
    world.receive(milk=5)
    with pytest.raises(UnknownWarehouse):
        world.inventory.reserve_stock(basket("north", "nowhere", milk=1))
    assert world.level("milk") == (5, 0)


def test_a_sku_stands_in_a_basket_once(world: World) -> None:
    world.receive(milk=5)
    twice = Basket(uuid7(), uuid7(), ("north",), (Claim("milk", 1), Claim("milk", 1)))
    with pytest.raises(InvalidArgument) as refused:
        world.inventory.reserve_stock(twice)
    assert [violation.field for violation in refused.value.fields] == ["lines[1].sku"]


# Running out


def test_what_ran_out_is_free_again_and_told_as_expired(world: World) -> None:
    world.receive(milk=9, bread=9)
    first, second = (world.fleeting.reserve_stock(basket(milk=2, bread=1)) for _ in range(2))
    lasting = world.inventory.reserve_stock(basket(milk=1))
    assert world.inventory.expire_reservations() is False
    assert (world.level("milk"), world.level("bread")) == ((9, 1), (9, 0))
    assert world.names(first.id) == world.names(second.id) == ["StockReserved", "StockReleased"]
    assert world.names(lasting.id) == ["StockReserved"]


def test_after_it_ran_out_a_repeat_reserves_afresh(world: World) -> None:
    world.receive("north", milk=1)
    wanted = basket("north", "south", milk=1)
    world.fleeting.reserve_stock(wanted)
    world.inventory.expire_reservations()
    world.receive("south", milk=1)
    world.inventory.reserve_stock(basket("north", milk=1))
    again = world.inventory.reserve_stock(wanted)
    assert (again.state, again.warehouse_id) == (State.HELD, "south")
    assert world.names(wanted.reservation_id) == ["StockReserved", "StockReleased", "StockReserved"]


def test_what_is_committed_never_runs_out(world: World) -> None:
    world.receive(milk=1)
    reservation = world.fleeting.reserve_stock(basket(milk=1))
    world.inventory.commit_reservation(reservation.id)
    world.inventory.expire_reservations()
    assert world.level("milk") == (1, 1)


def test_a_commit_before_the_sweep_wins_though_the_time_is_over(world: World) -> None:
    world.receive(milk=1)
    reservation = world.fleeting.reserve_stock(basket(milk=1))
    assert world.inventory.commit_reservation(reservation.id).state is State.COMMITTED


def test_a_commit_after_the_sweep_is_refused(world: World) -> None:
    world.receive(milk=1)
    reservation = world.fleeting.reserve_stock(basket(milk=1))
    world.inventory.expire_reservations()
    with pytest.raises(ReservationExpired):
        world.inventory.commit_reservation(reservation.id)


# Committing, releasing, consuming


def test_a_commit_may_be_repeated(world: World) -> None:
    world.receive(milk=1)
    reservation = world.inventory.reserve_stock(basket(milk=1))
    assert [world.inventory.commit_reservation(reservation.id).state for _ in range(3)] == [State.COMMITTED] * 3
    assert world.names(reservation.id) == ["StockReserved", "StockCommitted"]


def test_a_commit_of_the_unknown_is_refused_and_leaves_no_trace(world: World) -> None:
    world.receive(milk=1)
    wanted = basket(milk=1)
    with pytest.raises(NotFound):
        world.inventory.commit_reservation(wanted.reservation_id)
    assert world.inventory.reserve_stock(wanted).state is State.HELD


@pytest.mark.parametrize("committed", [False, True])
def test_a_release_gives_everything_back_and_may_be_repeated(world: World, committed: bool) -> None:
    world.receive(milk=2, bread=2)
    reservation = world.inventory.reserve_stock(basket(milk=2, bread=1))
    if committed:
        world.inventory.commit_reservation(reservation.id)
    answers = [world.inventory.release_reservation(reservation.id) for _ in range(3)]
    assert {answer.state for answer in answers} == {State.RELEASED}
    assert (world.level("milk"), world.level("bread")) == ((2, 0), (2, 0))
    assert world.names(reservation.id)[-1] == "StockReleased"
    assert world.names(reservation.id).count("StockReleased") == 1


def test_release_beats_reserve_and_commit_that_come_later(world: World) -> None:
    world.receive(milk=2)
    wanted = basket(milk=1)
    world.inventory.reserve_stock(wanted)
    world.inventory.release_reservation(wanted.reservation_id)
    with pytest.raises(ReservationReleased):
        world.inventory.reserve_stock(wanted)
    with pytest.raises(ReservationReleased):
        world.inventory.commit_reservation(wanted.reservation_id)


def test_a_release_that_comes_first_leaves_a_tombstone(world: World) -> None:
    world.receive(milk=2)
    wanted = basket(milk=1)
    answers = [world.inventory.release_reservation(wanted.reservation_id) for _ in range(2)]
    assert answers == [Reservation.tombstone(wanted.reservation_id)] * 2
    with pytest.raises(ReservationReleased):
        world.inventory.reserve_stock(wanted)
    assert world.names(wanted.reservation_id) == []


def test_what_ran_out_is_released_for_good_without_giving_back_twice(world: World) -> None:
    world.receive(milk=2)
    wanted = basket(milk=1)
    world.fleeting.reserve_stock(wanted)
    world.inventory.expire_reservations()
    world.inventory.release_reservation(wanted.reservation_id)
    with pytest.raises(ReservationReleased):
        world.inventory.reserve_stock(wanted)
    assert world.level("milk") == (2, 0)


def test_what_was_picked_leaves_and_the_rest_is_free_again(world: World) -> None:
    world.receive(milk=10, bread=10, jam=10)
    reservation = world.inventory.reserve_stock(basket(milk=4, bread=2, jam=1))
    world.inventory.commit_reservation(reservation.id)
    picked = [Claim("milk", 3), Claim("jam", 0)]
    answers = [world.inventory.consume_reservation(reservation.id, picked) for _ in range(3)]
    assert {answer.state for answer in answers} == {State.CONSUMED}
    assert [world.level(sku) for sku in ("milk", "bread", "jam")] == [(7, 0), (10, 0), (10, 0)]
    assert world.names(reservation.id) == ["StockReserved", "StockCommitted", "StockConsumed"]


def test_consumption_is_final(world: World) -> None:
    world.receive(milk=1)
    wanted = basket(milk=1)
    world.inventory.reserve_stock(wanted)
    world.inventory.commit_reservation(wanted.reservation_id)
    consumed = world.inventory.consume_reservation(wanted.reservation_id, [Claim("milk", 1)])
    with pytest.raises(ReservationConsumed):
        world.inventory.release_reservation(wanted.reservation_id)
    assert world.inventory.commit_reservation(wanted.reservation_id) == consumed
    assert world.inventory.reserve_stock(wanted) == consumed
    assert world.level("milk") == (0, 0)


def test_only_what_is_committed_is_consumed(world: World) -> None:
    world.receive(milk=3)
    held, expired, released = (basket(milk=1) for _ in range(3))
    world.fleeting.reserve_stock(expired)
    world.inventory.expire_reservations()
    world.inventory.reserve_stock(held)
    world.inventory.release_reservation(released.reservation_id)
    for wanted in (held, expired):
        with pytest.raises(ReservationNotCommitted):
            world.inventory.consume_reservation(wanted.reservation_id, [Claim("milk", 1)])
    with pytest.raises(ReservationReleased):
        world.inventory.consume_reservation(released.reservation_id, [Claim("milk", 1)])
    with pytest.raises(NotFound):
        world.inventory.consume_reservation(uuid7(), [Claim("milk", 1)])


@pytest.mark.parametrize("picked", [Claim("milk", 2), Claim("bread", 1)])
def test_no_more_is_picked_than_is_held(world: World, picked: Claim) -> None:
    world.receive(milk=3, bread=3)
    reservation = world.inventory.reserve_stock(basket(milk=1))
    world.inventory.commit_reservation(reservation.id)
    with pytest.raises(PickedTooMuch):
        world.inventory.consume_reservation(reservation.id, [picked])
    assert (world.level("milk"), world.level("bread")) == ((3, 1), (3, 0))


# Crossings


def test_low_out_and_back_are_told_once_per_crossing(world: World) -> None:
    world.receive(milk=8)
    few = world.inventory.reserve_stock(basket(milk=2))  # 6 left
    some = world.inventory.reserve_stock(basket(milk=1))  # 5
    rest = world.inventory.reserve_stock(basket(milk=5))  # 0
    for reservation in (few, some, rest):  # 2, 3, 8
        world.inventory.release_reservation(reservation.id)
    world.inventory.reserve_stock(basket(milk=8))  # past both borders at once
    told = ["StockReceived", "StockLow", "StockOut", "BackInStock", "StockLow", "StockOut"]
    assert world.names("milk@north") == told


# Two at once


def outcome(act: Callable[[], Reservation]) -> State | type[MercatoError]:
    """The state that somebody is told, or why not."""
    try:
        return act().state
    except MercatoError as refused:
        return type(refused)


def race(*acts: Callable[[], Reservation]) -> list[Any]:
    """What each is told who does these at the same moment."""
    return all_at_once([partial(outcome, act) for act in acts])


def again_and_again(meet: Callable[[], None]) -> None:
    """A race is run more than once: who is first is luck."""
    for _ in range(ROUNDS):
        meet()


def test_two_buyers_cannot_reserve_the_last_unit(world: World) -> None:
    def meet() -> None:
        world.receive(milk=1)
        told = race(*[lambda: world.inventory.reserve_stock(basket(milk=1))] * 2)
        assert Counter(told) == {State.HELD: 1, OutOfStock: 1}

    again_and_again(meet)


def test_exactly_as_many_buyers_are_served_as_there_are_units(world: World) -> None:
    world.receive(milk=20)
    told = race(*[lambda: world.inventory.reserve_stock(basket(milk=1))] * 32)
    assert Counter(told) == {State.HELD: 20, OutOfStock: 12}


def test_a_basket_that_loses_the_race_in_one_warehouse_is_served_by_the_next(world: World) -> None:
    world.receive("north", milk=4)
    world.receive("south", milk=4)
    told = at_once(lambda: world.inventory.reserve_stock(basket("north", "south", milk=1)), 8)
    assert Counter(each.warehouse_id for each in told if isinstance(each, Reservation)) == {"north": 4, "south": 4}


def test_the_same_reservation_from_many_connections_is_one(world: World) -> None:
    world.receive(milk=100, bread=100)

    def meet() -> None:
        wanted = basket(milk=1, bread=1)
        answers = at_once(lambda: world.inventory.reserve_stock(wanted), 4)
        assert answers == [answers[0]] * 4

    again_and_again(meet)
    assert (world.level("milk"), world.level("bread")) == ((100, ROUNDS), (100, ROUNDS))


def test_baskets_in_opposite_order_do_not_deadlock(world: World) -> None:
    world.receive("north", milk=100, bread=100)
    world.receive("south", milk=100, bread=100)

    def meet() -> None:
        there = [lambda: world.inventory.reserve_stock(basket("north", "south", milk=1, bread=1))] * 2
        back = [lambda: world.inventory.reserve_stock(basket("north", "south", bread=1, milk=1))] * 2
        across = [lambda: world.inventory.reserve_stock(basket("south", "north", bread=1, milk=1))] * 2
        assert race(*there, *back, *across) == [State.HELD] * 6

    again_and_again(meet)


def test_reserve_and_release_at_once_end_released(world: World) -> None:
    world.receive(milk=100)

    def meet() -> None:
        wanted = basket(milk=1)
        reserved, released = race(
            lambda: world.inventory.reserve_stock(wanted),
            lambda: world.inventory.release_reservation(wanted.reservation_id),
        )
        assert reserved in (State.HELD, ReservationReleased)
        assert released is State.RELEASED
        assert outcome(lambda: world.inventory.reserve_stock(wanted)) is ReservationReleased

    again_and_again(meet)
    assert world.level("milk") == (100, 0)


def test_of_commit_and_expiry_at_once_exactly_one_wins(world: World) -> None:
    world.receive(milk=100)
    told: Counter[object] = Counter()

    def meet() -> None:
        held = world.fleeting.reserve_stock(basket(milk=1))
        acts: list[Act] = [
            partial(outcome, lambda: world.inventory.commit_reservation(held.id)),
            world.inventory.expire_reservations,
        ]
        told.update(all_at_once(acts)[:1])
        world.inventory.expire_reservations()

    again_and_again(meet)
    assert set(told) <= {State.COMMITTED, ReservationExpired}
    assert world.level("milk") == (100, told[State.COMMITTED])


def test_release_and_commit_at_once_end_released(world: World) -> None:
    world.receive(milk=100)

    def meet() -> None:
        held = world.inventory.reserve_stock(basket(milk=1))
        released, committed = race(
            lambda: world.inventory.release_reservation(held.id), lambda: world.inventory.commit_reservation(held.id)
        )
        assert released is State.RELEASED
        assert committed in (State.COMMITTED, ReservationReleased)

    again_and_again(meet)
    assert world.level("milk") == (100, 0)


def test_release_and_consume_at_once_have_one_winner(world: World) -> None:
    world.receive(milk=100)
    consumed: Counter[object] = Counter()

    def meet() -> None:
        held = world.inventory.reserve_stock(basket(milk=1))
        world.inventory.commit_reservation(held.id)
        told = race(
            lambda: world.inventory.release_reservation(held.id),
            lambda: world.inventory.consume_reservation(held.id, [Claim("milk", 1)]),
        )
        assert told in ([State.RELEASED, ReservationReleased], [ReservationConsumed, State.CONSUMED])
        consumed.update(told[1:])

    again_and_again(meet)
    assert world.level("milk") == (100 - consumed[State.CONSUMED], 0)


def test_sweepers_at_once_give_back_once(world: World) -> None:
    world.receive(milk=30, bread=30)
    held = [world.fleeting.reserve_stock(basket(milk=1, bread=1)) for _ in range(20)]
    assert at_once(world.inventory.expire_reservations, 4) == [False] * 4
    assert (world.level("milk"), world.level("bread")) == ((30, 0), (30, 0))
    assert all(world.names(each.id) == ["StockReserved", "StockReleased"] for each in held)


def test_sweeping_while_the_same_goods_are_bought_loses_no_unit(world: World) -> None:
    world.receive(milk=100, bread=100)

    def meet() -> None:
        for _ in range(3):
            world.fleeting.reserve_stock(basket(milk=1, bread=1))
        buy: Act = partial(outcome, lambda: world.inventory.reserve_stock(basket(bread=1, milk=1)))
        sweep: Act = world.inventory.expire_reservations
        assert {State.HELD, False} >= set(all_at_once([buy, buy, sweep, sweep]))

    again_and_again(meet)
    world.inventory.expire_reservations()
    assert (world.level("milk"), world.level("bread")) == ((100, 2 * ROUNDS), (100, 2 * ROUNDS))


def test_the_first_goods_of_a_sku_from_two_sides_add_up(world: World) -> None:
    skus = iter(range(ROUNDS))

    def meet() -> None:
        place = Place(f"new{next(skus)}", "north")
        at_once(lambda: world.inventory.receive_stock(place, 2, "note"), 3)
        assert world.level(place.sku) == (6, 0)

    again_and_again(meet)


def test_what_the_first_look_misses_is_sold_all_the_same() -> None:
    class Blind(MemoryStock):
        def reserve(self, *_: object) -> None:
            return None

    stock, lock, told = Blind(), threading.Lock(), list[Told]()
    world = World(lambda: MemoryWork(stock, lock, told), told, MemoryBooks(stock))
    world.inventory.put_warehouse(Warehouse("north", "North"))
    world.receive(milk=1)
    assert world.inventory.reserve_stock(basket(milk=1)).state is State.HELD
    world.audit()


# Returns


def test_a_return_is_put_back_once(world: World) -> None:
    world.receive(milk=1)
    return_id, order_id = uuid7(), uuid7()
    back = [Claim("milk", 2), Claim("tea", 1)]
    answers = at_once(lambda: world.inventory.restock_return(return_id, order_id, "north", back), 3)
    assert not [each for each in answers if isinstance(each, Conflict)]
    assert (world.level("milk"), world.level("tea")) == ((3, 0), (1, 0))
    assert world.names(return_id) == ["StockRestocked"]


def test_a_return_to_nowhere_is_refused_and_may_come_again(world: World) -> None:
    return_id = uuid7()
    with pytest.raises(UnknownWarehouse):
        world.inventory.restock_return(return_id, uuid7(), "nowhere", [Claim("milk", 1)])
    world.inventory.restock_return(return_id, uuid7(), "south", [Claim("milk", 1)])
    assert world.level("milk", "south") == (1, 0)
