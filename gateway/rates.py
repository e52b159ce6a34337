"""How often operations may be asked for: the contract's rates, counted in Redis for all gateways together.

While Redis is away each gateway counts for itself: a fair share of every rate, and of strict ones a quarter of that.
That Redis does not answer is never a reason to refuse anybody.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

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
_LIMITED = Counter("gateway_rate_limited", "Requests refused because there were too many.", ("route",))
_ALONE = Counter("gateway_rates_counted_alone", "Requests counted by this process alone, for Redis did not answer.")


class Scripts(Protocol):
    """What runs scripts: a Redis client."""

    def register_script(self, script: str) -> Any:
        """A function of the script's keys and arguments."""


@dataclass(slots=True)
class Rates:
    """Counts requests and refuses what is too many."""

    redis: Scripts | None
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
        ruling = await self._decide(operation.name, limits, principal, address(scope, self.trusted))
        scope[STANDING] = standing(ruling)
        if not ruling.allowed:
            _LIMITED.add(operation.name)
            problem = Problem.edge("RATE_LIMITED")
            problem.retry_after = ruling.retry_after
            raise problem

    async def _decide(self, name: str, limits: Sequence[Limit], principal: Principal, sender: str) -> Ruling:
        keys = [f"rate:{name}:{principal.subject or sender if each.per == 'principal' else sender}" for each in limits]
        counted = [(key, each.rate.scaled(self.factor)) for key, each in zip(keys, limits, strict=True)]
        if (shared := await self._shared(counted)) is not None:
            return shared
        _ALONE.add()
        parts = (self.factor / self.gateways * (_STRICT if each.strict else 1.0) for each in limits)
        alone = [(key, each.rate.scaled(part)) for key, each, part in zip(keys, limits, parts, strict=True)]
        return self._local.decide(alone, time.monotonic())

    async def _shared(self, counted: Counted) -> Ruling | None:
        """The ruling by what all gateways counted; None while Redis is away."""
        if self.redis is None or time.monotonic() < self._asked_again:
            return None
        if self._script is None:
            self._script = self.redis.register_script(SCRIPT)
        keys, arguments = script_arguments(counted)
        try:
            ahead = await self._script(keys=keys, args=arguments)
            return ruled([rate for _, rate in counted], [float(each) for each in ahead])
        except Exception as problem:  # noqa: BLE001 -- whatever ails Redis, requests are counted here
            self._asked_again = time.monotonic() + _BREAK
            log.get(__name__).warning("rates.counted_alone", problem=str(problem))
            return None


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
