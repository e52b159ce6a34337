"""Bad input over gRPC, past the gateway: the rows G1 to G24 of the matrix, each with what is sent and the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.type import money_pb2

from mercato.api.order.v1 import order_pb2
from mercato.api.payment.v1 import payment_pb2
from mercato.api.product.v1 import product_pb2

PRODUCT, ORDER, PAYMENT = "product", "order", "payment"
_ID = "01900000-0000-7000-8000-000000000001"
_LISTS = "/mercato.api.product.v1.ProductService/ListProducts"
_BATCH = "/mercato.api.product.v1.ProductService/BatchGetProducts"
_ORDERS = "/mercato.api.order.v1.OrderService/"
_PLACES = f"{_ORDERS}PlaceOrder"
_SETS = f"{_ORDERS}SetCartLine"
_REFUND = "/mercato.api.payment.v1.PaymentService/RefundPayment"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a call to an rpc, and the status that it gets, with the reason and a field of it."""

    id: str
    about: str
    service: str
    path: str
    request: Any
    code: str
    reason: str = ""
    names: str = ""
    token: str = "customer"
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout: float | None = 20.0

    @property
    def content(self) -> bytes:
        """The message as bytes."""
        return self.request if isinstance(self.request, bytes) else bytes(self.request.SerializePartialToString())


def _no(id_: str, about: str, service: str, path: str, request: Any, names: str, token: str = "customer") -> Row:
    """A row about a message that is not valid."""
    return Row(id_, about, service, path, request, "INVALID_ARGUMENT", "VALIDATION_FAILED", names, token)


def _refund(about: str, names: str, **amount: Any) -> Row:
    money = money_pb2.Money(**{"currency_code": "USD", "units": 1, **amount})
    request = payment_pb2.RefundPaymentRequest(id=_ID, amount=money, reason="x", request_id="key")
    return _no("G11", about, PAYMENT, _REFUND, request, names, "finance")


def _since(about: str, names: str, **since: int) -> Row:
    request = order_pb2.ListOrdersRequest()
    request.since.seconds, request.since.nanos = since.get("seconds", 0), since.get("nanos", 0)
    return _no("G12", about, ORDER, f"{_ORDERS}ListOrders", request, names)


def _cart(about: str, token: str) -> Row:
    claims, request = (("x-user", "admin"), ("x-roles", "admin")), order_pb2.GetCartRequest()
    return Row("G4", about, ORDER, f"{_ORDERS}GetCart", request, *_NOBODY, token=token, metadata=claims)


def _odd_state() -> product_pb2.ListProductsRequest:
    request = product_pb2.ListProductsRequest()
    setattr(request, "state", 99)  # noqa: B010  as no checker would let one write it
    return request


_NOBODY = ("UNAUTHENTICATED", "UNAUTHENTICATED")
_TOO_LARGE = ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
_UNREADABLE = ("INVALID_ARGUMENT", "UNREADABLE_MESSAGE")
_NOTHING = product_pb2.ListProductsRequest()
_EMPTY = order_pb2.PlaceOrderRequest(request_id="key")
_LINE = order_pb2.PlaceOrderRequest(request_id="key", lines=[order_pb2.LineQuantity()])
_STALE = order_pb2.SetCartLineRequest(sku="e2e-000", quantity=1, etag="99")

# The table. A reason that is empty where a call is refused: gRPC itself did it, before anything of ours saw the call.
ROWS: Sequence[Row] = (
    Row("G1", "no deadline", PRODUCT, _LISTS, _NOTHING, "OK", timeout=None),
    Row("G2", "ten days", PRODUCT, _LISTS, _NOTHING, "OK", timeout=864_000.0),
    _cart("no token, but a name", ""),
    _cart("a token for another service", "another's"),
    _cart("a token that was changed", "forged"),
    _cart("a token that is none", "rubbish"),
    Row("G5", "300 KB", PRODUCT, _LISTS, product_pb2.ListProductsRequest(brand="x" * 300_000), *_TOO_LARGE),
    Row("G6", "20 KB of metadata", PRODUCT, _LISTS, _NOTHING, "RESOURCE_EXHAUSTED", metadata=(("x", "x" * 20_000),)),
    Row("G7", "bytes that are no message", PRODUCT, _LISTS, b"\xff" * 64, *_UNREADABLE),
    Row("G7", "a message that ends too early", PRODUCT, _LISTS, b"\x0a\x7f", *_UNREADABLE),
    _no("G9", "a state that is none", PRODUCT, _LISTS, _odd_state(), "state", "catalog"),
    _no("G10", "nothing in it", ORDER, _PLACES, _EMPTY, "addressId"),
    _no("G10", "nothing in a line", ORDER, _PLACES, _LINE, "lines[0].sku"),
    _refund("nanos that are more than a unit", "amount.nanos", nanos=1_000_000_000),
    _refund("a sign each way", "amount.nanos", nanos=-1),
    _refund("no currency", "amount.currencyCode", currency_code=""),
    _refund("more than any account holds", "amount.units", units=2**63 - 1),
    _since("a time after the last", "since", seconds=253_402_300_800),
    _since("a time before the first", "since", seconds=-62_135_596_801),
    _since("less than no nanoseconds", "since.nanos", nanos=-1),
    _no("G13", "100,001 ids", PRODUCT, _BATCH, b"\x0a\x00" * 100_001, "ids"),
    Row("G13", "1,000,001 ids", PRODUCT, _BATCH, b"\x0a\x00" * 1_000_001, *_TOO_LARGE),
    Row("G14", "an rpc that there is not", PRODUCT, f"{_LISTS}x", b"", "UNIMPLEMENTED"),
    Row("G14", "another service's rpc", PRODUCT, _PLACES, b"", "UNIMPLEMENTED"),
    Row("G14", "a path that is none", PRODUCT, "/nothing", b"", "UNIMPLEMENTED"),
    Row("G20", "a version that is past", ORDER, _SETS, _STALE, "ABORTED", "ETAG_MISMATCH"),
)

_RPC, _FLOODS = "tests/component/test_rpc.py", "tests/component/test_floods.py"
ELSEWHERE: Mapping[str, str] = {
    "G1": f"{_RPC}::test_every_call_has_an_end",
    "G2": f"{_RPC}::test_a_call_that_is_over_before_it_began_does_no_work",
    "G8": "tests/e2e/test_bad_input.py::test_no_public_message_has_a_depth_without_a_bound",
    "G15": "tests/component/test_runtime.py::test_reflection_is_for_development_alone",
    "G16": f"{_FLOODS}::test_ten_thousand_streams_on_one_connection_keep_nobody_else_out",
    "G17": f"{_FLOODS}::test_who_pings_too_often_is_sent_away",
    "G18": f"{_FLOODS}::test_a_caller_who_leaves_does_not_keep_a_thread_or_a_connection",
    "G19": "tests/unit/test_status.py::test_the_status_text_is_short_printable_ascii",
    "G21": "tests/component/test_idempotency.py::test_a_repeat_is_answered_with_what_the_first_made",
    "G22": f"{_RPC}::test_the_limit_counts_what_a_message_unpacks_to",
    "G24": f"{_FLOODS}::test_streams_that_are_reset_at_once_keep_nobody_else_out",
}

DOES_NOT_APPLY: Mapping[str, str] = {
    "G3": "services know each other by signed tokens, not by certificates: see G4; TLS is the cluster's",
    "G23": "services speak plaintext within the cluster: there is no TLS port",
}
