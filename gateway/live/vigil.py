"""The round that is made twice a second over all open streams, whatever their number.

Whether sessions still stand and where couriers are is asked of Redis, with one question for all. What happened to
orders is not asked at all as long as Kafka tells of it; while it does not, one question names all watched orders, and
only those that have changed are looked at.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.live.frame import POSITION, Frame
from gateway.live.position import Positions
from gateway.live.stream import Stream
from gateway.live.watch import Watch, Watched
from gateway.live.wire import REFUSED
from mercato import log
from mercato.errors import MercatoError
from mercato.policy import Policy, decide
from mercato.rpc.call import Principal

# The versions that orders have now; those that nobody knows are left out.
Versions = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
ROUND = 0.5  # seconds; a session that ends, ends its streams within one
_AT_ONCE = 1000
# While Kafka tells, it is checked this much less often that it told everything.
_SELDOM = 15


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is done; seconds.

    `beat`: a quiet stream says that it lives. `round`: sessions and couriers are looked after. `look`: the order
    service is asked for news where Kafka does not tell. `patience`: how long a client is waited for that does not read.
    """

    beat: float
    round: float
    look: float
    patience: float


class Sessions(Protocol):
    """Who knows whose sessions are."""

    async def current(self, tokens: Sequence[str]) -> Mapping[str, Principal | None]:
        """Whose these are now, None where one has ended; left out is what nobody can say."""


class Vigil:
    """Watches over the streams, for as long as there are any."""

    def __init__(
        self, watch: Watch, sessions: Sessions, policy: Policy, positions: Positions, versions: Versions, pace: Pace
    ) -> None:
        self._watch = watch
        self._sessions = sessions
        self._policy = policy
        self._positions = positions
        self._versions = versions
        self._pace = pace
        self._told = False  # whether Kafka tells
        self._looked = time.monotonic()
        self._going: asyncio.Task[None] | None = None

    def see(self, told: bool) -> None:
        """Kafka tells of all that happens, or it does not."""
        self._told = told

    def begin(self) -> None:
        """Begin to make rounds, unless they are made."""
        if self._going is None:
            self._looked = time.monotonic()
            self._going = asyncio.ensure_future(self._rounds())

    async def _rounds(self) -> None:
        try:
            while self._watch.orders:
                await asyncio.sleep(self._pace.round)
                await self._round()
        finally:
            self._going = None

    async def _round(self) -> None:
        for part in (self._check_sessions, self._find_couriers, self._beat, self._look):
            try:
                await part()
            except Exception:  # noqa: BLE001 -- one part's trouble is not the others'
                log.get(__name__).exception("streams.round_failed")

    async def _check_sessions(self) -> None:
        by_token: dict[str, list[Stream]] = {}
        for stream in self._watch.streams:
            by_token.setdefault(stream.visitor.token, []).append(stream)
        found = await self._sessions.current(list(by_token)) if by_token else {}
        for token, principal in found.items():
            for stream in by_token[token]:
                if principal and self._may(principal):
                    stream.visitor.principal = principal
                else:
                    stream.end(REFUSED)

    def _may(self, principal: Principal) -> bool:
        try:
            decide(self._policy, principal, "gateway")
        except MercatoError:
            return False
        return True

    async def _find_couriers(self) -> None:
        under_way = {each.shipment: each for each in self._watch.orders if each.shipment}
        found = await self._positions.of(list(under_way))
        for shipment, position in found.items():
            watched, frame = under_way[shipment], Frame.about(POSITION, position)
            if watched.shipment == shipment and watched.position != frame:
                watched.move(frame)

    async def _beat(self) -> None:
        before = time.monotonic() - self._pace.beat
        for stream in self._watch.streams:
            if stream.spoke <= before:
                stream.beat()

    async def _look(self) -> None:
        for watched in self._watch.orders:
            if watched.stale:
                watched.hint()
        pause = self._pace.look * (_SELDOM if self._told else 1)
        if time.monotonic() - self._looked < pause:
            return
        self._looked = time.monotonic()
        orders = {each.order_id: each for each in self._watch.orders}
        names = list(orders)
        for start in range(0, len(names), _AT_ONCE):
            _compare(orders, await self._versions(names[start : start + _AT_ONCE]))


def _compare(orders: Mapping[str, Watched], versions: Mapping[str, int]) -> None:
    for order_id, version in versions.items():
        if version > orders[order_id].seen:
            orders[order_id].seen = version
            orders[order_id].hint()
