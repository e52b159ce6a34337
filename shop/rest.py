"""The gateway's REST interface, as a visitor with or without a session uses it."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Self

import httpx

Json = Mapping[str, Any]
PATIENCE = 10.0
"""Seconds that a reply may take; the gateway itself answers sooner."""


class Refused(Exception):
    """A problem instead of an answer."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.reason = str(problem.get("reason") or status)
        self.problem = problem
        super().__init__(f"{status} {self.reason}: {problem.get('detail') or problem.get('title') or 'no detail'}")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Visitor:
    """Somebody at the gateway's door."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.name = "guest"
        self.token = ""
        self._http = httpx.Client(base_url=url, timeout=PATIENCE, transport=transport, verify=_trust())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """Read something."""
        return self.send("GET", path, query=query).body

    def post(self, path: str, body: Json | None = None, key: str = "") -> Any:
        """Do something; a repeat with the same key does it no second time."""
        return self.send("POST", path, body=body or {}, key=key).body

    def put(self, path: str, body: Json) -> Any:
        """Set something."""
        return self.send("PUT", path, body=body).body

    def send(
        self, method: str, path: str, *, body: Json | None = None, key: str = "", query: Mapping[str, Any] | None = None
    ) -> Reply:
        """Any request. Refused when the answer is a problem; httpx.TransportError when there is none."""
        headers = self._headers()
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        answer = self._http.request(method, path, json=body, params=dict(query or {}), headers=headers)
        content = answer.json() if answer.content else {}
        if answer.is_error:
            raise Refused(answer.status_code, content if isinstance(content, dict) else {})
        return Reply(answer.status_code, content, answer.headers)

    @contextmanager
    def events(self, path: str) -> Iterator[Iterator[str]]:
        """The types of an order's events as they happen."""
        headers = {**self._headers(), "Accept": "text/event-stream"}
        with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(PATIENCE, read=30.0)) as answer:
            if answer.is_error:
                answer.read()
                raise Refused(answer.status_code, answer.json())
            yield (line.removeprefix("event:").strip() for line in answer.iter_lines() if line.startswith("event:"))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def sign_in(self, email: str, password: str) -> Json:
        """Become somebody; a guest takes the cart along. Answers with the user."""
        session = self.post("/v1/sessions", {"email": email, "password": password})
        self.token, self.name = session["token"], email
        user: Json = session["user"]
        return user


@cache
def _trust() -> ssl.SSLContext:
    """Whom to trust: read once, not by every visitor, for it takes a tenth of a second."""
    return httpx.create_ssl_context()


def cents(money: Json) -> int:
    """An amount in the currency's hundredths."""
    return int(money.get("units") or 0) * 100 + int(money.get("nanos") or 0) // 10_000_000


def shown(money: Json) -> str:
    """An amount as one writes it."""
    return f"{Decimal(cents(money)) / 100:,.2f} {money.get('currencyCode', '')}".strip()
