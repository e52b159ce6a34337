"""Errors on the wire: one table, both ways."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from mercato import errors
from mercato.errors import FieldViolation, InvalidArgument, MercatoError, Overloaded
from mercato.rpc.status import (
    CATEGORY_OF,
    CODE_OF,
    DETAILS,
    PUSHBACK,
    code_of,
    error_of,
    error_of_call,
    text_of,
    trailers_of,
)

Code = grpc.StatusCode
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)


class SoldOut(errors.FailedPrecondition):
    """Nothing left."""


def over_the_wire(error: MercatoError) -> MercatoError:
    """What a client makes of what a server sends."""
    return error_of(code_of(error), text_of(error), trailers_of(error))


@pytest.mark.parametrize(
    ("category", "code"),
    [
        (errors.InvalidArgument, Code.INVALID_ARGUMENT),
        (errors.NotFound, Code.NOT_FOUND),
        (errors.AlreadyExists, Code.ALREADY_EXISTS),
        (errors.FailedPrecondition, Code.FAILED_PRECONDITION),
        (errors.Conflict, Code.ABORTED),
        (errors.PermissionDenied, Code.PERMISSION_DENIED),
        (errors.Unauthenticated, Code.UNAUTHENTICATED),
        (errors.ResourceExhausted, Code.RESOURCE_EXHAUSTED),
        (errors.Unavailable, Code.UNAVAILABLE),
        (errors.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
        (errors.Cancelled, Code.CANCELLED),
        (errors.Unimplemented, Code.UNIMPLEMENTED),
        (errors.Internal, Code.INTERNAL),
    ],
)
def test_a_category_is_a_code_and_the_code_is_that_category(
    category: type[MercatoError], code: grpc.StatusCode
) -> None:
    assert code_of(category()) is code
    assert type(over_the_wire(category())) is category


@pytest.mark.parametrize(
    ("code", "category"),
    [
        (Code.OUT_OF_RANGE, errors.InvalidArgument),
        (Code.UNKNOWN, errors.Internal),
        (Code.DATA_LOSS, errors.Internal),
        (Code.OK, errors.Internal),
    ],
)
def test_a_code_that_we_never_send_has_a_category_too(code: grpc.StatusCode, category: type[MercatoError]) -> None:
    assert type(error_of(code, "", ())) is category


def test_the_tables_leave_no_code_and_no_category_out() -> None:
    assert set(CATEGORY_OF) == set(Code)
    assert set(CODE_OF) == set(errors.CATEGORIES)


def test_a_caller_catches_the_class_that_was_raised() -> None:
    error = over_the_wire(SoldOut("no milk", sku="milk", available=0, skus=[{"sku": "milk", "wanted": 2}]).after(1.5))
    assert type(error) is SoldOut
    assert error.message == "no milk"
    assert error.metadata == {"sku": "milk", "available": 0, "skus": [{"sku": "milk", "wanted": 2}]}
    assert error.retry_after == 1.5


@given(st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), JSON, max_size=4))
def test_metadata_comes_back_as_what_it_was(metadata: dict[str, object]) -> None:
    assert over_the_wire(SoldOut("", **metadata)).metadata == metadata


def test_wrong_fields_travel_with_their_names() -> None:
    violation = FieldViolation("lines[0].quantity", "RANGE", "must be at most 99")
    assert over_the_wire(InvalidArgument.about([violation])).fields == (violation,)


@given(st.text(max_size=3000))
def test_the_status_text_is_short_printable_ascii(text: str) -> None:
    sent = text_of(errors.NotFound(text))
    assert len(sent) <= 1024
    assert sent.isascii()
    assert not any(each in sent for each in "\r\n\0")


def test_details_too_large_for_a_header_are_left_out_and_the_reason_stays() -> None:
    error = SoldOut("", skus=["x" * 100] * 1000)
    assert sum(len(value) for _, value in trailers_of(error)) < 6000
    assert over_the_wire(error).reason == "SOLD_OUT"


def test_a_refusal_for_overload_tells_channels_when_to_come_back() -> None:
    assert dict(trailers_of(Overloaded()))[PUSHBACK] == "100"


@pytest.mark.parametrize("rubbish", [b"\xff\xff\xff", b"", b"\x1a\x02\xff\xff"])
def test_details_that_nobody_can_read_are_no_details(rubbish: bytes) -> None:
    error = error_of(Code.NOT_FOUND, "gone", [(DETAILS, rubbish)])
    assert (type(error), error.reason, error.message) == (errors.NotFound, "", "gone")


def test_details_of_a_kind_that_we_do_not_know_are_passed_over() -> None:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.Help())
    status = status_pb2.Status(details=[packed])
    assert error_of(Code.NOT_FOUND, "", [(DETAILS, status.SerializeToString())]).reason == ""


class Failed:
    """A call that ended badly."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self._code, self._text = code, text

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> None:
        return None


def test_a_call_that_the_callee_cancelled_found_it_unavailable() -> None:
    assert type(error_of_call(Failed(Code.CANCELLED, "shutting down"))) is errors.Unavailable


def test_a_message_that_grpc_itself_found_too_large_has_its_reason() -> None:
    failed = Failed(Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (300018 vs. 262144)")
    assert type(error_of_call(failed)) is errors.MessageTooLarge
