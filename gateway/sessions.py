"""Sessions: whose an opaque token is, and how a request carries one."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import urlsplit

from gateway.problems import Problem
from mercato import log
from mercato.clock import Clock
from mercato.errors import MercatoError, NotFound, Unauthenticated
from mercato.rpc.call import NOBODY, Principal

COOKIE = "__Host-session"
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")
_LOOK_UPS_AT_ONCE, _COPIES_AT_ONCE = 32, 500
_GIVEN_UP = 3  # times in a row that Redis did not answer
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"

# Asks the user service by the hash of a token; NotFound when it knows none.
LookUp = Callable[[str], Awaitable[Principal]]


class Copies(Protocol):
    """Where the user service leaves copies of sessions for a minute: a Redis client, as far as it is needed."""

    def get(self, name: str) -> Awaitable[Any]:
        """The copy, or None."""

    def mget(self, keys: Sequence[str]) -> Awaitable[Sequence[Any]]:
        """The same of many."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows to say who sends it."""

    token: str = ""
    by_cookie: bool = False

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Credential":
        """The bearer token of a request, else its cookie. Unauthenticated for anything else in Authorization."""
        authorization = headers.get("authorization")
        if authorization is None:
            return cls(_cookie(headers.get("cookie", "")), by_cookie=True)
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise Unauthenticated("Authorization must be `Bearer` and the token of a session")
        return cls(token)


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE) if COOKIE in header else None
    except CookieError:
        return ""
    return morsel.value if morsel and _TOKEN.fullmatch(morsel.value) else ""


def check_origin(headers: Mapping[str, str], allowed: frozenset[str]) -> None:
    """Refuse a change that a foreign page may have sent: browsers add the cookie, but they add Origin too."""
    origin = headers.get("origin", "")
    if origin in allowed:
        return
    # The scheme is left out: behind a proxy that ends TLS we do not see the one that the browser saw.
    if not origin or urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise Problem.edge("ORIGIN_REFUSED")


def set_cookie(token: str, expires: datetime, now: datetime) -> str:
    """The header that gives a browser its session."""
    return f"{COOKIE}={token}; Max-Age={max(0, int((expires - now).total_seconds()))}; {_ATTRIBUTES}"


def clear_cookie() -> str:
    """The header that takes it away."""
    return f"{COOKIE}=; Max-Age=0; {_ATTRIBUTES}"


class Sessions:
    """Finds sessions by their token: the copy in Redis first, the user service where there is none."""

    def __init__(self, copies: Copies | None, look_up: LookUp, clock: Clock) -> None:
        self._copies = copies
        self._clock = clock
        self._look_up = look_up
        self._unread = 0

    async def principal(self, token: str) -> Principal:
        """Whose the session is; nobody's without a token. Unauthenticated if the token opens nothing."""
        if not token:
            return NOBODY
        digest = hashlib.sha256(token.encode()).hexdigest()
        if copy := await self._copy(digest):
            return copy
        try:
            return await self._look_up(digest)
        except NotFound:
            raise Unauthenticated("the session is unknown or has ended; sign in again") from None

    async def current(self, tokens: Sequence[str]) -> Mapping[str, Principal | None]:
        """Whose many sessions are now, None where one has ended; what nobody can say now is left out.

        Where Redis answers late once or twice nobody is asked instead: there are too many to ask for.
        """
        by_digest = {hashlib.sha256(token.encode()).hexdigest(): token for token in tokens}
        copies = await self._many_copies(list(by_digest))
        self._unread = 0 if copies is not None else self._unread + 1
        if copies is None and self._unread < _GIVEN_UP:
            return {}
        found: dict[str, Principal | None] = {by_digest[digest]: copy for digest, copy in (copies or {}).items()}
        few = asyncio.Semaphore(_LOOK_UPS_AT_ONCE)

        async def look_up(digest: str) -> None:
            async with few:
                with suppress(MercatoError):
                    try:
                        found[by_digest[digest]] = await self._look_up(digest)
                    except NotFound:
                        found[by_digest[digest]] = None

        await asyncio.gather(*(look_up(digest) for digest in by_digest if by_digest[digest] not in found))
        return found

    async def _many_copies(self, digests: Sequence[str]) -> Mapping[str, Principal] | None:
        """The copies that are there and can be read; None when Redis does not answer."""
        if self._copies is None:
            return {}
        raws: list[Any] = []
        try:
            for start in range(0, len(digests), _COPIES_AT_ONCE):
                names = [f"session:{digest}" for digest in digests[start : start + _COPIES_AT_ONCE]]
                raws += await self._copies.mget(names)
        except Exception as problem:  # noqa: BLE001 -- as with one copy
            log.get(__name__).warning("session.copies_unreadable", problem=str(problem))
            return None
        read = {digest: self._read(raw) for digest, raw in zip(digests, raws, strict=True)}
        return {digest: principal for digest, principal in read.items() if principal}

    async def _copy(self, digest: str) -> Principal | None:
        """The copy, if there is a readable one. Redis may be away: it saves a call, and decides nothing."""
        if self._copies is None:
            return None
        try:
            return self._read(await self._copies.get(f"session:{digest}"))
        except Exception as problem:  # noqa: BLE001 -- whatever a cache does, the user service knows better
            log.get(__name__).warning("session.copy_unreadable", problem=str(problem))
            return None

    def _read(self, raw: Any) -> Principal | None:
        """A copy. An empty one is the user service's mark that the session has changed: ask again."""
        try:
            return _principal_of(json.loads(raw), self._clock.now()) if raw else None
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            log.get(__name__).warning("session.copy_unreadable", problem=str(problem))
            return None


def _principal_of(identity: Mapping[str, Any], now: datetime) -> Principal | None:
    """The principal of a SessionIdentity in proto3 JSON, unless its time is over."""
    if datetime.fromisoformat(identity["expireTime"]) <= now:
        return None
    roles = frozenset(identity.get("roles", ()))
    return Principal(identity["subject"], roles, identity["sessionId"], identity.get("guestId") or None)
