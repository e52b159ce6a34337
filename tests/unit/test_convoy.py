"""Threads that go side by side: what each asks for goes with what the others ask for, and nobody waits in vain."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.api.inventory.v1 import inventory_pb2
from mercato.convoy import Convoy, Convoys, Halt, away, present
from mercato.group_commit import GroupCommit, Turn
from mercato.rpc.contract import methods_of
from mercato.rpc.travel import Travel

SOON = 60.0
METHODS = {each.name: each for each in methods_of(inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"])}


class Desk:
    """Does numbers, and remembers which went together."""

    def __init__(self) -> None:
        self.done: list[list[int]] = []
        self.group = GroupCommit[int, int](self.alone, self.together)

    def alone(self, number: int) -> int:
        self.done.append([number])
        return number

    def together(self, turns: Sequence[Turn[int]]) -> list[int]:
        self.done.append(sorted(turn.item for turn in turns))
        return [turn.item for turn in turns]


def eventually(reached: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    pause = threading.Event()
    for _ in range(int(SOON / 0.001)):
        if reached():
            return
        pause.wait(0.001)
    pytest.fail("it does not come to that")


def side_by_side(convoy: Convoy, *acts: Callable[[], object]) -> list[object]:
    """Have members of a convoy do these at once."""

    def as_member(act: Callable[[], object]) -> object:
        with convoy.member():
            return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [each.result(SOON) for each in [pool.submit(as_member, act) for act in acts]]


def test_whoever_comes_first_goes_with_those_who_are_on_the_way() -> None:
    desk, convoy = Desk(), Convoy(3, patience=SOON)

    def late() -> int:
        eventually(lambda: desk.group.waiting == 2)
        return desk.group.do(3)

    assert side_by_side(convoy, lambda: desk.group.do(1), lambda: desk.group.do(2), late) == [1, 2, 3]
    assert desk.done == [[1, 2, 3]]


def test_they_are_together_at_every_step() -> None:
    first, second, convoy = Desk(), Desk(), Convoy(4, patience=SOON)

    def steps(number: int) -> int:
        return second.group.do(first.group.do(number))

    side_by_side(convoy, *[partial(steps, number) for number in range(4)])
    assert first.done == second.done == [[0, 1, 2, 3]]


def test_nobody_waits_for_who_left_or_waits_for_something_else() -> None:
    desk, convoy, over = Desk(), Convoy(3, patience=SOON), threading.Event()

    def elsewhere() -> None:
        with away():
            assert over.wait(SOON)

    def here() -> int:
        try:
            return desk.group.do(1)
        finally:
            over.set()

    side_by_side(convoy, lambda: None, elsewhere, here)
    assert desk.done == [[1]]


def test_nobody_waits_long_for_who_is_held_up_unseen() -> None:
    desk, convoy, over = Desk(), Convoy(2, patience=0.01), threading.Event()

    def here() -> int:
        try:
            return desk.group.do(1)
        finally:
            over.set()

    side_by_side(convoy, lambda: over.wait(SOON), here)
    assert desk.done == [[1]]


def test_who_is_in_no_convoy_takes_along_those_who_wait_in_one() -> None:
    desk, convoy = Desk(), Convoy(2, patience=SOON)

    def stranger() -> None:
        eventually(lambda: desk.group.waiting == 1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(desk.group.do, 2).result(SOON)

    side_by_side(convoy, lambda: desk.group.do(1), stranger)
    assert desk.done == [[1, 2]]


def test_who_goes_on_twice_is_counted_once() -> None:
    convoy, gone = Convoy(2), list[int]()
    halt = Halt(convoy)
    halt.begin(lambda: gone.append(1))
    halt.end()
    halt.end()
    convoy.stopped()
    assert (gone, convoy.others) == ([], False)
    convoy.stopped()
    assert gone == [1]


class FakeChannel:
    """A way to a server that commits whatever reservation it is asked to, and remembers what came in one message."""

    def __init__(self) -> None:
        self.messages: list[int] = []

    def unary_unary(self, path: str, *_: Any) -> Callable[..., Any]:
        def alone(_: bytes, **__: Any) -> Any:
            self.messages.append(1)
            return inventory_pb2.Reservation()

        def message(sent: pb.CallRequest, **_: Any) -> pb.CallResponse:
            self.messages.append(len(sent.items))
            return pb.CallResponse(outcomes=[pb.Outcome() for _ in sent.items])

        return message if path.endswith("BatchService/Call") else alone


def request(number: int) -> inventory_pb2.CommitReservationRequest:
    """A request."""
    return inventory_pb2.CommitReservationRequest(reservation_id=str(number))


def test_calls_of_a_convoy_are_one_message_at_every_step() -> None:
    channel, convoy = FakeChannel(), Convoy(5, patience=SOON)
    travel = Travel(channel, METHODS["CommitReservation"], list)  # type: ignore[arg-type]

    def calls() -> None:
        for number in range(3):
            travel(request(number), SOON, [])

    side_by_side(convoy, *[calls] * 5)
    assert channel.messages == [5, 5, 5]


def test_a_convoy_of_one_calls_plainly() -> None:
    channel = FakeChannel()
    travel = Travel(channel, METHODS["CommitReservation"], list)  # type: ignore[arg-type]
    side_by_side(Convoy(1, patience=SOON), lambda: travel(request(1), SOON, []))
    assert channel.messages == [1]


def test_those_who_come_while_a_convoy_is_under_way_are_the_next_one() -> None:
    convoys, seen = Convoys(abreast=1, jam=SOON), list[Convoy | None]()

    def follow() -> None:
        with convoys.joined():
            seen.append(present())

    with ThreadPoolExecutor(3) as pool:
        with convoys.joined():
            first = present()
            following = [pool.submit(follow) for _ in range(3)]
            eventually(lambda: convoys.waiting == 3)
            assert not seen
        for each in following:
            each.result(SOON)
    assert len(set(seen)) == 1
    assert first not in seen
    assert present() is None


def test_a_convoy_that_takes_too_long_is_not_waited_for() -> None:
    convoys = Convoys(abreast=1, jam=0.01)

    def follow() -> None:
        with convoys.joined():
            pass

    with convoys.joined(), ThreadPoolExecutor(1) as pool:
        pool.submit(follow).result(SOON)


def test_one_that_waits_for_what_may_take_long_makes_way_for_the_next() -> None:
    convoys = Convoys(abreast=1, jam=SOON)

    def follow() -> None:
        with convoys.joined():
            pass

    with convoys.joined(), ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        eventually(lambda: convoys.waiting == 1)
        with away(long=True):
            following.result(SOON)
