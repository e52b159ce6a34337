"""Bad input over REST: the rows B1 to B53 of the bad-input matrix, each with what is sent and what the answer is.

Where the matrix and the public surface differ, the surface is right. `{names}` stand for what the scene has:
somebody's order, another's, a product, a slot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_INVALID, _NOBODY = "VALIDATION_FAILED", "nobody"
_MONEY = {"currencyCode": "USD", "units": "1"}
_WISH = {
    "lines": [{"sku": "{sku}", "quantity": 1}],
    "addressId": "{address}",
    "slotId": "{slot}",
    "paymentMethod": "pm_card_visa",
}
_WHY = {"reason": "late"}
_EMOJI = "Zoë 👩‍👩‍👧 \u202eabc e\u0301"
_HOME = {
    "recipient": "A",
    "line1": "1 Quillon Row",
    "postalCode": "45202",
    "city": "Cincinnati",
    "countryCode": "US",
    "phone": "+15135550100",
    "location": {"latitude": 39.1, "longitude": -84.5},
}
_CLAIMS = {"X-User-Id": "1", "X-Forwarded-For": "127.0.0.1", "X-Roles": "admin"}
_UNSIGNED = {"Stripe-Signature": "t=1,v1=00"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is sent by whom, and the status, reason and first field of the answer.

    A row that is refused `changes` nothing, unless an order was made for it.
    """

    id: str
    about: str
    method: str
    target: str
    status: int
    reason: str = ""
    names: str = ""
    who: str = "customer"
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    changes: bool = False

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        match self.body:
            case None:
                return b""
            case bytes():
                return self.body
            case str():
                return self.body.encode("utf-8", "surrogatepass")
        return json.dumps(self.body).encode()


def _get(id_: str, about: str, target: str, status: int, reason: str = "", names: str = "", **more: Any) -> Row:
    return Row(id_, about, "GET", target, status, reason, names, **more)


def _post(
    id_: str, about: str, target: str, body: Any, status: int, reason: str = "", names: str = "", /, **more: Any
) -> Row:
    headers = {"Idempotency-Key": more.pop("key", "{key}"), **more.pop("headers", {})}
    return Row(id_, about, "POST", target, status, reason, names, body=body, headers=headers, **more)


def _cart(id_: str, about: str, quantity: str, status: int = 400) -> Row:
    reason, names = ("", "") if status == 200 else (_INVALID, "quantity")
    body = f'{{"quantity": {quantity}}}'
    return Row(id_, about, "PUT", "/v1/cart/lines/{sku}", status, reason, names, body=body, changes=status == 200)


def _order(
    id_: str, about: str, status: int, reason: str = _INVALID, names: str = "", /, key: str = "{key}", **wish: Any
) -> Row:
    changes = status in (201, 402) or reason == "OUT_OF_STOCK"
    return _post(id_, about, "/v1/orders", {**_WISH, **wish}, status, reason, names, key=key, changes=changes)


def _total(id_: str, about: str, status: int, reason: str = _INVALID, names: str = "", /, **money: Any) -> Row:
    return _order(id_, about, status, reason, names, expectedTotal={**_MONEY, **money})


def _refund(about: str, status: int, reason: str, names: str = "", /, **money: Any) -> Row:
    body = {"amount": {**_MONEY, **money}, "reason": "x"}
    return _post("B40", about, "/v1/payments/{payment}:refund", body, status, reason, names, who="finance")


def _register(id_: str, about: str, status: int, names: str = "", reason: str = _INVALID, /, **more: Any) -> Row:
    body = {"email": "{email}", "password": "a password of the matrix, 1742", "displayName": "Somebody", **more}
    made = status == 201
    return Row(id_, about, "POST", "/v1/users", status, "" if made else reason, names, _NOBODY, body, changes=made)


def _sign_in(id_: str, about: str, body: Any, status: int, reason: str, names: str = "", **headers: str) -> Row:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Row(id_, about, "POST", "/v1/sessions", status, reason, names, _NOBODY, body, told)


