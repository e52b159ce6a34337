"""Errors as gRPC statuses and back: the one table of codes, and the details that carry reason, fields and metadata.

Rich errors travel as `grpc-status-details-bin` trailing metadata beside `context.abort`, which is all that
`abort_with_status` does, and works with grpcio-testing too.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from mercato import errors
from mercato.errors import FieldViolation, MercatoError

DOMAIN = "mercato"
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
# Values that are no text travel as JSON under a key that says so, and come back as what they were.
JSON_SUFFIX = "_json"
_LONGEST_TEXT = 1000
_LONGEST_DETAILS = 5000  # of the 8 KiB that a peer takes as metadata, where base64 adds a third

Trailers = Iterable[tuple[str, str | bytes]]
Code = grpc.StatusCode
CODE_OF: Mapping[type[MercatoError], grpc.StatusCode] = {
    errors.InvalidArgument: Code.INVALID_ARGUMENT,
    errors.NotFound: Code.NOT_FOUND,
    errors.AlreadyExists: Code.ALREADY_EXISTS,
    errors.FailedPrecondition: Code.FAILED_PRECONDITION,
    errors.Conflict: Code.ABORTED,
    errors.PermissionDenied: Code.PERMISSION_DENIED,
    errors.Unauthenticated: Code.UNAUTHENTICATED,
    errors.ResourceExhausted: Code.RESOURCE_EXHAUSTED,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.DeadlineExceeded: Code.DEADLINE_EXCEEDED,
    errors.Cancelled: Code.CANCELLED,
    errors.Unimplemented: Code.UNIMPLEMENTED,
    errors.Internal: Code.INTERNAL,
}
# Codes that we never send; libraries and other people's servers may.
_FOREIGN = {
    Code.OUT_OF_RANGE: errors.InvalidArgument,
    Code.UNKNOWN: errors.Internal,
    Code.DATA_LOSS: errors.Internal,
    Code.OK: errors.Internal,
}
CATEGORY_OF: Mapping[grpc.StatusCode, type[MercatoError]] = {
    **{code: category for category, code in CODE_OF.items()},
    **_FOREIGN,
}


def code_of(error: MercatoError) -> grpc.StatusCode:
    """The gRPC code of an error's category."""
    return CODE_OF[errors.category(error)]


def text_of(error: MercatoError) -> str:
    """The status text: at most 1 KB of printable ASCII, for it travels in a header."""
    printable = (each if " " <= each <= "~" else "?" for each in error.message[:_LONGEST_TEXT])
    return "".join(printable)


def details_of(error: MercatoError) -> bytes:
    """The error as a serialized google.rpc.Status; without metadata and fields if those are too much for a header."""
    details: bytes = _status(error, _parts(error)).SerializeToString()
    if len(details) > _LONGEST_DETAILS:
        details = _status(error, [_info(error.reason, {})]).SerializeToString()
    return details


def _status(error: MercatoError, parts: Iterable[Message]) -> Any:
    code: tuple[int, str] = code_of(error).value
    status = status_pb2.Status(code=code[0], message=text_of(error))
    for part in parts:
        status.details.add().Pack(part)
    return status


def _parts(error: MercatoError) -> Iterable[Message]:
    yield _info(error.reason, error.metadata)
    if error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.field, reason=each.reason, description=each.message)
            for each in error.fields
        ]
        yield error_details_pb2.BadRequest(field_violations=violations)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _info(reason: str, metadata: Mapping[str, object]) -> Any:
    texts = dict(_texts(metadata))
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=texts)


def _texts(metadata: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for name, value in metadata.items():
        if isinstance(value, str):
            yield name, value
        else:
            yield name + JSON_SUFFIX, json.dumps(value, default=str, separators=(",", ":"))


def trailers_of(error: MercatoError) -> list[tuple[str, str | bytes]]:
    """The trailing metadata of an error."""
    trailers: list[tuple[str, str | bytes]] = [(DETAILS, details_of(error))]
    if isinstance(error, errors.Overloaded) and error.retry_after is not None:
        trailers.append((PUSHBACK, str(round(error.retry_after * 1000))))
    return trailers


def error_of(
    code: grpc.StatusCode, text: str | None, trailing: Iterable[tuple[str, str | bytes]] | None
) -> MercatoError:
    """The error that a status stands for, as the class that this process has registered for its reason."""
    category, details = CATEGORY_OF.get(code, errors.Internal), _details(trailing)
    info = details.get("ErrorInfo")
    if info is None:
        return _without_details(category, text or "")
    metadata = dict(map(_value, info.metadata.items()))
    error = errors.revive(category, info.reason, text or "", metadata)
    if bad := details.get("BadRequest"):
        error.fields = tuple(FieldViolation(each.field, each.reason, each.description) for each in bad.field_violations)
    if retry := details.get("RetryInfo"):
        error.retry_after = retry.retry_delay.ToMilliseconds() / 1000
    return error


def error_of_call(failed: Any) -> MercatoError:
    """The error behind a failed call: a grpc.RpcError of a channel, or a grpc.aio.AioRpcError."""
    return heard(failed.code(), failed.details(), failed.trailing_metadata())


def heard(code: grpc.StatusCode, text: str | None, trailing: Iterable[tuple[str, str | bytes]] | None) -> MercatoError:
    """The error that a caller is to raise for the status of its call."""
    if code is Code.CANCELLED:
        # We never cancel (asyncio raises its own error when we do): it was the callee, stopping with the call in hand.
        return errors.Unavailable("the callee went away").after(0.1)
    return error_of(code, text, trailing)


def _without_details(category: type[MercatoError], text: str) -> MercatoError:
    # gRPC itself refuses a message above the limit, and has no other mark for it than its words.
    if category is errors.ResourceExhausted and "larger than max" in text:
        return errors.MessageTooLarge()
    return errors.revive(category, "", text, {})


_PARTS: tuple[Any, ...] = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
_KNOWN: Mapping[str, Any] = {each.DESCRIPTOR.full_name: each for each in _PARTS}


def _details(trailing: Trailers | None) -> dict[str, Any]:
    raw: Any = next((value for name, value in trailing or () if name == DETAILS), b"")
    try:
        packed = status_pb2.Status.FromString(raw).details
        return {cls.DESCRIPTOR.name: cls.FromString(each.value) for each in packed if (cls := _class(each))}
    except DecodeError:
        return {}


def _class(packed: AnyMessage) -> Any:
    return _KNOWN.get(packed.type_url.rpartition("/")[2])


def _value(entry: tuple[str, str]) -> tuple[str, object]:
    name, text = entry
    if not name.endswith(JSON_SUFFIX):
        return name, text
    try:
        return name.removesuffix(JSON_SUFFIX), json.loads(text)
    except ValueError:
        return name, text
