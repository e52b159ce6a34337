"""Requests held against the rules of their contract (buf.validate)."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from google.protobuf.message import Message

from mercato.errors import FieldViolation, InvalidArgument

_TOLD = 20  # violations; more would not fit into the headers that carry them, and help nobody


@cache
def _validator() -> Any:
    # Imported with the first servicer: processes that serve nothing do not pay for it.
    import protovalidate

    return protovalidate.Validator()


def warm(types: Iterable[type[Message]]) -> None:
    """Compile the rules of messages before the first call waits for it."""
    for each in types:
        _validator().collect_violations(each())


def validate(message: Message) -> None:
    """InvalidArgument with every field that breaks a rule, named as JSON names it."""
    if violations := _validator().collect_violations(message):
        raise InvalidArgument.about(map(_violation, violations[:_TOLD]))


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