def _address(id_: str, about: str, label: str, status: int, names: str = "", **more: Any) -> Row:
    made, target, body = status == 201, "/v1/users/me/addresses", {**_HOME, "label": label}
    return _post(id_, about, target, body, status, "" if made else _INVALID, names, changes=made, **more)


def _profile(id_: str, about: str, status: int, reason: str, **headers: str) -> Row:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Row(id_, about, "PATCH", "/v1/users/me", status, reason, body={"displayName": "B"}, headers=told)


# The table. A reason that is empty where somebody is refused: the server itself did it, in one line.
ROWS: Sequence[Row] = (
    _sign_in("B1", "no JSON", "{", 400, "MALFORMED_JSON"),
    _sign_in("B1", "JSON that ends too early", '{"email": "a', 400, "MALFORMED_JSON"),
    _cart("B2", "a key twice", '1, "quantity": 100'),
    *(_cart("B3", f"the number {each}", each) for each in ("NaN", "Infinity", "-Infinity", "1e400")),
    _sign_in("B4", "nested 10,000 deep", "[" * 10_000 + "]" * 10_000, 400, "MALFORMED_JSON"),
    _sign_in("B5", "a body above 64 KiB", "x" * 65_537, 413, "MESSAGE_TOO_LARGE"),
    _sign_in("B7", "a body of another kind", "{}", 415, "UNSUPPORTED_MEDIA_TYPE", Content_Type="text/plain"),
    _sign_in("B7", "a body of no kind", "{}", 415, "UNSUPPORTED_MEDIA_TYPE", Content_Type=""),
    _get("B8", "nothing but XML is wanted", "/v1/products", 406, "NOT_ACCEPTABLE", headers={"Accept": "text/xml"}),
    _sign_in("B9", "a packed body", "x", 415, "UNSUPPORTED_MEDIA_TYPE", Content_Encoding="gzip"),
    *(
        _register("B10", f"{each}, which nobody sets", 400, each, **{each: "x"})
        for each in ("role", "status", "user_id")
    ),
    *(
        _order("B10", f"{each}, which nobody sets", 400, _INVALID, each, **{each: "1"})
        for each in ("price", "discount")
    ),
    *(_cart("B11", f"the wrong type: {each}", each) for each in ("true", "[1]", "{}", '"one"')),
    _cart("B11", "a quoted integer, which proto3 JSON takes", '"1"', 200),
    *(_cart("B12", f"out of range: {each}", each) for each in ("-1", "100", str(2**31), str(2**63), "1.5")),
    *(
        _order("B12", f"{each} of it", 400, _INVALID, "lines[0].quantity", lines=[{"sku": "{sku}", "quantity": each}])
        for each in (0, -1, 2**31)
    ),
    _total("B13", "another total than it is", 409, "PRICE_CHANGED"),
    *(
        _total("B14", f"the currency {each!r}", 400, _INVALID, "expectedTotal.currencyCode", currencyCode=each)
        for each in ("usd", "", "DOLLAR")
    ),
    _total("B14", "a currency that nothing is sold in", 409, "PRICE_CHANGED", currencyCode="XXX"),
    _total("B15", "money with a point", 400, _INVALID, "expectedTotal.units", units=19.99),
    *(
        _get("B16", f"an id that is none: {each[:12]}", f"/v1/orders/{each}", 400, _INVALID, "id")
        for each in ("7", "g" * 36, "%7b{order}%7d", "a%00b", "x" * 200)
    ),
    _get("B16", "an id in capitals is the same id", "/v1/orders/{ORDER}", 200),
    _get("B16", "an id of 9 KB", "/v1/orders/" + "7" * 9_000, 414, "URL_TOO_LONG"),
    _get("B16", "an id of a megabyte", "/v1/orders/" + "7" * 2**20, 431),
    _get("B17", "another's order", "/v1/orders/{others}", 404, "NOT_FOUND"),
    _get("B17", "an order that is not there", "/v1/orders/{missing}", 404, "NOT_FOUND"),
    _address("B18", "a NUL in a text", "a\0b", 400, "label"),
    _sign_in("B19", "half a character", '{"email": "\\ud800", "password": "x"}', 400, _INVALID, "email"),
    _sign_in("B19", "no UTF-8", b'{"email": "\xff"}', 400, "MALFORMED_JSON"),
    _sign_in("B19", "a character written too long", b'{"email": "\xc0\xaf"}', 400, "MALFORMED_JSON"),
    _address("B20", "all that Unicode has", _EMOJI, 201, says=_EMOJI),
    _get("B21", "SQL in a search", "/v1/products:search?q=%27;%20drop%20table", 200),
    _get("B21", "wildcards in a search", "/v1/products:search?q=%25_%5C", 200),
    _get("B22", "an end of line in an address", "/v1/orders/a%0d%0ab", 400, _INVALID, "id"),
    _get("B22", "an end of line in a parameter", "/v1/products?x%0d%0aX-Evil:%201=1", 400, _INVALID, "x??X-Evil: 1"),
    _address("B23", "markup in a text", "<script>", 201, says="<script>"),
    _get("B24", "a page of none, which is the usual one", "/v1/products?pageSize=0", 200),
    _get("B24", "a page of a billion, which is the largest", "/v1/products?pageSize=1000000000", 200),
    *(
        _get("B24", f"a page of {n}", f"/v1/products?pageSize={n}", 400, _INVALID, "pageSize")
        for n in ("-1", "abc", "1.5")
    ),
    _get("B25", "a page token that is none", "/v1/products?pageToken=e30.e30", 400, "INVALID_PAGE_TOKEN"),
    _get("B25", "a page token that was changed", "/v1/products?pageToken={pageToken}x", 400, "INVALID_PAGE_TOKEN"),
    _get("B25", "another query's", "/v1/products?brand=x&pageToken={pageToken}", 400, "INVALID_PAGE_TOKEN"),
    _get("B26", "an order that is none", "/v1/products?orderBy=password_hash", 400, _INVALID, "orderBy"),
    _get("B27", "a parameter twice", "/v1/products?pageSize=1&pageSize=2", 400, _INVALID, "pageSize"),
    Row("B28", "an order without a key", "POST", "/v1/orders", 400, "IDEMPOTENCY_KEY_REQUIRED", body=_WISH),
    *(
        _order("B29", f"the key {each[:12]!r}", 400, _INVALID, "Idempotency-Key", key=each)
        for each in ("x" * 256, "", "schlüssel", "a b")
    ),
    _order("B30", "a first order with a key", 201, "", key="{kept}"),
    _order("B30", "its key for another one", 422, "IDEMPOTENCY_KEY_REUSED", key="{kept}", paymentMethod="pm_other"),
    _address("B32", "its key by somebody else", "home", 201, who="other", key="{kept}"),
    _profile("B33", "a change of nothing known", 428, "ETAG_REQUIRED"),
    _profile("B34", "a change of what is past", 412, "ETAG_MISMATCH", If_Match='"999"'),
    _order("B35", "101 lines", 400, _INVALID, "lines", lines=[{"sku": f"s{n}", "quantity": 1} for n in range(101)]),
    _order("B35", "a product twice", 400, _INVALID, "lines[1].sku", lines=[{"sku": "{sku}", "quantity": 1}] * 2),
    _order("B36", "a product that is not sold", 409, "UNKNOWN_SKU", lines=[{"sku": "unheard-of", "quantity": 1}]),
    _order("B37", "more than there is", 409, "OUT_OF_STOCK", lines=[{"sku": "{sku}", "quantity": 99}]),
    _order("B38", "a card that declines", 402, "PAYMENT_DECLINED", paymentMethod="pm_card_visa_chargeDeclined"),
    _post("B39", "cancelling what was delivered", "/v1/orders/{delivered}:cancel", _WHY, 409, "TOO_LATE_TO_CANCEL"),
    _post("B39", "cancelling", "/v1/orders/{order}:cancel", _WHY, 200, changes=True),
    _post("B39", "cancelling once more", "/v1/orders/{order}:cancel", _WHY, 200, says='"state":"CANCELLED"'),
    _refund("more money back than was paid", 409, "REFUND_EXCEEDS_CAPTURE", units="999999"),
    _refund("less than nothing back", 400, _INVALID, "amount", units="-1"),
    _refund("other money back", 409, "CURRENCY_MISMATCH", currencyCode="EUR"),
    _get("B42", "an address that is none", "/v1/nothing", 404, "ROUTE_NOT_FOUND"),
    Row("B42", "a method that is not for it", "PUT", "/v1/products", 405, "METHOD_NOT_ALLOWED", body={}),
    Row("B42", "a method that is none", "PROPFIND", "/v1/products", 405, "METHOD_NOT_ALLOWED"),
    Row("B43", "TRACE", "TRACE", "/v1/products", 405, "METHOD_NOT_ALLOWED"),
    _get("B43", "another method in a header", "/v1/orders/{order}", 200, headers={"X-HTTP-Method-Override": "DELETE"}),
    *(
        _get("B44", f"the address {each}", f"/v1{each}", 404, "ROUTE_NOT_FOUND")
        for each in ("/products/../users", "/products/%2e%2e/users", "//products", "/products;a=b", "/x/..%2fusers")
    ),
    _get("B46", "who somebody says to be", "/v1/orders", 401, "UNAUTHENTICATED", who=_NOBODY, headers=_CLAIMS),
    _get("B47", "17 KB of headers", "/v1/products", 431, "HEADERS_TOO_LARGE", headers={"X-Long": "x" * 17_000}),
    _get("B47", "200 headers", "/v1/products", 431, headers={f"X-{number}": "1" for number in range(200)}),
    _post("B49", "a webhook that nobody signed", "/webhooks/stripe", {}, 401, "BAD_SIGNATURE", headers=_UNSIGNED),
    *(
        _register("B52", f"the e-mail {each[:24]!r}", 400, "email", email=each)
        for each in ("a" * 320 + "@mercato.example", "no-at", "a@b@c.example", "a b@mercato.example", "a@b.example\n")
    ),
    _register("B52", "an e-mail with a tag", 201, email="{mark}+tag.x_y-z@mercato.example"),
    _register("B53", "a password of 7", 400, "password", password="7 short"),
    _register("B53", "a password that many have", 400, "password", "PASSWORD_TOO_COMMON", password="password123"),
    _register("B53", "a password of 1,025 bytes", 400, "password", password="long " * 205),
    _register("B53", "a password of 129", 201, password="129 characters " + "x" * 114),
)

