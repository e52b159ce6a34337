"""The outermost layer: limits of the head, request ids, security headers, the access log, metrics."""

import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.accesslog import REQUESTS, SECONDS
from gateway.calls import LONGEST_CONSISTENCY, Visit
from gateway.dispatch import ROUTE, VISIT, problem_of
from gateway.limits import SECURITY, Limits
from gateway.linger import Body
from gateway.problems import Problem
from gateway.rates import STANDING
from gateway.upgrade import SOCKET, Line, Socket, as_request
from mercato import log

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_QUIET = frozenset({"/healthz", "/readyz"})


class Edge:
    """Wraps the application in what every request gets."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        line = Line(receive, send) if scope["type"] == "websocket" else None
        if line:
            scope, receive, send = as_request(scope, line.send)
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        visit = scope.get(VISIT) or _visit(headers)
        scope[VISIT] = visit
        answer = _Answer(send, scope, visit, without_body=scope["method"] == "HEAD")
        body = Body(receive) if not line and Body.announced(headers) else None
        if line:
            scope[SOCKET] = Socket(line.receive, answer)
        with log.bound(request_id=visit.request_id, traceparent=visit.traceparent):
            try:
                self._check(scope)
                await self._app(scope, body or receive, answer)
            except Problem as problem:
                await problem.response(scope["path"][:1024], visit.request_id)(scope, receive, answer)
            except Exception as error:  # noqa: BLE001 -- an answer that broke off has begun: it can only be logged
                problem_of(error)
            finally:
                _note(scope, visit, answer)
                if line:
                    line.hang_up()
        if body:
            await body.pass_over(answer.status)

    def _check(self, scope: Scope) -> None:
        scope.setdefault("raw_path", scope["path"].encode())
        version = scope.get("http_version", "1.1")
        self._limits.check_head(scope["raw_path"], scope["query_string"], scope["headers"], version)


class _Answer:
    """Passes an answer on, with the headers that every answer has."""

    def __init__(self, send: Send, scope: Scope, visit: Visit, *, without_body: bool) -> None:
        self._send = send
        self._scope = scope
        self._visit = visit
        self._without_body = without_body
        self.status = 0
        self.size = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "websocket.accept":
            self.status = 101
            message = {**message, "headers": [(b"x-request-id", self._visit.request_id.encode())]}
        elif message["type"] == "http.response.body":
            body = b"" if self._without_body else message.get("body", b"")
            message = {**message, "body": body}
            self.size += len(body)
        await self._send(message)

    def _begin(self, message: MutableMapping[str, Any]) -> None:
        self.status = message["status"]
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self._visit.request_id
        headers.update(self._scope.get(STANDING, {}))
        for name, value in SECURITY.items():
            headers.setdefault(name, value)


def _visit(headers: Headers) -> Visit:
    consistency = headers.get("x-consistency", "")
    return Visit(
        log.request_id(headers.get("x-request-id")),
        log.traceparent(headers.get("traceparent")),
        consistency if consistency.isascii() and len(consistency) <= LONGEST_CONSISTENCY else "",
    )


def _note(scope: Scope, visit: Visit, answer: _Answer) -> None:
    """One line and one count for the request."""
    seconds, route, method = time.monotonic() - visit.began, scope.get(ROUTE, ""), scope["method"]
    REQUESTS.add(method if method in _METHODS else "other", route, str(answer.status))
    SECONDS.observe(seconds, route)
    logger = log.get(__name__)
    (logger.debug if route in _QUIET else logger.info)(
        "http.request",
        method=method[:16],
        path=scope["path"][:256],
        route=route,
        status=answer.status,
        bytes=answer.size,
        ms=round(seconds * 1000, 1),
    )
