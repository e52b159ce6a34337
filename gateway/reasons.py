"""The reasons of refusals, and the one table that makes HTTP statuses of (gRPC code, reason).

Services make their own reasons (`mercato.errors`); listed here are those of the edge, and those whose status their code
does not tell.
"""

from collections.abc import Mapping
from http import HTTPStatus

from grpc import StatusCode

STATUS_OF_CODE: Mapping[StatusCode, int] = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.CANCELLED: 499,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
STATUS_OF_REASON: Mapping[str, int] = {
    "PAYMENT_DECLINED": 402,
    "ETAG_MISMATCH": 412,
    "ETAG_REQUIRED": 428,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "MESSAGE_TOO_LARGE": 413,
    # Those that the documents could not tell otherwise: they know an operation's reasons, not their codes.
    "TOO_MUCH_HELD": 429,
    "TOO_MANY_DECLINES": 429,
    "UNKNOWN_PROJECTION": 404,
    "UNKNOWN_ZONE": 404,
    "INVALID_CREDENTIALS": 401,
    "PASSWORD_TOO_COMMON": 400,
    "OWN_RETURN": 403,
    "OWN_ROLES": 403,
}

# What the edge itself refuses, and what to do about it.
EDGE: Mapping[str, tuple[int, str]] = {
    "MALFORMED_REQUEST": (400, "The request's head is ambiguous: it needs one Host and one way to tell its length."),
    "MALFORMED_JSON": (400, "The body is not JSON that can be read. Send one JSON object in UTF-8."),
    "BAD_SIGNATURE": (
        401,
        "The webhook is not signed by the provider, or was too long ago. Compare the signing secret and the clock.",
    ),
    "ORIGIN_REFUSED": (
        403,
        "A change authorised by the session cookie must come from a page of the same origin, and say so by Origin.",
    ),
    "ROUTE_NOT_FOUND": (404, "There is nothing at this address. See /docs for what there is."),
    "METHOD_NOT_ALLOWED": (405, "This address does not take this method. The Allow header names those that it takes."),
    "NOT_ACCEPTABLE": (406, "The answer can only be given in a form that the Accept header rules out."),
    "REQUEST_TIMEOUT": (408, "The body of the request did not arrive in time. Send it again."),
    "MESSAGE_TOO_LARGE": (413, "The body is larger than this operation takes."),
    "URL_TOO_LONG": (414, "The address is too long. Ask for less at once."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Send the body as application/json in UTF-8, without a Content-Encoding."),
    "HEADERS_TOO_LARGE": (431, "The headers are too many or too large. Send fewer or shorter ones."),
}

# Reasons of the chassis that clients of every operation may meet.
EVERYWHERE: Mapping[str, tuple[int, str]] = {
    "VALIDATION_FAILED": (400, "A field or parameter is not as the contract asks. `errors` names each one."),
    "INVALID_PAGE_TOKEN": (400, "The page token is damaged, or belongs to another query. Begin at the first page."),
    "IDEMPOTENCY_KEY_REQUIRED": (
        400,
        "Send an Idempotency-Key header, 1 to 255 visible ASCII characters: one for each intent, kept in repeats.",
    ),
    "UNAUTHENTICATED": (401, "The session token is missing, unknown or has ended. Sign in with POST /v1/sessions."),
    "FORBIDDEN": (403, "The account may not do this."),
    "NOT_FOUND": (404, "There is no such resource, or it is not yours."),
    "IDEMPOTENCY_KEY_IN_USE": (
        409,
        "The first request with this key still runs. Repeat it in a moment.",
    ),
    "ETAG_MISMATCH": (412, "The resource has changed since it was read. Read it again and decide anew."),
    "IDEMPOTENCY_KEY_REUSED": (422, "The key was used for another request. Take a new key for a new intent."),
    "ETAG_REQUIRED": (428, "Send the ETag that was read as If-Match, or the resource's `etag` in the body."),
    "RATE_LIMITED": (429, "Too many requests. Repeat after the time in Retry-After."),
    "TOO_MANY_STREAMS": (429, "You have as many streams open as you may. Close one, or wait until one ends."),
    "INTERNAL": (500, "Something is broken on our side. The request id helps to find out what."),
    "UNIMPLEMENTED": (501, "The operation is not there yet."),
    "UNAVAILABLE": (503, "The service does not answer now. Repeat after the time in Retry-After."),
    "OVERLOADED": (503, "The service has more to do than it can. Repeat after the time in Retry-After."),
    "NOT_YET_CONSISTENT": (503, "What was written has not arrived here yet. Repeat after the time in Retry-After."),
    "DEADLINE_EXCEEDED": (504, "The answer did not come in time. Whether the request had an effect is not known."),
}

KNOWN: Mapping[str, tuple[int, str]] = {**EDGE, **EVERYWHERE}


# To find nothing at a place is one thing, not to deliver an order there another.
_OF_SERVICE: Mapping[tuple[str, str], int] = {("delivery", "ADDRESS_NOT_SERVED"): 404}


def status_of(code: StatusCode, reason: str) -> int:
    """The HTTP status of a refusal."""
    return STATUS_OF_REASON.get(reason) or STATUS_OF_CODE.get(code, 500)


def status_in_documents(reason: str, service: str = "") -> int:
    """The HTTP status of a reason whose code is not at hand: documents know reasons, and most of services' are 409."""
    known = KNOWN[reason][0] if reason in KNOWN else STATUS_OF_REASON.get(reason, 409)
    return _OF_SERVICE.get((service, reason), known)


def title_of(reason: str) -> str:
    """A reason in words: `OUT_OF_STOCK` is `Out of stock`."""
    return reason.replace("_", " ").capitalize()


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Client Closed Request"
