"""How often operations may be asked for: the contract's rates, counted in Redis for all gateways together.

Who asks is counted before anything is read, what they ask about once it is: many addresses that try passwords for one
account use up that account's rate. An address that got in before is known, and not counted by that: the owner of an
account that is under attack is not shut out of it. Of what is asked about, and who is known for it, Redis has digests.

While Redis is away each gateway counts for itself: a fair share of every rate, and of strict ones a quarter of that.
That Redis does not answer is never a reason to refuse anybody.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

from google.protobuf.message import Message
from starlette.types import Scope

from gateway.contract import Operation
from gateway.problems import Problem
from mercato import log
from mercato.policy import Limit
from mercato.ratelimit import SCRIPT, Counted, LocalLimiter, Ruling, ruled, script_arguments
from mercato.rpc.call import Principal
from mercato.telemetry import Counter

Network = IPv4Network | IPv6Network
STANDING = "mercato.standing"
"""The key in the ASGI scope for the headers that tell a client how it stands with its limits."""
_STRICT = 0.25
_BREAK = 1.0  # seconds for which Redis is not asked again after it failed
_KNOWN_FOR = 30 * 24 * 3600  # seconds for which an address is known that got in
_LIMITED = Counter("gateway_rate_limited", "Requests refused because there were too many.", ("route",))
_ALONE = Counter("gateway_rates_counted_alone", "Requests counted by this process alone, for Redis did not answer.")


class Counts(Protocol):
    """Where it is counted: a Redis client."""

    def register_script(self, script: str) -> Any:
        """A function of the script's keys and arguments."""

    def exists(self, *names: str) -> Any:
        """How many of these keys there are."""

    def set(self, name: str, value: str, *, ex: int) -> Any:
        """Keep a value for some seconds."""


@dataclass(slots=True)
class Rates:
    """Counts requests and refuses what is too many."""

    redis: Counts | None
    factor: float = 1.0
    gateways: int = 1
    trusted: Sequence[Network] = ()
    _local: LocalLimiter = field(default_factory=LocalLimiter)
    _script: Any = None
    _asked_again: float = 0.0

    async def count(self, operation: Operation, principal: Principal, scope: Scope) -> None:
        """Count a request, and note for its answer how the client stands. Problem RATE_LIMITED when it is too many."""
        if not (limits := operation.policy.limits):
            return
        sender = address(scope, self.trusted)
        who = [principal.subject or sender if each.per == "principal" else sender for each in limits]
        ruling = await self._decide([f"rate:{operation.name}:{each}" for each in who], limits)
        scope[STANDING] = standing(ruling)
        _judge(operation, ruling)

    async def count_about(self, operation: Operation, message: Message, scope: Scope) -> None:
        """Count what a request is about, unless its address is known for that. Problem RATE_LIMITED.

        How that stands is told to whoever is refused, and to nobody else: it tells what others do.
        """
        if not (limits := operation.policy.limits_by_field):
            return
        about = [_about(operation, each, message) for each in limits]
        if await self._known([self._mark(each, scope) for each in about]):
            return
        ruling = await self._decide(about, limits)
        if not ruling.allowed:
            scope[STANDING] = standing(ruling)
        _judge(operation, ruling)

    async def know(self, operation: Operation, message: Message, scope: Scope) -> None:
        """Remember that what a request asked for came true for its address."""
        for each in operation.policy.limits_by_field:
            await self._remember(self._mark(_about(operation, each, message), scope))

    async def _remember(self, mark: str) -> None:
        await self._ask(lambda redis: redis.set(mark, "", ex=_KNOWN_FOR))

    def _mark(self, about: str, scope: Scope) -> str:
        # It lies there for weeks: neither account nor address can be read from it.
        return f"rate:known:{_digest(f'{about}:{address(scope, self.trusted)}')}"

    async def _known(self, marks: Sequence[str]) -> bool:
        return bool(await self._ask(lambda redis: redis.exists(*marks)) == len(marks))

    async def _decide(self, keys: Sequence[str], limits: Sequence[Limit]) -> Ruling:
        counted = [(key, each.rate.scaled(self.factor)) for key, each in zip(keys, limits, strict=True)]
        if (shared := await self._shared(counted)) is not None:
            return shared
        _ALONE.add()
        parts = (self.factor / self.gateways * (_STRICT if each.strict else 1.0) for each in limits)
        alone = [(key, each.rate.scaled(part)) for key, each, part in zip(keys, limits, parts, strict=True)]
        return self._local.decide(alone, time.monotonic())

    async def _shared(self, counted: Counted) -> Ruling | None:
        """The ruling by what all gateways counted; None while Redis is away."""
        keys, arguments = script_arguments(counted)
        ahead = await self._ask(lambda redis: self._counting(redis)(keys=keys, args=arguments))
        return None if ahead is None else ruled([rate for _, rate in counted], [float(each) for each in ahead])

    def _counting(self, redis: Counts) -> Any:
        if self._script is None:
            self._script = redis.register_script(SCRIPT)
        return self._script

    async def _ask(self, question: Callable[[Counts], Awaitable[Any]]) -> Any:
        """What Redis answers; None while it is away."""
        if self.redis is None or time.monotonic() < self._asked_again:
            return None
        try:
            return await question(self.redis)
        except Exception as problem:  # noqa: BLE001 -- whatever ails Redis, requests are counted here
            self._asked_again = time.monotonic() + _BREAK
            log.get(__name__).warning("rates.counted_alone", problem=str(problem))
            return None


def _judge(operation: Operation, ruling: Ruling) -> None:
    if not ruling.allowed:
        _LIMITED.add(operation.name)
        problem = Problem.edge("RATE_LIMITED")
        problem.retry_after = ruling.retry_after
        raise problem


def _about(operation: Operation, limit: Limit, message: Message) -> str:
    """The key of what a request is about: a digest, for it may be personal, of all spellings that may mean the same."""
    return f"rate:{operation.name}:{limit.field}:{_digest(str(getattr(message, limit.field)).casefold())}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def standing(ruling: Ruling) -> Mapping[str, str]:
    """The headers that tell how a client stands with the limit that it is nearest to."""
    return {
        "RateLimit-Limit": str(ruling.rate.requests),
        "RateLimit-Remaining": str(ruling.remaining),
        "RateLimit-Reset": str(math.ceil(ruling.reset)),
        "RateLimit-Policy": f"{ruling.rate.requests};w={ruling.rate.seconds:g}",
    }


def address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The network address that a request comes from: behind trusted proxies, the one that they saw.

    The header's other entries are the client's own words. Of IPv6, a home has a /64: that is counted, not each address.
    """
    client = scope.get("client")
    here = client[0] if client else ""
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in ",".join(forwarded).split(",") if hop.strip()]
    while hops and _trusts(here, trusted):
        here = hops.pop()
    return _home(here)


def networks(text: str) -> tuple[Network, ...]:
    """Networks written as `10.0.0.0/8,fd00::/8`. ValueError if one is none."""
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


def _trusts(host: str, trusted: Sequence[Network]) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return any(found in network for network in trusted)


def _home(host: str) -> str:
    try:
        found = ip_address(host)
    except ValueError:
        return host[:64]
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)
