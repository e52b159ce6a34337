"""What holds for reservations, whatever keeps them: the same laws over memory and over PostgreSQL."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mercato.errors import Conflict, InvalidArgument, MercatoError, NotFound
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import all_at_once, at_once
from services.inventory.domain import Basket, Claim, Place, Warehouse
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
from tests.contract.stock_world import (
    Grouped,
    MemoryBooks,
    MemoryStock,
    MemoryWork,
    Told,
    World,
    basket,
    emptied,
    in_memory,
    in_postgres,
)
from tests.servers import FreshDatabase

ROUNDS = 10

Act = Callable[[], object]


@pytest.fixture
def empty_inventory(inventory_database: Database, fresh_database: FreshDatabase) -> Database:
    """The module's database without a row."""
    emptied(fresh_database.url)
    return inventory_database


@pytest.fixture(params=["memory", "postgres", "grouped"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = in_memory() if request.param == "memory" else in_postgres(request.getfixturevalue("empty_inventory"))
    if request.param == "grouped":
        world = replace(world, kind=Grouped)
    for name in ("north", "south"):
        world.inventory.put_warehouse(Warehouse(name, name))
    yield world
    world.audit()


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
