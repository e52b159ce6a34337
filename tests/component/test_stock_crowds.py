"""Crowds at the shelf: sets decide as single baskets do, nobody is oversold, nobody deadlocks (F13-F17)."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercato.api.inventory.v1 import inventory_pb2 as pb
from mercato.api.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.errors import MercatoError
from mercato.group_commit import Turn
from mercato.ids import derive, uuid7
from mercato.pagination import PageTokens
from mercato.postgres import Database, LostRace
from mercato.rpc import Principal
from mercato.testing import all_at_once, serve
from services.inventory.domain import Basket, Claim, Ledger, Place, Warehouse
from services.inventory.queries import StockQueries
from services.inventory.refusals import OutOfStock, ReservationExpired, ReservationReleased
from services.inventory.reservation import Reservation, State
from services.inventory.servicer import InventoryServicer
from services.inventory.store import InventoryWork, ReservationStore
from services.inventory.usecases import Inventory
from tests.contract.stock_world import Grouped, World, basket, emptied, in_postgres
from tests.servers import FreshDatabase

SKUS = ("bread", "jam", "milk", "tea")


@pytest.fixture
def world(inventory_database: Database, fresh_database: FreshDatabase) -> Iterator[World]:
    emptied(fresh_database.url)
    world = replace(in_postgres(inventory_database), kind=Grouped)
    for name in ("north", "south"):
        world.inventory.put_warehouse(Warehouse(name, name))
    yield world
    world.audit()


# A set decides as its baskets would, one after the other.

lines = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 4), min_size=1, max_size=4)
warehouses = st.sampled_from([("north",), ("south",), ("north", "south"), ("south", "north"), ("north", "nowhere")])
# Few ids: repeats, and meetings with what was released, committed or has run out.
asked = st.tuples(st.integers(0, 14), warehouses, lines)
before = st.dictionaries(st.integers(0, 9), st.sampled_from(["held", "committed", "expired", "released", "buried"]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(asked, min_size=2, max_size=14), before, st.dictionaries(st.sampled_from(SKUS), st.integers(1, 9)))
def test_a_set_of_baskets_comes_out_as_the_same_baskets_one_by_one(
    world: World,
    baskets: list[tuple[int, tuple[str, ...], dict[str, int]]],
    earlier: dict[int, str],
    stock: dict[str, int],
) -> None:
    outcomes = []
    for act in (_one_by_one, _as_a_set):
        run = Run(world, stock)
        run.prepare(earlier)
        outcomes.append((act(world, run.baskets(baskets)), run.books()))
    assert outcomes[0] == outcomes[1]


fates = st.dictionaries(
    st.integers(0, 9), st.sampled_from(["held", "committed", "consumed", "expired", "released", "buried"]), min_size=5
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 11), min_size=2, max_size=14), fates)
def test_a_set_of_releases_comes_out_as_the_same_releases_one_by_one(
    world: World, numbers: list[int], earlier: dict[int, str]
) -> None:
    outcomes = []
    for together in (False, True):
        run = Run(world, {})
        run.prepare(earlier)
        outcomes.append((run.release(numbers, together=together), run.books()))
    assert outcomes[0] == outcomes[1]


class Run:
    """One of two equal beginnings, told apart by the names of their SKUs and ids."""

    def __init__(self, world: World, stock: dict[str, int]) -> None:
        self._world = world
        self._own = uuid7()
        for sku, units in stock.items():
            for name, quantity in (("north", units), ("south", 10 - units)):
                world.inventory.receive_stock(Place(self._sku(sku), name), quantity, "note")

    def _sku(self, sku: str) -> str:
        return f"{sku}-{self._own}"

    def _id(self, number: int) -> UUID:
        return derive(self._own, str(number))

    def baskets(self, asked: list[tuple[int, tuple[str, ...], dict[str, int]]]) -> list[Basket]:
        return [
            Basket(
                self._id(number),
                self._id(100 + place),
                names,
                tuple(Claim(self._sku(sku), n) for sku, n in lines.items()),
            )
            for place, (number, names, lines) in enumerate(asked)
        ]

    def prepare(self, earlier: dict[int, str]) -> None:
        """Have some of the ids come to something first, on goods of their own."""
        own = Place(self._sku("own"), "north")
        self._world.inventory.receive_stock(own, 20, "note")
        for number, fate in earlier.items():
            wanted = Basket(self._id(number), uuid7(), ("north",), (Claim(own.sku, 1),))
            if fate != "buried":
                (self._world.fleeting if fate == "expired" else self._world.inventory).reserve_stock(wanted)
            if fate in ("released", "buried"):
                self._world.inventory.release_reservation(wanted.reservation_id)
            if fate in ("committed", "consumed"):
                self._world.inventory.commit_reservation(wanted.reservation_id)
            if fate == "consumed":
                self._world.inventory.consume_reservation(wanted.reservation_id, wanted.claims)
        self._world.inventory.expire_reservations()

    def release(self, numbers: Sequence[int], *, together: bool) -> list[object]:
        """Release these, as one set or one after the other, and say what each was told."""
        inventory, ids = self._world.inventory, [self._id(number) for number in numbers]
        if together:
            return [_shown(partial(_given, each)) for each in inventory.release_together(list(map(Turn.of, ids)))]
        return [_shown(partial(inventory.release_reservation, each)) for each in ids]

    def books(self) -> dict[str, Any]:
        mine = str(self._own)
        levels = [level for place, level in self._world.books.levels().items() if mine in place.sku]
        return {
            "levels": sorted(
                (
                    each.sku.removesuffix(mine),
                    each.warehouse_id,
                    each.on_hand,
                    each.reserved,
                    each.version,
                    each.sequence,
                )
                for each in levels
            ),
            "told": {number: self._world.names(self._id(number)) for number in range(15)},
            "crossings": {
                (each.sku.removesuffix(mine), each.warehouse_id): self._world.names(each.place) for each in levels
            },
        }


def _one_by_one(world: World, baskets: Sequence[Basket]) -> list[Any]:
    plain = Inventory(world.work, timedelta(minutes=15))
    return [_shown(partial(plain.reserve_stock, each)) for each in baskets]


def _as_a_set(world: World, baskets: Sequence[Basket]) -> list[Any]:
    outcomes = world.inventory.reserve_together([Turn.of(each) for each in baskets])
    return [_shown(partial(_given, each)) for each in outcomes]


def _given(outcome: Reservation | Exception) -> Reservation:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _shown(act: Callable[[], Reservation]) -> object:
    """What somebody is told, without what differs between two runs."""
    try:
        told = act()
    except MercatoError as refused:
        short: Any = refused.metadata.get("skus", ())
        return refused.reason, [(each["sku"].split("-")[0], each["wanted"], each["available"]) for each in short]
    quantities = [(claim.sku.split("-")[0], claim.quantity) for claim in told.claims]
    return told.state, told.warehouse_id, quantities, told.version


# Crowds


def test_random_baskets_from_a_crowd_leave_every_unit_explained(world: World) -> None:
    dice = random.Random(7)
    for sku in SKUS:
        world.receive("north", **{sku: 60})
        world.receive("south", **{sku: 40})
    wanted = [_random(dice) for _ in range(300)]
    wanted += dice.sample(wanted, 60)  # repeats
    told = Counter(crowd(world.inventory.reserve_stock, wanted))
    assert set(told) == {State.HELD, OutOfStock}
    assert all(level.available >= 0 for level in world.books.levels().values())
    # Nobody was refused what is still there: one unit of the scarcest would have been sold to somebody.
    assert min(level.available for level in world.books.levels().values()) < 3


def _random(dice: random.Random) -> Basket:
    names = dice.sample(["north", "south"], dice.randint(1, 2))
    claims = [Claim(sku, dice.randint(1, 3)) for sku in dice.sample(SKUS, dice.randint(1, 4))]
    return Basket(uuid7(), uuid7(), tuple(names), tuple(claims))


def crowd(act: Callable[[Any], Reservation], items: Sequence[Any], people: int = 24) -> list[object]:
    """What each is told when many do it at once."""
    with ThreadPoolExecutor(people) as pool:
        return list(pool.map(partial(_fate, act), items))


def test_a_thousand_buyers_of_a_hundred_units_f15(world: World, inventory_database: Database) -> None:
    world.receive(hot=100)
    inventory = Inventory(world.work, timedelta(minutes=15))
    with serve(InventoryServicer(inventory, StockQueries(inventory_database), PageTokens("secret"))) as served:
        stub: Any = served.stub(InventoryServiceStub, Principal(), "order")
        requests = [
            pb.ReserveStockRequest(
                reservation_id=str(uuid7()),
                order_id=str(uuid7()),
                warehouse_ids=["north", "south"],
                lines=[pb.StockLine(sku="hot", quantity=1)],
            )
            for _ in range(1000)
        ]
        fates = crowd(stub.ReserveStock, requests, people=48)
    # Over the wire, a refusal is of every class that this process knows for its reason: other services have theirs.
    refused = [each for each in fates if isinstance(each, type) and issubclass(each, OutOfStock)]
    assert (fates.count(pb.Reservation.HELD), len(refused)) == (100, 900)
    assert world.level("hot") == (100, 100)


def test_two_processes_and_baskets_in_opposite_order_never_deadlock_f16(world: World) -> None:
    lost: list[object] = []
    made = world.work

    def work() -> Any:
        return Watched(made(), lost)

    processes = [Grouped(work, timedelta(minutes=15)) for _ in range(2)]
    world.receive("north", bread=500, milk=500)
    world.receive("south", bread=500, milk=500)
    wanted = [_crossed(number) for number in range(400)]
    jobs = [(processes[number % 2], each) for number, each in enumerate(wanted)]
    jobs += [(processes[1 - number % 2], each) for number, each in enumerate(wanted) if number % 5 == 0]  # repeats
    told = crowd(lambda job: job[0].reserve_stock(job[1]), jobs, people=32)
    assert told == [State.HELD] * len(jobs)
    assert [each for each in lost if "deadlock" in str(each)] == []
    assert sum(level.reserved for level in world.books.levels().values()) == 800


def _crossed(number: int) -> Basket:
    claims, names = [Claim("bread", 1), Claim("milk", 1)], ["north", "south"]
    return Basket(uuid7(), uuid7(), tuple(names[:: 1 - number % 4 // 2 * 2]), tuple(claims[:: 1 - number % 2 * 2]))


class Watched:
    """A unit of work that notes the races that it lost."""

    def __init__(self, work: InventoryWork, lost: list[object]) -> None:
        self._work, self._lost = work, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def __enter__(self) -> InventoryWork:
        return self._work.__enter__()

    def __exit__(self, *raised: Any) -> None:
        try:
            self._work.__exit__(*raised)
        except LostRace as lost:
            self._lost.append(lost.__cause__)
            raise


def test_an_id_that_another_process_takes_between_look_and_write_is_answered_as_taken(world: World) -> None:
    world.receive(milk=5, bread=5)
    first, second = basket(milk=1), basket(bread=1)
    second = replace(second, reservation_id=first.reservation_id)
    overtakes = iter([partial(world.inventory.reserve_stock, second)])

    class OvertakenStore(ReservationStore):
        def hold(self, held: Sequence[Reservation], ledger: Ledger) -> None:
            for overtake in overtakes:
                overtake()
            super().hold(held, ledger)

    def work() -> Any:
        made = world.work()
        opened = made.opened

        def opened_to_be_overtaken() -> None:
            opened()
            made.reservations = OvertakenStore(made.connection)

        made.opened = opened_to_be_overtaken
        return made

    slow = Inventory(work, timedelta(minutes=15))
    turns = [Turn.of(first), Turn.of(basket(milk=1))]
    with pytest.raises(LostRace):
        slow.reserve_together(turns)
    told = [each for each in slow.reserve_together(turns) if isinstance(each, Reservation)]
    assert [[claim.sku for claim in each.claims] for each in told] == [["bread"], ["milk"]]
    assert (world.level("milk"), world.level("bread")) == ((5, 1), (5, 1))


def test_released_units_are_sold_on_f17(world: World) -> None:
    world.receive(hot=50)
    dice = random.Random(11)
    declined = {number for number in range(400) if dice.random() < 0.3}

    def buy(number: int) -> Reservation:
        held = world.inventory.reserve_stock(basket(hot=1))
        if number in declined:
            return world.inventory.release_reservation(held.id)
        return world.inventory.commit_reservation(held.id)

    told = Counter(crowd(buy, range(400)))
    assert set(told) <= {State.COMMITTED, State.RELEASED, OutOfStock}
    last = Counter(crowd(buy, range(400, 500)))  # whoever comes when all declined ones are back
    assert told[State.COMMITTED] + last[State.COMMITTED] == 50


# Running out


def test_commits_and_sweepers_at_once_have_one_winner_each_f14(world: World) -> None:
    told: Counter[object] = Counter()
    world.receive(milk=1000)
    for _ in range(20):
        held = [world.fleeting.reserve_stock(basket(milk=1)) for _ in range(10)]
        commits: list[Callable[[], object]] = [
            partial(_fate, world.inventory.commit_reservation, each.id) for each in held
        ]
        told.update(all_at_once([*commits[:5], *[world.inventory.expire_reservations] * 2, *commits[5:]]))
        world.inventory.expire_reservations()
    assert told.pop(False) == 40
    assert told.total() == 200
    assert set(told) <= {State.COMMITTED, ReservationExpired}
    assert world.level("milk") == (1000, told[State.COMMITTED])


def _fate(act: Callable[[Any], Reservation], item: object) -> object:
    try:
        return act(item).state
    except MercatoError as refused:
        return type(refused)


def test_a_checkout_whose_hold_ran_out_while_it_paid_hears_so_and_may_reserve_again_f13(world: World) -> None:
    world.receive(milk=1)
    wanted = basket(milk=1)
    world.fleeting.reserve_stock(wanted)
    world.inventory.expire_reservations()
    with pytest.raises(ReservationExpired) as told:
        world.inventory.commit_reservation(wanted.reservation_id)
    assert told.value.definite
    world.inventory.reserve_stock(wanted)
    assert world.inventory.commit_reservation(wanted.reservation_id).state is State.COMMITTED


@pytest.mark.parametrize("together", [False, True])
def test_what_ran_out_is_sold_though_nobody_swept(world: World, together: bool) -> None:
    world.receive(milk=3, bread=9)
    gone = world.fleeting.reserve_stock(basket(milk=3, bread=1))
    wanted = [basket(milk=2), basket(milk=1), basket(milk=1)]
    told = _as_a_set(world, wanted) if together else _one_by_one(world, wanted)
    assert [each[0] for each in told] == [State.HELD, State.HELD, "OUT_OF_STOCK"]
    assert world.names(gone.id) == ["StockReserved", "StockReleased"]
    assert world.level("bread") == (9, 0)


def test_release_overtakes_in_a_crowd_and_nothing_stays_held_f10(world: World) -> None:
    world.receive(milk=500)
    wanted = [basket(milk=1) for _ in range(60)]
    both: list[Callable[[], object]] = []
    for each in wanted:
        both.append(partial(_fate, world.inventory.release_reservation, each.reservation_id))
        both.append(partial(_fate, world.inventory.reserve_stock, each))
    told = all_at_once(both)
    assert set(told[::2]) == {State.RELEASED}
    assert set(told[1::2]) <= {State.HELD, ReservationReleased}
    assert world.level("milk") == (500, 0)


def test_levels_of_a_place_that_was_never_stocked_are_nobodys(world: World) -> None:
    assert crowd(world.inventory.reserve_stock, [basket(ghost=1) for _ in range(8)]) == [OutOfStock] * 8
    assert Place("ghost", "north") not in world.books.levels()


# Long past


def test_claims_that_came_to_nothing_are_forgotten_and_sold_ones_are_not(
    world: World, fresh_database: FreshDatabase
) -> None:
    world.receive(milk=9)
    tombstone, released, expired, sold, held = (basket(milk=1) for _ in range(5))
    world.inventory.release_reservation(tombstone.reservation_id)
    world.fleeting.reserve_stock(expired)
    world.inventory.expire_reservations()
    for each in (released, sold, held):
        world.inventory.reserve_stock(each)
    world.inventory.release_reservation(released.reservation_id)
    world.inventory.commit_reservation(sold.reservation_id)
    world.inventory.consume_reservation(sold.reservation_id, [Claim("milk", 1)])
    kept = timedelta(days=30)
    assert world.inventory.forget_reservations(kept) is False
    assert len(_reservations(fresh_database)) == 5
    with psycopg.connect(fresh_database.url) as connection:
        connection.execute("update inventory.reservation set create_time = now() - interval '31 days'")
    world.inventory.forget_reservations(kept)
    assert _reservations(fresh_database) == {sold.reservation_id, held.reservation_id}


def _reservations(database: FreshDatabase) -> set[UUID]:
    with psycopg.connect(database.url) as connection:
        return {row[0] for row in connection.execute("select id from inventory.reservation")}
