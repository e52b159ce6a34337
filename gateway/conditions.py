"""Headers that make requests conditional or repeatable: ETag, If-Match, If-None-Match, Idempotency-Key."""

import re
from hashlib import blake2b

from starlette.datastructures import Headers

from gateway.problems import Problem
from mercato.errors import EtagMismatch, FieldViolation

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ETAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')
# An ETag, or the `etag` that stands in the resource, as it stands there.
_EITHER = re.compile(r'(?:W/)?"(?P<tag>[\x21\x23-\x7e]*)"|(?P<bare>[A-Za-z0-9._-]+)')


def etag_of(etag: str, representation: bytes) -> str:
    """The ETag of an answer: the resource's version if it has one, and a digest of how it looks to this visitor."""
    digest = blake2b(representation, digest_size=8).hexdigest()
    return f'"{etag}.{digest}"' if etag else f'"{digest}"'


def not_modified(if_none_match: str, etag: str) -> bool:
    """Whether the client has what it would get. Compared weakly, as HTTP asks for reads."""
    if if_none_match.strip() == "*":
        return True
    return etag.strip('"') in _ETAG.findall(if_none_match)


def version_wanted(headers: Headers, in_body: str) -> str:
    """The version that the resource must still have, by If-Match (in either form) or by the body; empty: any."""
    if_match = headers.get("if-match", "").strip()
    if if_match in ("", "*"):
        return in_body
    match = _EITHER.fullmatch(if_match)
    if match is None:
        raise Problem.invalid(FieldViolation("If-Match", "MALFORMED", "must be one ETag, in quotes, or *"))
    version = (match["tag"] or match["bare"] or "").partition(".")[0]
    # Weak tags never match for a change; and where header and body differ, one of them no longer holds.
    if if_match.startswith("W/") or (in_body and in_body != version):
        raise EtagMismatch
    return version


def idempotency_key(headers: Headers, *, required: bool) -> str:
    """The key of a request, empty if it has none."""
    keys = headers.getlist("idempotency-key")
    if not keys and required:
        raise Problem.edge("IDEMPOTENCY_KEY_REQUIRED")
    if len(keys) > 1 or not all(_KEY.fullmatch(key) for key in keys):
        message = "must be given once, as 1 to 255 visible ASCII characters"
        raise Problem.invalid(FieldViolation("Idempotency-Key", "MALFORMED", message))
    return keys[0] if keys else ""
