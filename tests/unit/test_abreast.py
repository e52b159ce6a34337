"""Laws of working abreast."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

import pytest

from mercato.abreast import abreast

LONG = 30
T = TypeVar("T")
R = TypeVar("R")
whose = ContextVar("whose", default="nobody's")


@pytest.fixture
def hands() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as hands:
        yield hands


def differ(one: object, other: object) -> bool:
    return one != other


def worked(hands: ThreadPoolExecutor, act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What comes of items, two of them at once unless they are the same."""
    return list(abreast(hands, 2, act, items, differ))


def test_results_come_in_the_order_of_the_items_whichever_is_done_first(hands: ThreadPoolExecutor) -> None:
    second = threading.Event()

    def act(item: int) -> int:
        if item == 1:
            assert second.wait(LONG)
        if item == 2:
            second.set()
        return 10 * item

    assert worked(hands, act, [1, 2, 3]) == [10, 20, 30]


def test_items_that_are_not_apart_follow_each_other_and_never_are_there_more_than_so_many(
    hands: ThreadPoolExecutor,
) -> None:
    under_way, seen = list[str](), list[tuple[str, ...]]()
    lock = threading.Lock()

    def act(item: str) -> None:
        with lock:
            under_way.append(item)
            seen.append(tuple(under_way))
        with lock:
            under_way.remove(item)

    worked(hands, act, list("aabbcabc") * 20)
    assert len(seen) == 160
    assert max(map(len, seen)) <= 2
    assert all(len(set(each)) == len(each) for each in seen)


def test_what_goes_wrong_is_raised_in_its_place_when_nothing_is_under_way_any_more(hands: ThreadPoolExecutor) -> None:
    failed, done = threading.Event(), list[int]()

    def act(item: int) -> int:
        if item == 2:
            failed.set()
            raise ValueError(item)
        if item == 3:
            assert failed.wait(LONG)
            done.append(item)
        return item

    results = abreast(hands, 2, act, [1, 2, 3], differ)
    assert next(results) == 1
    with pytest.raises(ValueError, match="2"):
        next(results)
    assert done == [3]


def test_every_item_is_worked_on_in_the_context_of_whoever_asked(hands: ThreadPoolExecutor) -> None:
    token = whose.set("mine")
    try:
        assert worked(hands, lambda _: whose.get(), [1, 2, 3]) == ["mine"] * 3
    finally:
        whose.reset(token)
