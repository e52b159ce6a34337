"""Group commit: work that has to wait anyway is done as one set when the wait is over.

    reserving = GroupCommit(inventory.reserve_stock, inventory.reserve_together)
    reservation = reserving.do(basket)

Alone, work is done by the thread that brings it, as if nothing of this existed. While some is under way, what comes
waits; then one thread, the flusher, takes all that waits as one set, in the order in which it came, and so on until
nothing waits. There is no timer: a set is as large as the one before it took long.

Errors stay individual. Whoever's time is over before its turn comes is left out. A set that fails as a whole, but for
a silent database, is done again one by one, so that work that cannot be done harms no other. Whoever waits is a call
that is under way: a server that lets its calls end has nothing else to wait for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, ParamSpec, TypeVar, cast

from mercato import log
from mercato.convoy import Halt, away, halting
from mercato.errors import DeadlineExceeded, MercatoError, Unavailable
from mercato.rpc.call import Call, calling, current_call
from mercato.sqlstate import LostRace, out_of_time
from mercato.telemetry import Counter

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
MOST = 256  # turns in one set: those who come later must not wait for ever longer ones
LINGER = 1.0  # seconds that a flusher waits for more before it ends
# Work that is in hand for longer than its statements may last is given up on: its thread hangs. Others go on without.
STUCK = 10.0

SETS = Counter("mercato_group_commit_sets", "Sets of work done as one.", ("rpc",))
TURNS = Counter("mercato_group_commit_turns", "Pieces of work in those sets.", ("rpc",))
_log = log.get(__name__)


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """One piece of work, and the call that it is done for."""

    item: T
    call: Call
    context: Context
    halt: Halt | None = None
    _done: threading.Lock = field(default_factory=threading.Lock)
    _outcome: object = None

    @classmethod
    def of(cls, item: T) -> "Turn[T]":
        """Work of the present call."""
        return cls(item, current_call(), copy_context())

    def run(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do something in its call's name: what is published then carries the call's ids."""
        return self.context.run(act, *args, **kwargs)

    def decide(self, act: Callable[[T], R]) -> R | MercatoError:
        """What is decided about it in its call's name. A defect is no decision: it is raised, and undoes the set."""
        try:
            return self.context.run(act, self.item)
        except MercatoError as refusal:
            return refusal

    @property
    def expects_company(self) -> bool:
        """Whether others of its convoy may be coming here."""
        return self.halt is not None and self.halt.convoy.others

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        remaining = self.call.remaining
        return remaining is not None and remaining <= 0

    def queue(self) -> None:
        """Begin to wait."""
        self._done.acquire()

    def finish(self, outcome: object) -> None:
        """Tell whoever waits what came of it."""
        self._outcome = outcome
        self._done.release()

    def halted(self, go: Callable[[], None]) -> None:
        """Wait for the convoy, if it is in one; `go` is called when nobody is on the way any more, or it is late."""
        if self.halt:
            self.halt.begin(go)
            if self._done.acquire(timeout=self.halt.convoy.patience):
                self._done.release()
            else:
                go()

    def wait(self) -> object:
        """What came of it. When the time runs out first, nobody knows: it may yet be done."""
        remaining = self.call.remaining
        told = self._done.acquire(timeout=-1 if remaining is None else max(0.0, remaining))
        if self.halt:
            self.halt.end()
        return self._outcome if told else out_of_time()


class _Flusher(threading.Thread):
    """A thread that does what waits when it is called, and ends when nobody calls for a while."""

    def __init__(self, flush: Callable[["_Flusher"], None], retire: Callable[["_Flusher"], bool]) -> None:
        super().__init__(name="group-commit", daemon=True)
        self._flush = flush
        self._retire = retire
        self._called = threading.Semaphore(0)

    def call(self) -> None:
        """Have it go on."""
        self._called.release()
        if self.ident is None:
            self.start()

    def run(self) -> None:
        """Wait for calls."""
        while self._called.acquire(timeout=LINGER) or not self._retire(self):
            self._flush(self)


