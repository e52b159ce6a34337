"""The codec held against protobuf's own, on every message of every contract."""

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import published, rpcs
from gateway.json_text import MalformedJson, loads
from gateway.reader import reader
from gateway.values import Refused
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


def _fields(sample_files: list[FileDescriptor]) -> Iterator[FieldDescriptor]:
    """A field of each kind that a contract has: by type, repeated or not, in a choice or not, a map's by its parts."""
    seen = set()
    thing = sample_files[0].message_types_by_name["Thing"]
    for descriptor in (thing, thing.fields_by_name["inner"].message_type, *MESSAGES.values()):
        assert descriptor
        for field in descriptor.fields:
            inner, choice = field.message_type, field.containing_oneof
            entry = inner is not None and inner.GetOptions().map_entry
            parts = tuple((part.type, part.enum_type) for part in inner.fields) if entry and inner else ()
            known = inner.full_name if inner is not None and inner.file.package.startswith("google.protobuf") else ""
            kind = (field.type, field.is_repeated, known, parts, choice is not None, field.json_name == field.name)
            if kind not in seen:
                seen.add(kind)
                yield field


ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -0.0,
        1,
        -1,
        1.0,
        1.5,
        -7,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        2**32,
        2**53 + 1,
        2**63,
        -(2**63) - 1,
    ),
    *(
        2**64,
        1e3,
        1e20,
        1e39,
        1e308,
        "",
        "0",
        "1",
        "-1",
        "+1",
        "01",
        " 1",
        "1 ",
        "1.0",
        "1.5",
        "1e2",
        "0x1",
        "1_000",
        "٣",
    ),
    *(
        "true",
        "false",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        "x",
        "é",
        "🥛",
        "aGk=",
        "aGk",
        "a-_b",
        "a+/b",
        "a",
        "====",
        "!",
    ),
    *("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.5Z", "2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00+01:00"),
    *(
        "2026-02-30T08:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T08:00:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ),
    *("9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.5Z", "2026-01-31 08:00:00Z", "2026-01-31T08:00:00"),
    *(
        "1s",
        "1.5s",
        "-1.5s",
        "1",
        "s",
        "315576000001s",
        "a",
        "aB,c",
        "a_b",
        "a,,b",
        "DRAFT",
        "ACTIVE",
        "draft",
        "STATE_UNSPECIFIED",
    ),
    *(
        [],
        {},
        [None],
        [1],
        ["1"],
        [[]],
        [{}],
        [1, "x"],
        {"a": 1},
        {"1": "a"},
        {"true": "a"},
        {"a": "b"},
        {"id": "a"},
        {"1": {}},
    ),
]
# What protobuf's own reader takes by accident, and ours refuses: Python's int() and float() read more than JSON has,
# whatever is no base64 is passed over, what is empty is taken for an empty message. NaN is no number of api.md's.
_LOOSE = ["+1", " 1", "1 ", "01", "1_000", "٣", True, False, "NaN", "Infinity", "-Infinity"]
ACCIDENTS: dict[int, list[Any]] = {
    FieldDescriptor.TYPE_MESSAGE: ["", [], [[]]],
    FieldDescriptor.TYPE_BYTES: [odd for odd in ODD if isinstance(odd, str)],
    FieldDescriptor.TYPE_ENUM: [*_LOOSE, "0", "1", "-1", 1.5, 2**32, 2**53 + 1],
}


def test_each_kind_of_field_takes_and_refuses_what_protobuf_does(sample_files: list[FileDescriptor]) -> None:
    compared, differing = 0, []
    for field in _fields(sample_files):
        kind = GetMessageClass(field.containing_type)  # type: ignore[arg-type]  # a field stands in a message
        for odd in ODD:
            text = json.dumps({field.json_name: odd})
            theirs, ours = _outcome(kind, text, json_format.Parse), _outcome(kind, text, _ours)
            compared += 1
            loose = ours is None and repr(odd) in map(repr, ACCIDENTS.get(field.type, _LOOSE))
            if ours != theirs and not loose:
                differing.append((field.full_name, text, str(theirs)[:60], str(ours)[:60]))
    assert compared > 1000
    assert not differing, "\n".join(map(str, differing))


def _ours(text: str, message: Any) -> Any:
    reader(message.DESCRIPTOR).merge(message, loads(text.encode()))
    return message


def _outcome(kind: Any, text: str, parse: Any) -> Any:
    """The message that a text is; None if it is refused."""
    try:
        return parse(text, kind())
    except (json_format.ParseError, Refused, MalformedJson):
        return None


@given(st.floats(width=32))
def test_short_floats_are_written_short(number: float) -> None:
    shown = _float(number)
    if math.isfinite(number):
        assert struct.pack("<f", shown) == struct.pack("<f", number)
        assert len(f"{shown!r}") <= len(f"{number!r}")
    else:
        assert shown in ("NaN", "Infinity", "-Infinity")
