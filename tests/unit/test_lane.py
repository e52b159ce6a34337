"""The lane's order of travel, without threads."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from mercato.rpc.lane import HEAVIEST, JAM, MOST, Lane


@dataclass(eq=False)
class Caller:
    weight: int = 100


def test_alone_a_call_goes_at_once() -> None:
    lane, caller = Lane[Caller](), Caller()
    journey = lane.board(caller, 0.0)
    assert journey is not None
    assert journey.passengers == [caller]
    assert lane.arrive(journey, 0.1) is None
    assert lane.board(Caller(), 0.2) is not None


def test_who_comes_while_a_message_is_under_way_travels_with_the_next_in_the_order_of_coming() -> None:
    lane, later = Lane[Caller](), [Caller() for _ in range(5)]
    first = lane.board(Caller(), 0.0)
    assert [lane.board(each, 0.0) for each in later] == [None] * 5
    assert first
    second = lane.arrive(first, 0.1)
    assert second
    assert second.passengers == later


def test_who_gives_up_waiting_does_not_travel_and_who_travels_cannot_give_up() -> None:
    lane, gone, stays = Lane[Caller](), Caller(), Caller()
    first = lane.board(Caller(), 0.0)
    lane.board(gone, 0.0)
    lane.board(stays, 0.0)
    assert lane.give_up(gone)
    assert first
    second = lane.arrive(first, 0.1)
    assert second
    assert second.passengers == [stays]
    assert not lane.give_up(stays)


def test_a_message_that_does_not_come_back_is_overtaken_and_has_no_say_when_it_does() -> None:
    lane = Lane[Caller]()
    stuck = lane.board(Caller(), 0.0)
    lane.board(Caller(), 0.0)
    assert lane.overtake(JAM / 2) is None
    second = lane.overtake(JAM)
    assert second
    lane.board(Caller(), JAM)
    assert stuck
    assert lane.arrive(stuck, JAM) is None
    assert lane.arrive(second, JAM) is not None


@given(st.lists(st.integers(1, HEAVIEST), max_size=3 * MOST))
def test_no_message_is_too_large_and_nobody_is_left_behind(weights: list[int]) -> None:
    lane, callers = Lane[Caller](), [Caller(weight) for weight in weights]
    journey = lane.board(Caller(), 0.0)
    for each in callers:
        lane.board(each, 0.0)
    travelled: list[Caller] = []
    while journey and (journey := lane.arrive(journey, 0.0)):
        assert len(journey.passengers) <= MOST
        assert sum(each.weight for each in journey.passengers) <= HEAVIEST
        travelled += journey.passengers
    assert travelled == callers
