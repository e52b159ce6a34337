"""Requests held against the rules of their contract (buf.validate)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError, Message

from mercato.errors import FieldViolation, InvalidArgument

_TOLD = 20  # violations; more would not fit into the headers that carry them, and help nobody
# Bytes above which a message is looked at until its first violation: 100,000 items that are wrong each cost 27 us.
_LARGE = 4096


@cache
def _validator() -> Any:
    # Imported with the first servicer: processes that serve nothing do not pay for it.
    import protovalidate

    return protovalidate.Validator()


def warm(types: Iterable[type[Message]]) -> None:
    """Compile the rules of messages before the first call waits for it."""
    for each in types:
        _validator().collect_violations(each())


class UnreadableMessage(InvalidArgument):
    """The request is no message of its type."""


UNREADABLE: Any = object()
"""What stands in the place of a request whose bytes are no message."""


def read(cls: type[Message], raw: bytes) -> Any:
    """The request that bytes are. What is none becomes UNREADABLE, which is refused as everything else is.

    Left to itself, grpcio loses a stream for good at each message that it cannot read (it ends such a call twice):
    after as many as a connection has, nobody gets through on it any more.
    """
    try:
        return cls.FromString(raw)
    except DecodeError:
        return UNREADABLE


def check_readable(request: Any) -> None:
    """UnreadableMessage if there was no message in what came."""
    if request is UNREADABLE:
        raise UnreadableMessage


def validate(message: Message) -> None:
    """InvalidArgument with every field that breaks a rule (of a large message, the first), named as JSON names it."""
    check_readable(message)
    large = message.ByteSize() > _LARGE
    if violations := _validator().collect_violations(message, fail_fast=large):
        raise InvalidArgument.about(map(_violation, violations[:_TOLD]))


def texts_with_nul(message: Any) -> list[FieldViolation]:
    """The fields that hold what PostgreSQL does not keep: looked for once it has refused a text, and not before."""
    return [FieldViolation(name, "MALFORMED", "must not contain the character NUL") for name in _with_nul(message, "")]


def _with_nul(value: Any, name: str) -> Iterator[str]:
    match value:
        case str():
            if "\0" in value:
                yield name
        case Message():
            for field, below in value.ListFields():
                yield from _with_nul(below, f"{name}.{field.json_name}".lstrip("."))
        case Mapping():
            for key, below in value.items():
                yield from _with_nul(below, f"{name}[{key}]")
        case Sequence() if not isinstance(value, bytes):
            for index, below in enumerate(value):
                yield from _with_nul(below, f"{name}[{index}]")


def _violation(violation: Any) -> FieldViolation:
    proto = violation.proto
    field = ".".join(map(_element, proto.field.elements)) if proto.field else ""
    return FieldViolation(field, _reason(proto.rule_id), proto.message or "is not valid")


def _element(element: Any) -> str:
    subscript = element.subscript
    name = _json_name(element.field_name)
    return name if subscript is None else f"{name}[{_index(subscript)}]"


def _index(subscript: Any) -> str:
    return str(getattr(subscript, "value", subscript))


def unchangeable(name: str) -> InvalidArgument:
    """The error of an update mask that names a field which is not the client's to change."""
    return InvalidArgument.of("updateMask", f"{_json_name(name)} cannot be changed", "NOT_CHANGEABLE")


def _json_name(name: str) -> str:
    return re.sub(r"_+(.)", lambda match: match[1].upper(), name)


def _reason(rule: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", rule.upper()).strip("_") or "INVALID"
