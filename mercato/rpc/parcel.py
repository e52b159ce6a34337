"""Calls, and what became of them, as they lie in a message of those that travel together."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import grpc

from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.errors import MercatoError
from mercato.rpc import status

Metadata = Iterable[tuple[str, Any]]
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def pack(method: str, request: bytes, remaining: float | None, metadata: Metadata) -> pb.Item:
    """A call. None of its time may be left: then it is refused over there, as it would be alone."""
    remaining_us = 0 if remaining is None else max(1, int(remaining * 1e6))
    return pb.Item(method=method, request=request, remaining_us=remaining_us, metadata=_texts(metadata))


def metadata_of(item: pb.Item) -> dict[str, str]:
    """The metadata of a call."""
    return dict(_pairs(item.metadata))


def pack_outcome(reply: Any, error: MercatoError | None, trailers: Metadata) -> pb.Outcome:
    """What became of a call: a reply or an error, and its trailing metadata."""
    trailing = dict(trailers)
    details = trailing.pop(status.DETAILS, b"")
    texts = _texts(trailing.items())
    if error is None:
        return pb.Outcome(reply=reply.SerializeToString(), trailing=texts)
    code: tuple[int, str] = status.code_of(error).value
    return pb.Outcome(code=code[0], message=status.text_of(error), details=details, trailing=texts)


def error_in(outcome: pb.Outcome) -> MercatoError | None:
    """What its caller is to raise; None if there is a reply."""
    return status.heard(*status_of(outcome)) if outcome.code else None


def status_of(outcome: pb.Outcome) -> tuple[grpc.StatusCode, str, list[tuple[str, Any]]]:
    """The status of a call that was refused, as it would be if it had come alone: code, text, trailing metadata."""
    details = [(status.DETAILS, outcome.details)] if outcome.details else []
    return _CODES.get(outcome.code, grpc.StatusCode.UNKNOWN), outcome.message, [*trailing_of(outcome), *details]


def trailing_of(outcome: pb.Outcome) -> list[tuple[str, str]]:
    """The trailing metadata of a call, without the details of its status."""
    return list(_pairs(outcome.trailing))


def _texts(pairs: Metadata) -> list[str]:
    return list(chain.from_iterable(pairs))


def _pairs(texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(texts[::2], texts[1::2], strict=False)
