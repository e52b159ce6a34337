"""The striker: carries a schedule of faults out on an arena, each at its time."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from chaos.nemesis.arena import Arena
from chaos.nemesis.schedule import AT_ONCE, TO_PROCESSES, Fault, Kind
from chaos.proxy import Proxies, Toxic, Way
from mercato import log
from mercato.local.trouble import Trouble

_log = log.get(__name__)


class Striker:
    """Lets happen what is planned, and ends it when its time is over."""

    def __init__(self, arena: Arena, schedule: Sequence[Fault]) -> None:
        self.struck: Counter[Kind] = Counter()
        self._arena = arena
        self._numbers = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        for fault in schedule:
            self._plan(fault.at, self._strike, fault)

    def run(self, over: threading.Event) -> None:
        """Strike until everything planned has happened, or it is over."""
        began = time.monotonic()
        while self._due:
            at, _, act = heapq.heappop(self._due)
            if over.wait(max(0.0, began + at - time.monotonic())):
                return
            try:
                act()
            except Trouble as trouble:
                _log.warning("nemesis.missed", trouble=str(trouble))

    def _plan(self, at: float, act: Callable[[Fault], None], fault: Fault) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), lambda: act(fault)))

    def _strike(self, fault: Fault) -> None:
        if fault.kind not in AT_ONCE:
            self._plan(fault.at + fault.lasts, self._end, fault)
        strike(self._arena, fault)
        self.struck[fault.kind] += 1

    def _end(self, fault: Fault) -> None:
        if fault.kind in TO_PROCESSES:
            self._arena.go_on(fault.target)
        else:
            self._arena.proxies.heal(fault.target)


def strike(arena: Arena, fault: Fault) -> None:
    """Let one fault happen."""
    match fault.kind:
        case Kind.KILL:
            arena.kill(fault.target)
        case Kind.STOP:
            arena.stop(fault.target)
        case Kind.BLACKOUT:
            arena.black_out()
        case _:
            _spoil(arena.proxies, fault)


def _spoil(proxies: Proxies, fault: Fault) -> None:
    match fault.kind:
        case Kind.CUT:
            proxies.cut(fault.target)
        case Kind.REFUSE:
            proxies.refuse(fault.target)
        case Kind.HALF_CLOSE:
            proxies.half_close(fault.target, Way.REQUESTS)
        case Kind.HOLD_REQUESTS:
            proxies.spoil(fault.target, Toxic(held=True), Way.REQUESTS)
        case Kind.HOLD_REPLIES:
            proxies.spoil(fault.target, Toxic(held=True), Way.REPLIES)
        case Kind.CUT_AFTER:
            proxies.spoil(fault.target, _toxic(fault), Way.REPLIES)
        case _:
            proxies.spoil(fault.target, _toxic(fault))


def _toxic(fault: Fault) -> Toxic:
    match fault.kind:
        case Kind.DELAY:
            return Toxic(delay=fault.amount, jitter=fault.amount / 2)
        case Kind.NARROW:
            return Toxic(rate=fault.amount)
        case Kind.CUT_AFTER:
            return Toxic(cut_after=int(fault.amount))
        case Kind.HALF_OPEN:
            return Toxic(deaf=True)
        case _:
            return Toxic(held=True)
