"""The hot path: kept replies, given before anything else is done with a request.

A plain ASGI callable, for what it saves: a request for a public address, by nobody in particular and without a wish
that needs thought, costs two dictionary look-ups and two sends. Whatever is not surely such a request goes the long
way.
"""

import time
from secrets import token_hex

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.accesslog import AccessLog
from gateway.keeping import Headers, KeptReply, Replies, key_of
from mercato import log

# Headers that ask for more than the bytes: who it is, a body, another origin, what one has written before.
_THOUGHT = frozenset(
    {b"authorization", b"cookie", b"content-length", b"transfer-encoding", b"origin", b"x-consistency", b"expect"}
)
_JSON = (b"*/*", b"application/json")
_MOST_HEADERS, _MOST_BYTES = 40, 4096


class HotPath:
    """Answers from the kept replies what it can, and passes on the rest."""

    def __init__(self, app: ASGIApp, replies: Replies, lines: AccessLog, gzip_from: int) -> None:
        self._app = app
        self._replies = replies
        self._lines = lines
        self._gzip_from = gzip_from

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self._app(scope, receive, send)
        began = time.monotonic()
        replies, key = self._replies, key_of(scope)
        reply = replies.find(key, began)
        waiting = replies.under_way(key) if reply is None else None
        if reply is None and waiting is None:
            return await self._app(scope, receive, send)
        wish = _Wish.of(scope["headers"])
        if wish is None:
            return await self._app(scope, receive, send)
        if waiting is not None:
            await waiting
            reply = replies.find(key, began)
        if reply is None or replies.wants_renewal(reply, began):
            return await self._app(scope, receive, send)
        status, headers, body = self._answer(reply, wish)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._lines.note(scope["path"], reply.route, status, len(body), began, wish.request_id)
        return None

    def _answer(self, reply: KeptReply, wish: "_Wish") -> tuple[int, Headers, bytes]:
        about = (b"x-request-id", wish.request_id.encode())
        if wish.knows and (reply.etag in wish.knows or wish.knows.strip() == b"*"):
            return 304, [*reply.headers, about], b""
        if wish.gzip and len(reply.body) >= self._gzip_from:
            body = reply.squeeze()
            return 200, [*reply.headers, about, (b"content-encoding", b"gzip"), _length(body)], body
        return 200, [*reply.headers, about, _length(reply.body)], reply.body


class _Wish:
    """What a plain request asks for."""

    __slots__ = ("gzip", "knows", "request_id")

    def __init__(self) -> None:
        self.request_id = ""
        self.gzip = False
        self.knows = b""

    @classmethod
    def of(cls, headers: Headers) -> "_Wish | None":
        """The wish of a request; None if it is not plain."""
        wish, hosts, size = cls(), 0, 0
        for name, value in headers:
            size += len(value)
            if name in _THOUGHT:
                return None
            if name == b"host":
                hosts += 1
            elif name == b"accept":
                if value not in _JSON:
                    return None
            elif name == b"accept-encoding":
                wish.gzip = b"gzip" in value and b"gzip;q=0" not in value.replace(b" ", b"")
            elif name == b"if-none-match":
                wish.knows = value
            elif name == b"x-request-id":
                wish.request_id = log.request_id(value.decode("latin-1"))
        if hosts != 1 or len(headers) > _MOST_HEADERS or size > _MOST_BYTES:
            return None
        wish.request_id = wish.request_id or token_hex(12)
        return wish


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
