"""The codec held against protobuf's own, on every message of every contract."""

import json
import math
import struct
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import published, rpcs
from gateway.json_text import loads
from gateway.reader import reader
from gateway.writer import _float, dumps, writer

MESSAGES = {message.full_name: message for rpc in rpcs(published()) for message in (rpc.input_type, rpc.output_type)}
# Floats are compared where JSON writes the shortest number; NaN and the infinities no reader takes.
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False, allow_infinity=False),
}


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.message_type is not None:
        return messages(field.message_type, depth - 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    return SCALARS[field.cpp_type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 3) -> Message:
    message: Any = GetMessageClass(descriptor)()
    match descriptor.full_name:
        case "google.protobuf.Timestamp":
            message.FromNanoseconds(draw(st.integers(0, 4 * 10**18)))
            return message  # type: ignore[no-any-return]
        case "google.protobuf.Duration":
            message.FromNanoseconds(draw(st.integers(-(10**18), 10**18)))
            return message  # type: ignore[no-any-return]
        case "google.protobuf.FieldMask":
            message.paths.extend(draw(st.lists(st.from_regex(r"[a-z]{1,5}(_[a-z]{1,5})?", fullmatch=True), max_size=3)))
            return message  # type: ignore[no-any-return]
    for field in descriptor.fields:
        if (field.message_type is not None and depth == 0) or draw(st.booleans()):
            continue
        put(draw, message, field, depth)
    return message  # type: ignore[no-any-return]


def put(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        keys = draw(st.lists(SCALARS[FieldDescriptor.CPPTYPE_STRING], max_size=3, unique=True))
        getattr(message, field.name).update({key: draw(values(entry.fields_by_name["value"], depth)) for key in keys})
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(values(field, depth), max_size=3)))
    elif entry is not None:
        getattr(message, field.name).CopyFrom(draw(values(field, depth)))
    else:
        setattr(message, field.name, draw(values(field, depth)))


@pytest.mark.parametrize("name", MESSAGES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_json_is_that_of_proto3_both_ways(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(MESSAGES[name]))
    written = dumps(writer(MESSAGES[name])(message))
    assert json.loads(written) == json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    read = type(message)()
    reader(MESSAGES[name]).merge(read, loads(written))
    assert read == message


@given(st.floats(width=32))
def test_short_floats_are_written_short(number: float) -> None:
    shown = _float(number)
    if math.isfinite(number):
        assert struct.pack("<f", shown) == struct.pack("<f", number)
        assert len(f"{shown!r}") <= len(f"{number!r}")
    else:
        assert shown in ("NaN", "Infinity", "-Infinity")
