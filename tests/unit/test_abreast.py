"""Laws of working abreast."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

import pytest

from mercato.abreast import abreast

LONG = 30
T = TypeVar("T")
R = TypeVar("R")
whose = ContextVar("whose", default="nobody's")


class Noted(ThreadPoolExecutor):
    """Hands that know what they were given."""

    def __init__(self) -> None:
        super().__init__(4)
        self.given: list[Future[Any]] = []

    def submit(self, act: Callable[..., R], /, *given: Any, **named: Any) -> Future[R]:
        future = super().submit(act, *given, **named)
        self.given.append(future)
        return future

    def is_awaited(self, number: int) -> bool:
        """Whether somebody waits for the end of what was given as so many-th."""
        return len(self.given) >= number and bool(self.given[number - 1]._waiters)


class Slow(Executor):
    """Hands that do nothing before its result is asked for: what was given and not asked for is under way."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.seen: list[tuple[str, ...]] = []
        """What was under way each time when something came."""

    def submit(self, act: Callable[..., R], /, *given: Any, **named: Any) -> Future[R]:
        hands, item = self, given[-1]

        class Later(Future[R]):
            def result(self, timeout: float | None = None) -> R:
                hands.under_way.remove(item)
                self.set_result(act(*given, **named))
                return super().result(timeout)

        self.under_way.append(item)
        self.seen.append(tuple(self.under_way))
        return Later()


@pytest.fixture
def hands() -> Iterator[Noted]:
    with Noted() as hands:
        yield hands


def differ(one: object, other: object) -> bool:
    return one != other


def worked(hands: Executor, act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What comes of items, two of them at once unless they are the same."""
    return list(abreast(hands, 2, act, items, differ))


def test_results_come_in_the_order_of_the_items_whichever_is_done_first(hands: Noted) -> None:
    second = threading.Event()

    def act(item: int) -> int:
        if item == 1:
            assert second.wait(LONG)
        if item == 2:
            second.set()
        return 10 * item

    assert worked(hands, act, [1, 2, 3]) == [10, 20, 30]


def test_items_that_are_not_apart_follow_each_other_and_never_are_there_more_than_so_many() -> None:
    hands = Slow()
    assert worked(hands, str.upper, list("aabbcabc")) == list("AABBCABC")
    assert hands.seen == [tuple(each) for each in ("a", "a", "ab", "b", "bc", "ca", "ab", "bc")]


def test_what_goes_wrong_is_raised_in_its_place_when_nothing_is_under_way_any_more(hands: Noted) -> None:
    over, done = threading.Event(), list[int]()

    def act(item: int) -> int:
        if item == 2:
            raise ValueError(item)
        if item == 3:
            while not hands.is_awaited(3) and not over.is_set():
                over.wait(0.005)  # looks again; how long that takes decides nothing
            done.append(item)
        return item

    results = abreast(hands, 2, act, [1, 2, 3], differ)
    assert next(results) == 1
    with pytest.raises(ValueError, match="2"):
        next(results)
    found = list(done)
    over.set()
    assert found == [3]


def test_every_item_is_worked_on_in_the_context_of_whoever_asked(hands: Noted) -> None:
    token = whose.set("mine")
    try:
        assert worked(hands, lambda _: whose.get(), [1, 2, 3]) == ["mine"] * 3
    finally:
        whose.reset(token)
