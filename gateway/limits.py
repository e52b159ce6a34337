"""What a request may cost before anybody has looked at it: its head, its body and the time that this takes."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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

JSON = "application/json"
_LANDED = "Rows that were complete may have landed; send it again, whole: what is already there is left as it is."
_STALLED = f"The body stopped coming before its end. {_LANDED}"
_BROKEN = "The body ended before its announced end, or its chunks cannot be told apart. Send it again, whole."
_CLOSE = {"Connection": "close"}
_OLD = frozenset({"1", "1.0"})
"""What the server below and the specification call HTTP/1.0."""
_NEVER = re.compile(r"q\s*=\s*0(\.0*)?")
_UTF8 = frozenset({"", "utf-8", "utf8"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how slow requests may be; bytes and seconds."""

    url: int = 8 * 1024
    headers: int = 16 * 1024
    header_count: int = 100
    body: int = 64 * 1024
    upload: int = 64 * 1024 * 1024
    body_seconds: float = 10.0

    def check_head(self, raw_path: bytes, query: bytes, headers: Headers, version: str = "1.1") -> None:
        """Refuse what is too long before it is read any further."""
        if len(raw_path) + len(query) + bool(query) > self.url:
            raise Problem.edge("URL_TOO_LONG")
        # Name, colon, space, value, line end: as they came over the wire.
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self.header_count or size > self.headers:
            raise Problem.edge("HEADERS_TOO_LARGE")
        names = [name for name, _ in headers]
        hosts = [value for name, value in headers if name == b"host"]
        # Two readers of such a request may differ about where it ends, or whom it is for. Only HTTP/1.0 names nobody.
        nameless = version not in _OLD and not all(hosts)
        codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
        # What is not chunked, chunked twice or packed as well, the server below would read as chunked all the same.
        framed = not codings or (codings == [b"chunked"] and b"content-length" not in names)
        if len(hosts) != 1 or nameless or not framed:
            raise Problem.edge("MALFORMED_REQUEST", headers=_CLOSE)

    async def read_body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body of a request, a JSON one if there is one."""
        _check_declared(headers, self.body)
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await self._collect(receive)
        except TimeoutError:
            raise Problem.edge("REQUEST_TIMEOUT", headers=_CLOSE) from None
        if body:
            kind_of_body(headers, (JSON,))
        return body

    async def pieces(self, receive: Receive, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The pieces of an upload: it may take long, as long as it does not stall."""
        _check_declared(headers, self.upload)
        size, more = 0, True
        while more:
            try:
                async with asyncio.timeout(self.body_seconds):
                    message = await receive()
            except TimeoutError:
                raise Problem.edge("REQUEST_TIMEOUT", _STALLED, _CLOSE) from None
            if message["type"] == "http.disconnect":
                raise Problem.edge("MALFORMED_REQUEST", f"{_BROKEN} {_LANDED}", _CLOSE)
            piece = message.get("body", b"")
            size += len(piece)
            if size > self.upload:
                raise _too_large(self.upload)
            yield piece
            more = message.get("more_body", False)

    async def _collect(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem.edge("MALFORMED_REQUEST", _BROKEN, _CLOSE)
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self.body:
                raise _too_large(self.body)
            more = message.get("more_body", False)
        return b"".join(parts)


def _check_declared(headers: Mapping[str, str], most: int) -> None:
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> Problem:
    return Problem.edge("MESSAGE_TOO_LARGE", f"The body is larger than {most} bytes. Send less at once.", _CLOSE)


def kind_of_body(headers: Mapping[str, str], kinds: Sequence[str]) -> str:
    """Which kind a body says that it is; it must be one of these, plain and in UTF-8."""
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = next((each for each in parameters.lower().split(";") if each.strip().startswith("charset=")), "charset=")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    plain = encoding in ("", "identity") and charset.partition("=")[2].strip(' "') in _UTF8
    kind = kind.strip().lower()
    if kind not in kinds or not plain:
        advice = f"Send the body as {' or '.join(kinds)} in UTF-8, without a Content-Encoding."
        raise Problem.edge("UNSUPPORTED_MEDIA_TYPE", advice)
    return kind


def check_accepts(accept: str, kind: str = JSON) -> None:
    """Refuse a client that wants none of what there is."""
    family = kind.partition("/")[0]
    wanted = {"*/*", f"{family}/*", kind}
    if accept and not any(_wants(each, wanted) for each in accept.split(",")):
        raise Problem.edge("NOT_ACCEPTABLE")


def _wants(entry: str, wanted: set[str]) -> bool:
    kind, *parameters = (part.strip().lower() for part in entry.split(";"))
    return kind in wanted and not any(_NEVER.fullmatch(part) for part in parameters)
