"""Working abreast: several items are worked on at once, as far as they have nothing to do with each other."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def abreast(
    hands: Executor, most: int, act: Callable[[T], R], items: Iterable[T], apart: Callable[[T, T], bool]
) -> Generator[R, None, None]:
    """What `act` makes of each item, in the order of the items; up to `most` of them are under way at once.

    An item waits for those before it from which it is not `apart`. What goes wrong with one is raised in its place,
    when nothing is under way any more; items after it may have been worked on.
    """
    under_way: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            while len(under_way) == most or not all(apart(other, item) for other, _ in under_way):
                yield under_way.popleft()[1].result()
            under_way.append((item, hands.submit(copy_context().run, act, item)))
        while under_way:
            yield under_way.popleft()[1].result()
    finally:
        wait([future for _, future in under_way])
