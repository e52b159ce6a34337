"""What a request may cost before anybody has looked at it: its head, its body and the time that this takes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.problems import Problem

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

# What every answer says to browsers.
SECURITY: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

_JSON = "application/json"
_NEVER = re.compile(r"q\s*=\s*0(\.0*)?")
_UTF8 = frozenset({"", "utf-8", "utf8"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how slow requests may be; bytes and seconds."""

    url: int = 8 * 1024
    headers: int = 16 * 1024
    header_count: int = 100
    body: int = 64 * 1024
    body_seconds: float = 10.0

    def check_head(self, raw_path: bytes, query: bytes, headers: Headers) -> None:
        """Refuse what is too long before it is read any further."""
        if len(raw_path) + len(query) + bool(query) > self.url:
            raise Problem.edge("URL_TOO_LONG")
        # Name, colon, space, value, line end: as they came over the wire.
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self.header_count or size > self.headers:
            raise Problem.edge("HEADERS_TOO_LARGE")
        names = [name for name, _ in headers]
        # Two readers of such a request may differ about where it ends, or whom it is for.
        if names.count(b"host") != 1 or (b"content-length" in names and b"transfer-encoding" in names):
            raise Problem.edge("MALFORMED_REQUEST", headers={"Connection": "close"})

    async def read_body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body of a request, a JSON one if there is one."""
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.body:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await self._collect(receive)
        except TimeoutError:
            raise Problem.edge("REQUEST_TIMEOUT", headers={"Connection": "close"}) from None
        if body:
            check_is_json(headers)
        return body

    async def _collect(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem.edge("REQUEST_TIMEOUT")
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self.body:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem.edge("MESSAGE_TOO_LARGE", f"The body is larger than {self.body} bytes.", {"Connection": "close"})


def check_is_json(headers: Mapping[str, str]) -> None:
    """Refuse a body that does not say that it is JSON, plain and in UTF-8."""
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = next((each for each in parameters.lower().split(";") if each.strip().startswith("charset=")), "charset=")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    plain = encoding in ("", "identity") and charset.partition("=")[2].strip(' "') in _UTF8
    if kind.strip().lower() != _JSON or not plain:
        raise Problem.edge("UNSUPPORTED_MEDIA_TYPE")


def check_accepts(accept: str, kind: str = _JSON) -> None:
    """Refuse a client that wants none of what there is."""
    family = kind.partition("/")[0]
    wanted = {"*/*", f"{family}/*", kind}
    if accept and not any(_wants(each, wanted) for each in accept.split(",")):
        raise Problem.edge("NOT_ACCEPTABLE")


def _wants(entry: str, wanted: set[str]) -> bool:
    kind, *parameters = (part.strip().lower() for part in entry.split(";"))
    return kind in wanted and not any(_NEVER.fullmatch(part) for part in parameters)
