"""Pages for people: the front page, the documents, and one page for each reason of a problem."""

import gzip
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import swagger_ui_bundle  # type: ignore[import-untyped]  # ships no types
from google.protobuf.descriptor import FileDescriptor
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from gateway import accesstable, asyncapi, eventspage
from gateway.advice import ADVICE
from gateway.calls import Visit
from gateway.comments import as_html, reasons_in
from gateway.conditions import etag_of, not_modified
from gateway.contract import Operation, rpcs
from gateway.dispatch import Handler
from gateway.openapi import document
from gateway.packing import takes_gzip
from gateway.problems import Problem, kebab
from gateway.reasons import KNOWN, phrase, status_in_documents, title_of
from gateway.writer import dumps

_WEB = Path(__file__).parent / "web"
_SWAGGER = Path(swagger_ui_bundle.swagger_ui_path)
_ASSETS: Mapping[str, Path] = {
    **{name: _WEB / name for name in ("page.css", "docs.js")},
    **{name: _SWAGGER / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")},
}
_OURS = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
# Swagger UI sets styles from its script, draws icons from data, and calls the API.
_SWAGGERS = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_AN_HOUR = "public, max-age=3600"


class Pages:
    """The gateway's own pages."""

    def __init__(
        self,
        files: Sequence[FileDescriptor],
        operations: Sequence[Operation],
        comments: Mapping[str, str],
        further: Mapping[str, Any],
    ) -> None:
        self._document = dumps(document(operations, comments, further))
        self._events = dumps(asyncapi.document(files, comments))
        self._events_page = eventspage.page(files, comments)
        self._access = accesstable.table(operations)
        self._between = accesstable.between_processes(rpcs(files))
        self._reasons = {kebab(reason): reason for reason in KNOWN}
        self._named_by: dict[str, list[str]] = {}
        for operation in operations:
            for reason in reasons_in(comments.get(operation.rpc.full_name, "")):
                self._reasons[kebab(reason)] = reason
                self._named_by.setdefault(reason, []).append(operation.name)

    def routes(self) -> Mapping[str, Handler]:
        """The addresses of the pages."""
        return {
            "/": self.front,
            "/openapi.json": self.openapi,
            "/asyncapi.json": self.asyncapi,
            "/docs": self.docs,
            "/docs/access": self.access,
            "/docs/events": self.events,
            "/docs/{name}": self.asset,
            "/docs/problems": self.problems,
            "/docs/problems/{reason}": self.problem,
        }

    async def front(self, request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """What this is and where to go."""
        origin = escape(f"{request.url.scheme}://{request.headers.get('host', 'localhost')}")
        return _page("Mercato", _filled("index.html", origin=origin))

    async def openapi(self, request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """The OpenAPI document."""
        return _json(request, self._document)

    async def asyncapi(self, request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """The AsyncAPI document of the events."""
        return _json(request, self._events)

    async def access(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """Who may do what."""
        about = (
            "<p>As the contracts say it, enforced by the gateway and by each service. <em>own</em>: on what is the "
            "caller's; another's is answered like a missing one.</p>"
        )
        between = (
            "<h2>What processes call for themselves</h2>\n<p><em>grant</em>: the fields that must be what the customer "
            "agreed to, signed when the order was accepted, and the amount that it bounds.</p>"
        )
        tables = f"<div class=wide>{self._access}</div>\n{between}\n<div class=wide>{self._between}</div>"
        return _page("Access", f"<h1>Who may do what</h1>\n{about}\n{tables}")

    async def events(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """What the services tell each other, and whoever else follows."""
        return _page("Events", self._events_page)

    async def docs(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """The document, to read and to try out."""
        return HTMLResponse(_filled("docs.html"), headers={"Content-Security-Policy": _SWAGGERS})

    async def asset(self, request: Request, variables: Mapping[str, str], _visit: Visit) -> Response:
        """A file that a page needs."""
        if variables["name"] not in _ASSETS:
            raise Problem.edge("ROUTE_NOT_FOUND")
        name, headers = variables["name"], {"Cache-Control": _AN_HOUR, "Vary": "Accept-Encoding"}
        if not takes_gzip(request.headers.get("accept-encoding", "")):
            return FileResponse(_ASSETS[name], headers=headers)
        return Response(_packed(name), headers=headers | {"Content-Encoding": "gzip"}, media_type=guess_type(name)[0])

    async def problems(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """Every reason."""
        rows = (
            f'<tr><td><a href="/docs/problems/{name}"><code>{reason}</code></a></td><td>{_advice(reason)}</td></tr>'
            for name, reason in sorted(self._reasons.items())
        )
        return _page("Problems", f"<h1>What can go wrong</h1>\n<table class=stacked>{''.join(rows)}</table>")

    async def problem(self, _request: Request, variables: Mapping[str, str], _visit: Visit) -> Response:
        """One reason: what it means, what to do, and which operations name it."""
        reason = self._reasons.get(variables["reason"])
        if reason is None:
            raise Problem.edge("ROUTE_NOT_FOUND")
        number = status_in_documents(reason)
        status = f"<p>Answered with {number} {phrase(number)}.</p>"
        where = _listed(self._named_by.get(reason, ()))
        body = f"<h1>{escape(title_of(reason))}</h1>\n<p><code>{reason}</code></p>\n<p>{_advice(reason)}</p>"
        return _page(title_of(reason), f'{body}\n{status}\n{where}\n<p><a href="/docs/problems">All problems</a></p>')


def _json(request: Request, document: bytes) -> Response:
    """A document, sent to whoever does not have it."""
    headers = {"Cache-Control": "no-cache", "ETag": etag_of("", document)}
    if not_modified(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(document, 200, headers, "application/json")


@cache
def _packed(name: str) -> bytes:
    """A file in gzip, packed once: what sends files from the disk leaves them as they are.

    A first visit to /docs takes 354 KB so instead of 1,207. Brotli would need a dependency for what is left.
    """
    return gzip.compress(_ASSETS[name].read_bytes(), mtime=0)


def _advice(reason: str) -> str:
    return as_html(KNOWN[reason][1] if reason in KNOWN else ADVICE.get(reason, "The problem's detail tells why."))


def _listed(operations: Iterable[str]) -> str:
    items = "".join(f"<li><code>{name}</code></li>" for name in operations)
    return f"<h2>Operations that answer it</h2>\n<ul>{items}</ul>" if items else ""


def _page(title: str, body: str) -> Response:
    text = _filled("page.html", title=escape(title), body=body)
    return HTMLResponse(text, headers={"Content-Security-Policy": _OURS})


def _filled(name: str, **values: Any) -> str:
    return string.Template((_WEB / name).read_text()).safe_substitute(values)
