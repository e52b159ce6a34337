"""Work that waits goes as one set, and nobody in it pays for another."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from mercato import group_commit, log
from mercato.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, MercatoError, Unavailable
from mercato.group_commit import GroupCommit, Turn
from mercato.rpc.call import Call, calling, current_call
from mercato.sqlstate import LostRace

SOON = 60.0


class Refused(FailedPrecondition):
    """The number is odd."""


@dataclass
class Desk:
    """Halves numbers, one at a time or many; whoever brings `hold` keeps it busy until let go."""

    sets: list[list[int]] = field(default_factory=list)
    alone: list[tuple[int, str]] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    seen: list[Call] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.group = GroupCommit(self.halve, self.halve_together)
        self.pool = ThreadPoolExecutor(16)

    def halve(self, number: int) -> int:
        self.alone.append((number, threading.current_thread().name))
        if number == HOLD:
            self.busy.set()
            assert self.let_go.wait(SOON)
        if number == POISON:
            raise InvalidArgument.of("number", "is poison")
        return _half(number)

    def halve_together(self, turns: Sequence[Turn[int]]) -> list[int | Exception]:
        self.seen.append(current_call())
        if self.troubles:
            raise self.troubles.pop(0)
        if any(turn.item == POISON for turn in turns):
            raise InvalidArgument.of("number", "is poison")
        self.sets.append([turn.item for turn in turns])
        return [turn.decide(_half) for turn in turns]

    @contextmanager
    def kept_busy(self) -> Iterator[None]:
        """Within the block, whoever comes waits."""
        holder = self.pool.submit(self.group.do, HOLD)
        assert self.busy.wait(SOON)
        yield
        self.let_go.set()
        holder.result(SOON)

    def queue(self, *numbers: int) -> list[Future[int]]:
        """Have these come one after the other."""
        futures = []
        for place, number in enumerate(numbers, 1):
            futures.append(self.pool.submit(self.group.do, number))
            eventually(lambda place=place: self.group.waiting == place)  # type: ignore[misc]
        return futures


HOLD, POISON = 1000, 666


def _half(number: int) -> int:
    if number % 2:
        raise Refused
    return number // 2


def eventually(law: Callable[[], bool]) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + SOON
    while not law():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.let_go.set()
    desk.pool.shutdown()


def test_alone_work_is_done_by_whoever_brings_it(desk: Desk) -> None:
    assert desk.group.do(8) == 4
    assert (desk.alone, desk.sets) == ([(8, threading.current_thread().name)], [])
    with pytest.raises(Refused):
        desk.group.do(7)


def test_what_waits_goes_as_one_set_in_the_order_in_which_it_came(desk: Desk) -> None:
    with desk.kept_busy():
        futures = desk.queue(2, 4, 6)
    assert [future.result(SOON) for future in futures] == [1, 2, 3]
    assert desk.sets == [[2, 4, 6]]


def test_a_refusal_is_told_to_its_own_alone(desk: Desk) -> None:
    with desk.kept_busy():
        futures = desk.queue(2, 3, 4)
    assert [future.exception(SOON) and type(future.exception(SOON)) for future in futures] == [None, Refused, None]
    assert desk.sets == [[2, 3, 4]]


def test_one_that_breaks_the_set_harms_no_other(desk: Desk) -> None:
    with desk.kept_busy():
        futures = desk.queue(2, POISON, 4)
    assert [future.exception(SOON) and type(future.exception(SOON)) for future in futures] == [
        None,
        InvalidArgument,
        None,
    ]
    assert [number for number, _ in desk.alone] == [HOLD, 2, POISON, 4]


def test_a_set_that_lost_a_race_is_done_again_as_a_set(desk: Desk) -> None:
    desk.troubles.append(LostRace())
    with desk.kept_busy():
        futures = desk.queue(2, 4)
    assert [future.result(SOON) for future in futures] == [1, 2]
    assert desk.sets == [[2, 4]]


@pytest.mark.parametrize("silence", [Unavailable("silent"), DeadlineExceeded("late")])
def test_of_a_silent_database_everybody_hears_by_an_error_of_their_own(desk: Desk, silence: MercatoError) -> None:
    desk.troubles.append(silence)
    with desk.kept_busy():
        futures = desk.queue(2, 4)
    errors = [future.exception(SOON) for future in futures]
    assert [type(error) for error in errors] == [type(silence)] * 2
    assert not any(error.definite for error in errors if isinstance(error, MercatoError))
    assert errors[0] is not errors[1]
    assert len(desk.alone) == 1


def test_whoever_gave_up_is_left_out_and_the_others_are_not(desk: Desk) -> None:
    def hurried() -> int:
        with calling(Call("Test.Halve", ends=time.monotonic() + 0.01)):
            return desk.group.do(2)

    with desk.kept_busy():
        hasty = desk.pool.submit(hurried)
        assert isinstance(hasty.exception(SOON), DeadlineExceeded)
        patient = desk.pool.submit(desk.group.do, 4)
        other = desk.pool.submit(desk.group.do, 6)
        eventually(lambda: desk.group.waiting == 3)
    assert (patient.result(SOON), other.result(SOON)) == (2, 3)
    assert {number for each in desk.sets for number in each} == {4, 6}


def test_a_set_lasts_as_long_as_the_most_patient_waits(desk: Desk) -> None:
    late = time.monotonic() + 60

    def within(seconds: float) -> int:
        with calling(Call("Test.Halve", ends=late - seconds)):
            return desk.group.do(2)

    with desk.kept_busy():
        futures = [desk.pool.submit(within, seconds) for seconds in (0, 30)]
        eventually(lambda: desk.group.waiting == 2)
    assert [future.result(SOON) for future in futures] == [1, 1]
    assert [(call.rpc, call.ends) for call in desk.seen] == [("Test.Halve", late)]


def test_each_is_done_in_the_name_of_its_own_call(desk: Desk) -> None:
    turns = []
    for name in ("first", "second"):
        with log.bound(request_id=name), calling(Call(request_id=name)):
            turns.append(Turn.of(2))
    ids = [turn.run(lambda: (log.context()["request_id"], current_call().request_id)) for turn in turns]
    assert ids == [("first", "first"), ("second", "second")]


def test_what_came_together_is_one_set_though_nobody_else_is_there(desk: Desk) -> None:
    outcomes = desk.group.do_all([Turn.of(number) for number in (2, 3, 4)])
    assert [getattr(each, "reason", each) for each in outcomes] == [1, "REFUSED", 2]
    assert desk.sets == [[2, 3, 4]]


def test_what_came_together_waits_with_the_others(desk: Desk) -> None:
    with desk.kept_busy():
        together = desk.pool.submit(desk.group.do_all, [Turn.of(2), Turn.of(4)])
        eventually(lambda: desk.group.waiting == 2)
        alone = desk.pool.submit(desk.group.do, 6)
        eventually(lambda: desk.group.waiting == 3)
    assert (together.result(SOON), alone.result(SOON)) == ([1, 2], 3)
    assert desk.sets == [[2, 4, 6]]


def test_no_set_is_larger_than_the_most(desk: Desk) -> None:
    numbers = list(range(0, 2 * group_commit.MOST + 2, 2))
    with desk.kept_busy():
        together = desk.pool.submit(desk.group.do_all, [Turn.of(number) for number in numbers])
        eventually(lambda: desk.group.waiting == len(numbers))
    assert together.result(SOON) == [number // 2 for number in numbers]
    assert [len(each) for each in desk.sets] == [group_commit.MOST]  # and the last one alone


def test_work_that_hangs_is_given_up_on_and_others_go_on() -> None:
    desk = Desk()
    desk.group = GroupCommit(desk.halve, desk.halve_together, stuck=0.0)
    with desk.kept_busy():
        futures = [desk.pool.submit(desk.group.do, number) for number in (2, 4)]
        assert [future.result(SOON) for future in futures] == [1, 2]
    assert desk.group.do(6) == 3
    desk.pool.shutdown()


def test_nothing_is_lost_or_doubled_under_a_crowd(desk: Desk) -> None:
    numbers = list(range(2000, 6000, 2))
    with ThreadPoolExecutor(32) as crowd:
        assert list(crowd.map(desk.group.do, numbers)) == [number // 2 for number in numbers]
    done = [number for number, _ in desk.alone] + [number for each in desk.sets for number in each]
    assert sorted(done) == numbers
