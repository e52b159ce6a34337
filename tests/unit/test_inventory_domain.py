"""The rules of stock: levels and their ledger, borders, shortages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument
from services.inventory.domain import (
    MOST_ON_HAND,
    Availability,
    BelowReserved,
    Change,
    Claim,
    Crossing,
    Kind,
    Ledger,
    Level,
    Place,
    Shortage,
    TooMuch,
    each_once,
    shortage,
)
from services.inventory.refusals import OutOfStock

MILK = Place("milk", "north")


def step(available: int, on_hand: int, *, sequence: int = 1) -> Change:
    return Change.of(Kind.ADJUSTED, Level("milk", "north", available, 0, 1, sequence), on_hand=on_hand)


@pytest.mark.parametrize(
    ("before", "delta", "crossed"),
    [
        (7, -1, []),
        (6, -1, [Crossing.LOW]),
        (5, -1, []),
        (1, -1, [Crossing.OUT]),
        (9, -9, [Crossing.LOW, Crossing.OUT]),
        (0, 1, [Crossing.BACK]),
        (0, 9, [Crossing.BACK]),
        (1, 9, []),
    ],
)
def test_a_border_is_crossed_once(before: int, delta: int, crossed: list[Crossing]) -> None:
    assert list(step(before, delta).crossings) == crossed


def test_what_was_never_there_does_not_come_back() -> None:
    assert step(0, 9, sequence=0).crossings == ()


def test_every_event_of_a_level_has_its_own_number() -> None:
    change = step(9, -9, sequence=4)
    assert (change.sequence, change.after.sequence) == (5, 7)


@pytest.mark.parametrize(
    ("units", "called"),
    [
        (-1, Availability.OUT_OF_STOCK),
        (0, Availability.OUT_OF_STOCK),
        (1, Availability.LOW),
        (5, Availability.LOW),
        (6, Availability.IN_STOCK),
    ],
)
def test_figures_are_told_coarsely(units: int, called: Availability) -> None:
    assert Availability.of(units) is called


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), max_size=40))
def test_the_ledger_explains_the_level_and_lets_it_never_fall_below_what_is_reserved(
    moves: list[tuple[int, int]],
) -> None:
    ledger = Ledger([Level(*MILK, on_hand=10, reserved=5)])
    for on_hand, reserved in moves:
        before = next(iter(ledger))
        try:
            ledger.move(Kind.ADJUSTED, MILK, on_hand=on_hand, reserved=reserved)
        except BelowReserved:
            assert next(iter(ledger)) == before
            assert before.available + on_hand - reserved < 0
    [level] = ledger
    assert level.available >= 0
    assert level.on_hand == 10 + sum(change.on_hand for change in ledger.changes)
    assert level.reserved == 5 + sum(change.reserved for change in ledger.changes)
    assert level.version == sum(change.on_hand != 0 for change in ledger.changes)
    assert level.sequence == sum(1 + len(change.crossings) for change in ledger.changes)


def test_a_ledger_gives_each_changed_level_once() -> None:
    ledger = Ledger([Level("milk", "north"), Level("bread", "north")])
    for _ in range(3):
        ledger.move(Kind.RECEIVED, MILK, on_hand=1)
    assert [level.on_hand for level in ledger.changed] == [3]


def test_no_warehouse_holds_more_than_fits_in_a_number() -> None:
    ledger = Ledger([Level(*MILK, on_hand=MOST_ON_HAND)])
    with pytest.raises(TooMuch):
        ledger.move(Kind.RECEIVED, MILK, on_hand=1)


@pytest.mark.parametrize(
    ("kind", "on_hand", "reserved", "quantity"),
    [
        (Kind.RECEIVED, 3, 0, 3),
        (Kind.ADJUSTED, -2, 0, -2),
        (Kind.RESERVED, 0, 2, 2),
        (Kind.RELEASED, 0, -2, 2),
        (Kind.CONSUMED, -1, -2, 1),
        (Kind.RESTOCKED, 1, 0, 1),
    ],
)
def test_an_event_says_how_many_units_it_is_about(kind: Kind, on_hand: int, reserved: int, quantity: int) -> None:
    assert Change.of(kind, Level(*MILK, 9, 5), on_hand=on_hand, reserved=reserved).quantity == quantity


def test_the_warehouse_that_comes_closest_says_what_is_short() -> None:
    claims = [Claim("milk", 3), Claim("bread", 1)]
    available = {Place("milk", "north"): 1, Place("milk", "south"): 2, Place("bread", "south"): 1}
    assert shortage(claims, ["north", "south"], available) == [Shortage("milk", 3, 2)]
    assert shortage(claims, ["north"], available) == [Shortage("milk", 3, 1), Shortage("bread", 1, 0)]


def test_of_two_that_lack_the_same_the_better_liked_one_says_what() -> None:
    available = {Place("milk", "north"): 1, Place("bread", "south"): 1}
    claims = [Claim("milk", 1), Claim("bread", 1)]
    assert shortage(claims, ["north", "south"], available) == [Shortage("bread", 1, 0)]
    assert shortage(claims, ["south", "north"], available) == [Shortage("milk", 1, 0)]


def test_one_that_serves_it_all_lacks_nothing() -> None:
    assert shortage([Claim("milk", 1)], ["north", "south"], {Place("milk", "south"): 1}) == []


def test_what_is_short_is_told_to_people_and_programs() -> None:
    error = OutOfStock([Shortage("milk", 3, 1)])
    assert error.reason == "OUT_OF_STOCK"
    assert str(error) == "only 1 left of milk"
    assert error.metadata == {"skus": [{"sku": "milk", "wanted": 3, "available": 1}]}


def test_a_sku_that_stands_twice_is_named() -> None:
    with pytest.raises(InvalidArgument) as refused:
        each_once([Claim("milk", 1), Claim("bread", 1), Claim("milk", 2)])
    assert [(each.field, each.reason) for each in refused.value.fields] == [("lines[2].sku", "DUPLICATE")]


def test_places_are_written_as_events_name_them() -> None:
    assert str(Place("milk", "north")) == "milk@north"
