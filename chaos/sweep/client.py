"""A client that, hearing nothing, asks again with the same key, as real clients do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from mercato.errors import MercatoError
from shop.rest import Json, Refused, Reply, Visitor

T = TypeVar("T")
PATIENCE = 90.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
# No answer to what was asked, though a quick one: the first with this key is still on its way.
NOT_YET = frozenset({"IDEMPOTENCY_KEY_IN_USE", "NOT_YET_CONSISTENT"})


class NoAnswer(Exception):
    """Nobody gave a definite answer for far longer than any fault lasts."""


class Client(Visitor):
    """Somebody at the gateway's door who does not give up."""

    id = ""

    def send(
        self, method: str, path: str, *, body: Json | None = None, key: str = "", query: Mapping[str, Any] | None = None
    ) -> Reply:
        """The definite answer to a request. Refused, or NoAnswer."""
        key = key or str(uuid.uuid4())
        send = super().send
        return insist(lambda: send(method, path, body=body, key=key, query=query), f"{method} {path}")


def insist(ask: Callable[[], T], what: str) -> T:
    """The answer to a question that may be asked again. Whatever definite refusal it meets, or NoAnswer."""
    ends, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            return ask()
        except (Refused, MercatoError, httpx.TransportError) as trouble:
            if _is_definite(trouble):
                raise
            if time.monotonic() > ends:
                raise NoAnswer(f"{what}: {trouble!r}") from trouble
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _is_definite(trouble: Exception) -> bool:
    match trouble:
        case Refused():
            return trouble.status < 500 and trouble.status not in (408, 429) and trouble.reason not in NOT_YET
        case MercatoError():
            return trouble.definite
        case _:
            return False
