"""Compression of answers, for whoever takes it: `gzip;q=0` says no."""

import re

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_NO = re.compile(r"gzip\s*;\s*q\s*=\s*0(\.0*)?\s*(,|$)")
_ACCEPTS = b"accept-encoding"


class Packing:
    """Compresses what is large, by Starlette's middleware: that takes any mention of gzip for a wish."""

    def __init__(self, app: ASGIApp, minimum: int) -> None:
        self._app = GZipMiddleware(app, minimum_size=minimum, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, packed where that is wanted."""
        if scope["type"] == "http" and not takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
            # In place: others look at this very scope for what became of the request.
            scope["headers"] = [each for each in scope["headers"] if each[0] != _ACCEPTS]
        await self._app(scope, receive, send)


def takes_gzip(accepts: str) -> bool:
    """Whether a client's Accept-Encoding names gzip, and not to rule it out."""
    return "gzip" in accepts and not _NO.search(accepts)