class GroupCommit(Generic[T, R]):
    """Does work of one kind alone, or together with its like."""

    def __init__(
        self,
        alone: Callable[[T], R],
        together: Callable[[Sequence[Turn[T]]], Sequence[R | Exception]],
        *,
        stuck: float = STUCK,
    ) -> None:
        """`alone` does one piece, `together` a set of them in one transaction: an outcome for each, in their order.

        Both must bear to be done again: what fails as a set is done one by one, whatever became of the set.
        """
        self._stuck = stuck
        self._alone = alone
        self._together = together
        self._lock = threading.Lock()
        self._waiting: deque[Turn[T]] = deque()
        self._owner: object | None = None  # who has work in hand
        self._since = 0.0  # when that began
        self._resting: _Flusher | None = None

    @property
    def waiting(self) -> int:
        """How many turns wait for the work in hand."""
        return len(self._waiting)

    def do(self, item: T) -> R:
        """Do it; raises what came of it."""
        turn = Turn.of(item)
        turn.halt = halting()
        if owner := self._enter([turn]):
            try:
                with away():
                    return self._alone(item)
            finally:
                self._leave(owner)
        turn.halted(self._go)
        outcome = turn.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return cast("R", outcome)

    def do_all(self, turns: Sequence[Turn[T]]) -> list[R | Exception]:
        """Do what came together; what came of each, in their order."""
        if owner := self._enter(turns):
            try:
                return self._outcomes(turns)
            finally:
                self._leave(owner)
        return [cast("R | Exception", turn.wait()) for turn in turns]

    def _enter(self, turns: Sequence[Turn[T]]) -> object | None:
        """Take work in hand; None if somebody has some: then the turns wait."""
        with self._lock:
            now = time.monotonic()
            if self._owner is None and not (self._waiting or turns[0].expects_company):
                self._owner, self._since = object(), now
                return self._owner
            for turn in turns:
                turn.queue()
            self._waiting.extend(turns)
            if self._owner is None:
                if turns[0].halt is None:  # whoever is in no convoy waits for none
                    self._hand_over()
            elif now - self._since > self._stuck:
                _log.error("group_commit.stuck", rpc=turns[0].call.rpc, seconds=round(now - self._since))
                self._hand_over()
            return None

    def _leave(self, owner: object) -> None:
        with self._lock:
            if owner is self._owner:
                self._owner = None
                if self._waiting:
                    self._hand_over()

    def _hand_over(self) -> None:
        flusher, self._resting = self._resting or _Flusher(self._flush, self._retire), None
        self._owner, self._since = flusher, time.monotonic()
        flusher.call()

    def _flush(self, flusher: _Flusher) -> None:
        while turns := self._take(flusher):
            outcomes = self._outcomes(turns)
            for turn in turns:
                if turn.halt:
                    turn.halt.end()
            for turn, outcome in zip(turns, outcomes, strict=True):
                turn.finish(outcome)

    def _go(self) -> None:
        """Have what waits done, if nothing is in hand."""
        with self._lock:
            if self._owner is None and self._waiting:
                self._hand_over()

    def _take(self, flusher: _Flusher) -> list[Turn[T]]:
        with self._lock:
            if self._owner is not flusher:
                return []  # given up on; what waits is in other hands
            self._since = time.monotonic()
            if not self._waiting:
                self._owner, self._resting = None, flusher
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST))]

    def _retire(self, flusher: _Flusher) -> bool:
        with self._lock:
            if self._resting is flusher:
                self._resting = None
            return self._owner is not flusher

    def _outcomes(self, turns: Sequence[Turn[T]]) -> list[R | Exception]:
        live = [turn for turn in turns if not turn.over]
        done = dict(zip(live, self._set(live), strict=True))
        return [done[turn] if turn in done else out_of_time() for turn in turns]

    def _set(self, turns: Sequence[Turn[T]]) -> Sequence[R | Exception]:
        if len(turns) > 1:
            try:
                return self._as_one(turns)
            except (Unavailable, DeadlineExceeded) as silence:
                # Whether it took effect is not known; each is told so by an error of its own.
                return [type(silence)(silence.message) for _ in turns]
            except Exception as problem:  # noqa: BLE001  whose it is shows when each is done alone
                _log.warning("group_commit.parted", rpc=turns[0].call.rpc, turns=len(turns), problem=str(problem))
        return [self._one(turn) for turn in turns]

    def _one(self, turn: Turn[T]) -> R | Exception:
        try:
            return turn.run(self._alone, turn.item)
        except Exception as raised:  # noqa: BLE001  whoever waits for it raises it
            return raised

    def _as_one(self, turns: Sequence[Turn[T]]) -> Sequence[R | Exception]:
        rpc = turns[0].call.rpc
        SETS.add(rpc)
        TURNS.add(rpc, amount=len(turns))
        # Nobody's work is cut short by another's hurry: the set lasts as long as the most patient one waits.
        ends = [turn.call.ends for turn in turns if turn.call.ends is not None]
        call = Call(rpc, ends=max(ends) if len(ends) == len(turns) else None)
        # A use case is named by the context: all have the same. Ids of calls are taken from each turn's own.
        return turns[0].context.copy().run(self._under, call, turns)

    def _under(self, call: Call, turns: Sequence[Turn[T]]) -> Sequence[R | Exception]:
        with calling(call):
            try:
                return self._together(turns)
            except LostRace:
                return self._together(turns)
