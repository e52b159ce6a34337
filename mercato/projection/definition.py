"""What a projection is: a name, a table, and the function that makes its rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mercato.event_store import StoredEvent

Row = Mapping[str, object]
"""A row's values by column, `version` among them: whatever JSON holds, UUIDs, times and bytes."""
Progress = Callable[[int, int], None]
"""Told how many events of how many are done."""


def unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Rows made of the events of each stream by a pure function.

    The name is that of its checkpoint: under another one everything is read again. `columns` are those of its own, with
    their types. With `several`, a stream has a row for each of some versions, else at most one.
    """

    name: str
    table: str
    columns: Mapping[str, str]
    rows: Callable[[Sequence[StoredEvent]], Iterable[Row]]
    several: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What tells the rows of one generation apart."""
        return ("stream_id", "version") if self.several else ("stream_id",)
