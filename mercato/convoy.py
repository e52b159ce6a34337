"""Convoys: threads that go through the same steps side by side: each step is one message, or one commit, for all.

    convoys = Convoys()

    with convoys.joined():
        …  # calls that travel together, and group commits

Whoever comes first to an empty lane goes alone, and the others behind it; from then on they are never together again.
In a convoy whoever comes to a lane halts there while others are on the way: they run, and wait for nothing. The last
of them has all that halt go on; a timer does so only where one is held up in a way that is not known here. Nobody who
is alone waits for others.

Few convoys are under way at once. Whoever comes meanwhile waits for one of them to end, and all who waited are the next
one: the more there is to do, the larger they are. One that takes too long is not waited for.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ABREAST = 2
JAM = 1.0  # seconds after which the next convoy goes all the same
# What blocks in a way that is not known here counts as on the way. Nobody halts for it longer than these seconds.
PATIENCE = 0.02
_thread = threading.local()


def _nothing() -> None:
    """Nobody wants to know."""


class Convoy:
    """Threads of one process that go side by side: so many at first."""

    def __init__(self, members: int, ended: Callable[[], None] = lambda: None, *, patience: float = PATIENCE) -> None:
        """`ended` is called when the last one has left, or nobody need wait for them any more."""
        self.patience = patience
        self._lock = threading.Lock()
        self._members = self._on_the_way = members
        self._ended = ended
        self._halted = dict[Callable[[], None], None]()

    @contextmanager
    def member(self) -> Iterator[None]:
        """Be one of them within the block."""
        _thread.convoy = self
        try:
            yield
        finally:
            _thread.convoy = None
            self._leave()

    @property
    def others(self) -> bool:
        """Whether others are on the way, besides the one who asks."""
        return self._on_the_way > 1

    def _leave(self) -> None:
        self.stopped()
        with self._lock:
            self._members -= 1
            last = self._members == 0
        if last:
            self.make_way()

    def make_way(self) -> None:
        """Have the next one go, as one of these waits for something that may take long."""
        with self._lock:
            ended, self._ended = self._ended, _nothing
        ended()

    def stopped(self, go: Callable[[], None] | None = None) -> None:
        """One waits for something; `go` is to be called when nobody is on the way any more."""
        with self._lock:
            self._on_the_way -= 1
            if go:
                self._halted[go] = None
            due: Iterable[Callable[[], None]] = ()
            if not self._on_the_way and self._halted:
                due, self._halted = self._halted, {}
        for each in due:
            each()

    def went_on(self, halt: "Halt | None" = None) -> None:
        """One is on the way again; if it halted, unless that was said before."""
        with self._lock:
            if halt is None or not halt.over:
                self._on_the_way += 1
            if halt is not None:
                halt.over = True


@dataclass(slots=True, eq=False)
class Halt:
    """One's stop at a lane. Whoever has it go on counts it as on the way first: the next lane shall wait for all."""

    convoy: Convoy
    over: bool = False

    def begin(self, go: Callable[[], None]) -> None:
        """Wait there; `go` has the lane move."""
        self.convoy.stopped(go)

    def end(self) -> None:
        """Go on. A second time does nothing."""
        self.convoy.went_on(self)


@dataclass(slots=True, eq=False)
class _Newcomer:
    """Somebody who waits for a convoy."""

    convoy: Convoy = field(init=False)
    called: threading.Event = field(default_factory=threading.Event)


class Convoys:
    """Where threads gather that do work of one kind."""

    def __init__(self, abreast: int = ABREAST, jam: float = JAM) -> None:
        """So many convoys are under way at once, but for those that take longer than `jam`."""
        self._abreast = abreast
        self._jam = jam
        self._lock = threading.Lock()
        self._under_way = 0
        self._waiting: list[_Newcomer] = []

    @property
    def waiting(self) -> int:
        """How many wait for the next one."""
        return len(self._waiting)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Go with others within the block, or alone where nobody else is there."""
        with self._convoy().member():
            yield

    def _convoy(self) -> Convoy:
        with self._lock:
            newcomer = _Newcomer()
            self._waiting.append(newcomer)
            if self._under_way < self._abreast:
                self._depart()
        while not newcomer.called.wait(self._jam):
            with self._lock:
                if not newcomer.called.is_set():
                    self._depart()
        return newcomer.convoy

    def _depart(self) -> None:
        company, self._waiting = self._waiting, []
        convoy = Convoy(len(company), self._arrived)
        self._under_way += 1
        for each in company:
            each.convoy = convoy
            each.called.set()

    def _arrived(self) -> None:
        with self._lock:
            self._under_way -= 1
            if self._waiting and self._under_way < self._abreast:
                self._depart()


def present() -> Convoy | None:
    """The convoy that this thread is in."""
    convoy: Convoy | None = getattr(_thread, "convoy", None)
    return convoy


def halting() -> Halt | None:
    """A stop of this thread's; None outside of convoys."""
    convoy = present()
    return Halt(convoy) if convoy else None


@contextmanager
def away(*, long: bool = False) -> Iterator[None]:
    """Wait within the block for what the others of the convoy need not wait for, nor the next one if it takes long."""
    convoy = present()
    if convoy is None:
        yield
        return
    if long:
        convoy.make_way()
    _thread.convoy = None
    convoy.stopped()
    try:
        yield
    finally:
        convoy.went_on()
        _thread.convoy = convoy
