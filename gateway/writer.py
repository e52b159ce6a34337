"""Protobuf messages as proto3 JSON, by writers compiled from descriptors.

Fields without presence are always written, so that a client sees the whole resource; absent messages stay absent.
"""

import base64
import math
import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

Write = Callable[[Any], Any]
# Takes a message and the object that is being written.
Add = Callable[[Any, dict[str, Any]], None]


def dumps(value: Any) -> bytes:
    """A value as compact JSON bytes."""
    return orjson.dumps(value)


class MessageWriter:
    """Writes messages of one type as JSON objects."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._adders: list[Add] | None = None

    def __call__(self, message: Message) -> dict[str, Any]:
        """The message as a value that `dumps` takes."""
        if self._adders is None:  # not at once: types may contain themselves
            self._adders = [_adder(field) for field in self._descriptor.fields]
        found: dict[str, Any] = {}
        for add in self._adders:
            add(message, found)
        return found


@cache
def writer(descriptor: Descriptor) -> MessageWriter:
    """The writer of a message type."""
    return MessageWriter(descriptor)


def field_writer(field: FieldDescriptor) -> Write:
    """The writer of a whole field's value, lists and maps included."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = _key(field.message_type.fields_by_name["key"])
        value = _value(field.message_type.fields_by_name["value"])
        return lambda entries: {key(each): value(entries[each]) for each in entries}
    write = _value(field)
    return (lambda items: [write(each) for each in items]) if field.is_repeated else write


def _adder(field: FieldDescriptor) -> Add:
    name, shown, write = field.name, field.json_name, field_writer(field)

    def add(message: Any, found: dict[str, Any]) -> None:
        found[shown] = write(getattr(message, name))

    def add_present(message: Any, found: dict[str, Any]) -> None:
        if message.HasField(name):
            found[shown] = write(getattr(message, name))

    return add_present if field.has_presence else add


def _value(field: FieldDescriptor) -> Write:
    if field.enum_type is not None:
        names = {value.number: value.name for value in reversed(field.enum_type.values)}
        return lambda number: names.get(number, number)
    if field.message_type is not None:
        return _STRINGS.get(field.message_type.full_name) or writer(field.message_type)
    return _SCALARS.get(field.type, _same)


def _key(field: FieldDescriptor) -> Write:
    return (lambda value: "true" if value else "false") if field.type == FieldDescriptor.TYPE_BOOL else str


def _same(value: Any) -> Any:
    return value


def _json_string(message: Any) -> str:
    text: str = message.ToJsonString()
    return text


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _double(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float(value: float) -> Any:
    """The shortest number that is this one in 32 bits."""
    if not math.isfinite(value):
        return _double(value)
    candidates = (float(f"{value:.{digits}g}") for digits in range(6, 9))
    return next((each for each in candidates if struct.pack("<f", each) == struct.pack("<f", value)), value)


_SCALARS: Mapping[int, Write] = {
    FieldDescriptor.TYPE_BYTES: _base64,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
}
_STRINGS: Mapping[str, Write] = dict.fromkeys(
    ("google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"), _json_string
)
