"""Pages: opaque signed tokens that say where a list goes on, bound to its query and, if private, to its reader."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mercato.errors import InvalidArgument, InvalidPageToken
from mercato.rpc.call import current_call

T = TypeVar("T")
Cursor = Sequence[str | int | None]
DEFAULT, MOST = 20, 200
_SIGNATURE = 16  # bytes of the HMAC that are kept: 128 bits


def page_size(request: Any) -> int:
    """How many items a request wants: 20 if it does not say, never more than 200. InvalidArgument below 0."""
    if request.page_size < 0:
        raise InvalidArgument.of("pageSize", "must not be negative", "RANGE")
    return min(request.page_size or DEFAULT, MOST)


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """The items of one page, and the token of the next one."""

    items: list[T]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page that was asked for. Read `most` items after the cursor: one more than are shown, to see if there are."""

    tokens: "PageTokens"
    request: Any
    size: int
    after: list[Any]

    @property
    def most(self) -> int:
        """How many to read."""
        return self.size + 1

    def of(self, items: Sequence[T], cursor: Callable[[T], Cursor]) -> Listed[T]:
        """The page with these items; `cursor` says where a list goes on after one of them."""
        shown = list(items[: self.size])
        token = self.tokens.seal(cursor(shown[-1]), self.request) if len(items) > self.size else ""
        return Listed(shown, token)


class PageTokens:
    """Seals cursors into tokens and opens them again."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def page(self, request: Any) -> Page:
        """The page that a list request asks for. InvalidArgument, InvalidPageToken."""
        return Page(self, request, page_size(request), self.open(request))

    def seal(self, cursor: Cursor, request: Any) -> str:
        """The token of the page of this query that begins after the cursor."""
        body = json.dumps(list(cursor), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(body, request) + body).decode().rstrip("=")

    def open(self, request: Any) -> list[Any]:
        """The cursor in the request's token; empty without one. InvalidPageToken if it was sealed for another query."""
        if not request.page_token:
            return []
        token = request.page_token
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidPageToken.of("pageToken", "is not one of ours", InvalidPageToken.reason) from None
        signature, body = raw[:_SIGNATURE], raw[_SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(body, request)):
            raise InvalidPageToken.of("pageToken", "belongs to another list or reader", InvalidPageToken.reason)
        cursor: list[Any] = json.loads(body)
        return cursor

    def _sign(self, body: bytes, request: Any) -> bytes:
        query = type(request)()
        query.CopyFrom(request)
        query.page_token, query.page_size = "", 0  # the size may change from page to page
        call = current_call()
        reader = call.principal.subject if call.private else ""
        asked = query.SerializeToString(deterministic=True)
        parts = (request.DESCRIPTOR.full_name.encode(), asked, reader.encode(), body)
        signed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, signed, hashlib.sha256)[:_SIGNATURE]
