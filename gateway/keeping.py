"""Replies that are kept: ready bytes in this process' memory, dropped when an event tells that they are stale.

A reply carries tags: `product/<id>` for each aggregate that it is of, or `product` where it may be of any. An event of
the service drops what has the tag of its aggregate, or the service's own. A reply that was asked for before its tag was
dropped is not kept: what it says may be from before the event.

While the feed of events is live, a reply is kept for as long as its policy says; while it is not, for a second.
"""

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mercato.telemetry import Counter, Gauge

Key = tuple[bytes, bytes]
"""The path and the query of an address, as they came."""
Headers = list[tuple[bytes, bytes]]

BLIND = 1.0
"""Seconds for which a reply is kept while nobody tells what is stale."""
REMEMBER = 600.0
"""Seconds for which events from before the start matter: longer than any reply is kept."""
MOST_DROPPED = 10_000
"""Tags of which it is known when they were dropped. When there are more, all count as dropped just now."""
_RENEW_PART = 0.8
_WEIGHT = 1500  # bytes that a reply costs beside its body
_DROPPED = Counter("gateway_replies_dropped", "Kept replies that an event made stale.")


@dataclass(slots=True)
class KeptReply:
    """A reply as bytes, and until when it may be given. Times are of the monotonic clock, in seconds."""

    body: bytes
    version: str
    headers: Headers
    etag: bytes
    route: str
    tags: frozenset[str]
    began: float
    until: float
    renew: float
    squeezed: bytes = b""

    @classmethod
    def of(
        cls,
        body: bytes,
        version: str,
        etag: str,
        headers: Headers,
        route: str,
        tags: Iterable[str],
        began: float,
        seconds: float,
    ) -> "KeptReply":
        """A reply of a version that was asked for at a time, to be kept for some seconds from then."""
        tag = etag.encode("latin-1")
        until, renew = began + seconds, began + seconds * _RENEW_PART
        return cls(body, version, [*headers, (b"etag", tag)], tag, route, frozenset(tags), began, until, renew)

    @property
    def text_headers(self) -> dict[str, str]:
        """Its headers as text."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}

    @property
    def weight(self) -> int:
        """The memory that it takes, in bytes: the same before and after its gzip is made, which is no larger."""
        return _WEIGHT + 2 * len(self.body)

    def squeeze(self) -> bytes:
        """The body as gzip, made when it is first wanted."""
        if not self.squeezed:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            self.squeezed = packer.compress(self.body) + packer.flush()
        return self.squeezed


@dataclass(slots=True)
class Replies:
    """The kept replies of this process. For one event loop."""

    most_bytes: int
    services: frozenset[str]
    """Those of which replies are kept."""
    live: bool = False
    """Whether events that make replies stale arrive now."""
    _kept: dict[Key, KeptReply] = field(default_factory=dict)
    _tagged: dict[str, set[Key]] = field(default_factory=dict)
    _dropped: dict[str, float] = field(default_factory=dict)
    _under_way: dict[Key, "asyncio.Future[None]"] = field(default_factory=dict)
    _bytes: int = 0
    _all_dropped: float = 0.0

    def __post_init__(self) -> None:
        Gauge("gateway_replies_bytes", "Memory that kept replies take.", read=lambda: self._bytes)

    def find(self, key: Key, now: float) -> KeptReply | None:
        """The reply to an address, if it may still be given."""
        reply = self._kept.get(key)
        if reply is None or now > reply.until or (not self.live and now > reply.began + BLIND):
            return None
        return reply

    def wants_renewal(self, reply: KeptReply, now: float) -> bool:
        """Whether whoever asks should renew a reply; one is told so each second, the others get what there is."""
        if now < reply.renew:
            return False
        reply.renew = now + BLIND
        return True

    def holds(self, reply: KeptReply) -> bool:
        """Whether nothing happened to what a reply is of since it was asked for."""
        return all(self._dropped.get(tag, self._all_dropped) < reply.began for tag in reply.tags)

    def keep(self, key: Key, reply: KeptReply) -> None:
        """Keep a reply, if it holds."""
        if not self.holds(reply):
            return
        self._forget(key)
        self._kept[key] = reply
        self._bytes += reply.weight
        for tag in reply.tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self._bytes > self.most_bytes:
            self._forget(next(iter(self._kept)))

    def drop(self, service: str, ids: Iterable[str], now: float) -> None:
        """Something happened to some aggregates of a service."""
        if service not in self.services:
            return
        tags = {service, *(f"{service}/{each}" for each in ids)}
        for tag in tags:
            self._dropped[tag] = now
            for key in tuple(self._tagged.get(tag, ())):
                self._forget(key)
                _DROPPED.add()
        if len(self._dropped) > MOST_DROPPED:
            self._all_dropped = now
            self._dropped.clear()

    def see(self, live: bool) -> None:
        """Events of all that happens arrive now, or they do not."""
        self.live = live

    def _forget(self, key: Key) -> None:
        reply = self._kept.pop(key, None)
        if reply is None:
            return
        self._bytes -= reply.weight
        for tag in reply.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def was_quiet(self, tag: str) -> bool:
        """Whether nothing is known to have happened to what has a tag."""
        return tag not in self._dropped

    def forget(self) -> None:
        """Keep nothing of what there is."""
        for key in tuple(self._kept):
            self._forget(key)

    @property
    def bytes(self) -> int:
        """The memory that is taken."""
        return self._bytes

    def under_way(self, key: Key) -> "asyncio.Future[None] | None":
        """What ends when the reply to an address, which somebody is waiting for, has come.

        Shielded: one of many who wait for it may go away, and the others go on waiting.
        """
        future = self._under_way.get(key)
        return asyncio.shield(future) if future is not None else None

    @contextmanager
    def asking(self, key: Key) -> Iterator[float]:
        """Ask for the reply to an address, while others wait for it; the time at which this began."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.setdefault(key, future)
        try:
            yield time.monotonic()
        finally:
            if self._under_way.get(key) is future:
                del self._under_way[key]
            if not future.done():
                future.set_result(None)


def key_of(scope: Mapping[str, Any]) -> Key:
    """The address that a request is for."""
    return scope.get("raw_path") or scope["path"].encode(), scope["query_string"]
