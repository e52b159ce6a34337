"""Working ahead: the next item is made while the present one is worked on."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

T = TypeVar("T")
_END: Final = object()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The items; each is made in a thread of its own while whoever reads them has the one before.

    It pays where that reader waits for others (a database) and making an item costs time. What goes wrong in making one
    is raised where it is read.
    """
    making = iter(items)
    with ThreadPoolExecutor(1, "ahead") as hands:
        coming = hands.submit(next, making, _END)
        while (item := coming.result()) is not _END:
            coming = hands.submit(next, making, _END)
            yield cast("T", item)