_GATEWAY, _COMPONENT = "tests/component/gateway", "tests/component"
_OLD = "test_b49_an_old_webhook_is_refused_and_a_new_one_without_news_is_not"
ELSEWHERE: Mapping[str, str] = {
    "B5": f"{_GATEWAY}/test_edge.py::test_an_endless_body_is_cut_at_the_limit",
    "B6": f"{_GATEWAY}/test_framing.py::test_no_two_readers_of_a_request_would_differ_about_where_it_ends",
    "B31": f"{_COMPONENT}/test_idempotency.py::test_who_waits_longer_than_a_second_hears_that_the_key_is_in_use",
    "B45": f"{_GATEWAY}/test_slow.py::test_no_answer_repeats_whom_a_request_says_to_be_for",
    "B48": f"{_GATEWAY}/test_slow.py::test_bodies_that_come_too_slowly_are_given_up_and_nobody_else_notices",
    "B49": f"{_COMPONENT}/test_payment_webhooks.py::{_OLD}",
    "B51": f"{_GATEWAY}/test_rates.py::test_an_address_that_asks_too_often_is_told_when_to_come_again",
}
"""Rows, or further parts of them, that need a gateway or a service of their own."""

DOES_NOT_APPLY: Mapping[str, str] = {
    "B41": "there are no coupons",
    "B50": "no field of any contract is an address that somebody of ours would call (a test holds the contracts to it)",
}
