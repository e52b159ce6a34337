"""The hot path: plain reads, answered before anything else is done with a request.

A plain ASGI callable, for what it saves: a request for a public address, by nobody in particular and without a wish
that needs thought, costs two dictionary look-ups and two sends; where nothing is kept, the call of a service as well.
Whatever is not surely such a request goes the long way, and so does whatever comes to be a refusal.
"""

import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.accesslog import AccessLog
from gateway.calls import Visit
from gateway.dispatch import REFUSAL, VISIT
from gateway.keeping import Headers, KeptReply, Replies, key_of
from gateway.packing import takes_gzip
from gateway.plain import PlainReads
from mercato import log

# Headers that ask for more than the bytes: who it is, a body, another origin, what one has written before.
_THOUGHT = frozenset(
    {b"authorization", b"cookie", b"content-length", b"transfer-encoding", b"origin", b"x-consistency", b"expect"}
)
_NOTED = frozenset({b"accept-encoding", b"if-none-match", b"x-request-id", b"traceparent"})
_JSON = (b"*/*", b"application/json")
_MOST_HEADERS, _MOST_BYTES = 40, 4096


class HotPath:
    """Answers what it can, from the kept replies or by asking, and passes on the rest."""

    def __init__(self, app: ASGIApp, reads: PlainReads, replies: Replies, lines: AccessLog, gzip_from: int) -> None:
        self._app = app
        self._reads = reads
        self._replies = replies
        self._lines = lines
        self._gzip_from = gzip_from

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self._app(scope, receive, send)
        began, key = time.monotonic(), key_of(scope)
        reply = self._replies.find(key, began)
        wanted = self._reads.find(*key) if reply is None or self._replies.wants_renewal(reply, began) else None
        wish = _Wish.of(scope["headers"]) if reply or wanted else None
        if wish is None:
            return await self._app(scope, receive, send)
        if wanted:
            visit = Visit(wish.request_id, log.traceparent(wish.traceparent), began=began)
            try:
                with log.bound(request_id=visit.request_id, traceparent=visit.traceparent):
                    reply = await self._reads.reply(wanted, key, visit)
            except Exception as refusal:  # noqa: BLE001  it is told on the long way, as any other
                if reply is None:
                    scope[VISIT], scope[REFUSAL] = visit, refusal
                    return await self._app(scope, receive, send)
        assert reply
        status, headers, body = self._answer(reply, wish)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._lines.note(scope["path"], reply.route, status, len(body), began, wish.request_id, not wanted)
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

    __slots__ = ("gzip", "knows", "request_id", "traceparent")

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        encoding = found.get(b"accept-encoding", b"")
        self.gzip = takes_gzip(encoding.decode("latin-1"))
        self.knows = found.get(b"if-none-match", b"")
        self.request_id = log.request_id(found.get(b"x-request-id", b"").decode("latin-1"))
        self.traceparent = found.get(b"traceparent", b"").decode("latin-1")

    @classmethod
    def of(cls, headers: Headers) -> "_Wish | None":
        """The wish of a request; None if it is not plain."""
        found: dict[bytes, bytes] = {}
        hosts = size = 0
        for name, value in headers:
            size += len(value)
            if name in _THOUGHT or (name == b"accept" and value not in _JSON):
                return None
            if name in _NOTED:
                found[name] = value
            hosts += name == b"host" and bool(value)
        return cls(found) if hosts == 1 and len(headers) <= _MOST_HEADERS and size <= _MOST_BYTES else None


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
