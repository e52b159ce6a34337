"""Examples that are accepted: what the contracts name as such, else what their rules allow.

They stand in the document, are what its page sends when one tries an operation out, and a test sends each of them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from gateway.contract import ETAG, MASK, REQUEST_ID
from gateway.rows import LIST
from gateway.schema import is_required, rules_of
from gateway.values import single

ID = "0190a6e0-0000-7000-8000-00000000000a"
_TIME = "google.protobuf.Timestamp"
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "google.type.Money": {"currencyCode": "USD", "units": "4", "nanos": 990000000},
    "google.type.LatLng": {"latitude": 39.1031, "longitude": -84.5120},
}
_WORDS = ("milk", "1", "2026-01-31", "me", "a")
_DEPTH = 3
# These are the service's to say, or follow from what it said before.
_GIVEN = frozenset({"id", ETAG, "create_time", "update_time", "expected_total", MASK, REQUEST_ID})


class Examples:
    """Makes examples of messages, whose comments say which fields are not a client's to set."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments

    def message(self, message: Descriptor, without: frozenset[str] = frozenset(), depth: int = _DEPTH) -> Any:
        """An example of a message as JSON; optional parts of it stop at a depth."""
        if message.full_name in KNOWN:
            return dict(KNOWN[message.full_name])
        fields = (field for field in message.fields if field.name not in without and self._is_settable(field))
        return {field.json_name: value for field in _chosen(fields) if (value := self._field(field, depth)) is not None}

    def _is_settable(self, field: FieldDescriptor) -> bool:
        return is_required(field) or not (
            field.name in _GIVEN or "Output only" in self._comments.get(field.full_name, "")
        )

    def _field(self, field: FieldDescriptor, depth: int) -> Any:
        """An example of a field; None if it is better left out."""
        rules, inner = rules_of(field), field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            return None
        if field.is_repeated:
            return self._list(field, rules.repeated, depth)
        if single(field) is None:
            assert inner
            return self.message(inner, frozenset(), depth - 1) if depth else None
        return value_of(field, rules)

    def value(self, field: FieldDescriptor) -> Any:
        """An example of a parameter; a list's is one value of it."""
        return self._field(field, 0)

    def _list(self, field: FieldDescriptor, rules: Any, depth: int) -> Any:
        if single(field) is None:
            assert field.message_type
            return [self.message(field.message_type, frozenset(), depth - 1)] if depth else None
        value = value_of(field, rules.items)
        return None if value is None else [value]

    def row(self, message: Descriptor, hidden: frozenset[str]) -> Mapping[str, str]:
        """An example of a row of CSV: cells by the names of their columns."""
        return dict(_cells(self.message(message, hidden), ""))


def _cells(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, held in value.items():
        if isinstance(held, dict):
            yield from _cells(held, f"{prefix}{name}.")
        elif not isinstance(held, list):
            yield prefix + name, str(held)
        elif not any(isinstance(each, dict) for each in held):
            yield prefix + name, LIST.join(map(str, held))


def _chosen(fields: Iterator[FieldDescriptor]) -> Iterator[FieldDescriptor]:
    """The fields, of each choice the first."""
    seen: set[str] = set()
    for field in fields:
        choice = field.containing_oneof
        if choice is None or choice.name not in seen:
            yield field
        if choice is not None:
            seen.add(choice.name)


def value_of(field: FieldDescriptor, rules: Any) -> Any:
    """An example of a single value; None where there is no telling."""
    if field.enum_type is not None:
        return next((value.name for value in field.enum_type.values if value.number), None)
    if field.message_type is not None:
        return "2026-01-31T08:00:00Z" if field.message_type.full_name == _TIME else None
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and rules.string.uuid:
        return None  # it may name something, and whatever we named would not be there
    kind = rules.WhichOneof("type")
    given = getattr(rules, kind) if kind else None
    if given is not None and given.example:
        return _as_json(field, given.example[0])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(given) if given else ID if field.name == "id" else None
    return _number(field, given)


def _text(rules: Any) -> str | None:
    if rules.uuid:
        return ID
    if values := [each for each in getattr(rules, "in") if each]:
        return str(values[0])
    if rules.pattern:
        return next((each for each in (*_WORDS, ID) if re.search(rules.pattern, each)), None)
    return "milk" if rules.min_len or rules.min_bytes else None


def _number(field: FieldDescriptor, rules: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return None
    least = rules.gt + 1 if rules is not None and rules.HasField("gt") else 1
    if rules is not None and rules.HasField("gte"):
        least = max(least, rules.gte)
    return _as_json(field, least)


def _as_json(field: FieldDescriptor, value: Any) -> Any:
    is_long = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    return str(value) if is_long else value
