"""Small parts of the gateway: statuses, headers, wake-ups, limits."""

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from starlette.datastructures import Headers

from gateway.conditions import etag_of, idempotency_key, not_modified, version_wanted
from gateway.limits import Limits, check_accepts
from gateway.problems import Problem, lower_camel
from gateway.reasons import KNOWN, STATUS_OF_REASON, phrase, status_of, title_of

STATUSES = {
    StatusCode.OK: 500,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}


@pytest.mark.parametrize("code", StatusCode)
def test_every_code_has_its_status(code: StatusCode) -> None:
    assert status_of(code, "") == STATUSES[code]


def test_some_reasons_have_a_status_of_their_own() -> None:
    assert {reason: status_of(StatusCode.FAILED_PRECONDITION, reason) for reason in STATUS_OF_REASON} == {
        "PAYMENT_DECLINED": 402,
        "ETAG_MISMATCH": 412,
        "ETAG_REQUIRED": 428,
        "IDEMPOTENCY_KEY_REUSED": 422,
        "MESSAGE_TOO_LARGE": 413,
        "TOO_MUCH_HELD": 429,
        "TOO_MANY_DECLINES": 429,
        "UNKNOWN_PROJECTION": 404,
        "UNKNOWN_ZONE": 404,
        "INVALID_CREDENTIALS": 401,
        "PASSWORD_TOO_COMMON": 400,
        "OWN_RETURN": 403,
        "OWN_ROLES": 403,
    }


def test_every_known_reason_has_words() -> None:
    for reason, (status, advice) in KNOWN.items():
        assert title_of(reason)[0].isupper()
        assert advice.endswith(".")
        assert phrase(status)


def test_names_are_written_as_json_writes_them() -> None:
    assert [lower_camel(name) for name in ("unit_price", "lines[0]", "a", "order_id_2")] == [
        "unitPrice",
        "lines[0]",
        "a",
        "orderId2",
    ]


def test_an_etag_tells_the_version_and_how_it_looks() -> None:
    assert etag_of("7", b"a") != etag_of("7", b"b")
    assert not_modified(f"W/{etag_of('7', b'a')}", etag_of("7", b"a"))
    assert not not_modified("", etag_of("7", b"a"))
    assert version_wanted(Headers({"If-Match": etag_of("7", b"a")}), "") == "7"
    assert version_wanted(Headers({"If-Match": "*"}), "3") == "3"


def test_a_key_is_given_once() -> None:
    twice = Headers(raw=[(b"idempotency-key", b"a"), (b"idempotency-key", b"b")])
    with pytest.raises(Problem):
        idempotency_key(twice, required=False)
    assert idempotency_key(Headers(), required=False) == ""
    assert idempotency_key(Headers({"Idempotency-Key": "a"}), required=True) == "a"


@pytest.mark.parametrize("accept", ["", "*/*", "application/*", "text/html, */*;q=0.1", "Application/JSON; q=0.5"])
def test_whoever_takes_json_is_answered(accept: str) -> None:
    check_accepts(accept)


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "*/*; q=0.000"])
def test_whoever_takes_no_json_is_told(accept: str) -> None:
    with pytest.raises(Problem):
        check_accepts(accept)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"")],
        [(b"host", b"a"), (b"host", b"b")],
        [(b"host", b"a"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"host", b"a"), *[(b"x", b"1")] * 100],
        [(b"host", b"a"), (b"x", b"1" * 16_384)],
    ],
)
def test_a_head_that_is_too_much_or_says_two_things_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Problem):
        Limits().check_head(b"/", b"", headers)


def test_a_client_that_goes_away_while_it_sends_is_given_up() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(Problem) as refused:
        asyncio.run(Limits().read_body(gone, {}))
    assert (refused.value.reason, refused.value.headers) == ("MALFORMED_REQUEST", {"Connection": "close"})
