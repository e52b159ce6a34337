"""Protobuf messages from JSON, by readers compiled from descriptors.

Stricter than proto3 JSON asks: a field nobody knows, or one given under both of its names, is refused and named.

A reader is a Python function made for its message type: each field is looked for by its names, and what is left over
nobody knows. A loop over the keys, with a closure for each field, took twice as long.
"""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.values import Read, Refused, are_plain, shown, single, utc, wrong

Set = Callable[[Any, Any], None]

_NOT_AT_THE_EDGE = frozenset({"google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value"})
_MISSING: Final = object()
# What most values of a type are, and what is stored then; any other is looked at by `values`.
_USUAL = {
    FieldDescriptor.TYPE_STRING: ("type(item) is str and item.isascii() and '\\0' not in item", "item"),
    FieldDescriptor.TYPE_BOOL: ("item is True or item is False", "item"),
    FieldDescriptor.TYPE_INT32: ("type(item) is int and -2147483648 <= item <= 2147483647", "item"),
    FieldDescriptor.TYPE_INT64: (
        "type(item) is str and len(item) < 19 and item.isascii() and item.isdigit()",
        "int(item)",
    ),
}


class MessageReader:
    """Reads JSON objects into messages of one type."""

    def __init__(self, descriptor: Descriptor, hidden: frozenset[str] = frozenset()) -> None:
        if descriptor.full_name in _NOT_AT_THE_EDGE:
            raise TypeError(f"{descriptor.full_name} is not for public messages: its depth has no bound")
        self._descriptor = descriptor
        self._hidden = hidden

    @cached_property  # made when first used: types may contain themselves
    def merge(self) -> Callable[[Message, Any], None]:
        """Sets the fields that an object names. `null` leaves a field unset."""
        return _compiled([field for field in self._descriptor.fields if field.name not in self._hidden])


def _compiled(fields: list[FieldDescriptor]) -> Callable[[Message, Any], None]:
    """The function that reads these fields; what is left over when each took its own is odd."""
    known = {name: field for field in fields for name in (field.name, field.json_name)}
    names: dict[str, Any] = {"MISSING": _MISSING, "Refused": Refused, "wrong": wrong, "odd": _odd, "known": known}
    names |= {"utc": utc, "are_plain": are_plain}
    lines = [line for number, field in enumerate(fields) for line in _lines(field, number, names)]
    code = [
        "def merge(message, value):",
        "    if type(value) is not dict: raise wrong(value, 'an object')",
        "    left, get, at = len(value), value.get, ''",
        *(f"    {choice} = 1" for choice in sorted({_choice(field) for field in fields} - {""})),
        "    try:",
        *(f"        {line}" for line in lines or ["pass"]),
        "    except Refused as refused: raise refused.within(at) from None",
        "    if left: raise odd(value, known)",
    ]
    exec("\n".join(code), names)  # noqa: S102 -- of descriptors alone, whose names the compiler of contracts checks
    merge: Callable[[Message, Any], None] = names["merge"]
    return merge


def _lines(field: FieldDescriptor, number: int, names: dict[str, Any]) -> list[str]:
    """Python that reads one field. Of its two names, and of the fields of a choice, one is taken: the rest is odd."""
    choice = _choice(field)
    condition, usual = _usual(field, number, names)
    return [
        f"item = get({field.json_name!r}, MISSING)",
        *([f"if item is MISSING: item = get({field.name!r}, MISSING)"] if field.name != field.json_name else []),
        "if item is not MISSING:",
        f"    left -= {choice}; {choice} = 0" if choice else "    left -= 1",
        *([f"    if {condition}: {usual}"] if condition else []),
        f"    {'elif' if condition else 'if'} item is not None: at = {field.json_name!r}; {_put(field, number, names)}",
    ]


def _usual(field: FieldDescriptor, number: int, names: dict[str, Any]) -> tuple[str, str]:
    """When a value is what most of its type are, and Python that stores it then; empty if that is for `_put`."""
    if field.is_repeated:
        texts = field.type == FieldDescriptor.TYPE_STRING
        return ("type(item) is list and are_plain(item)", f"{_attribute(field)}.extend(item)") if texts else ("", "")
    if field.enum_type is not None:
        names[f"enum{number}"] = {value.name: value.number for value in field.enum_type.values}
        return f"type(item) is str and item in enum{number}", f"{_attribute(field)} = enum{number}[item]"
    if field.message_type is not None and field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
        return "(moment := utc(item)) is not None", f"child = {_attribute(field)}; child.seconds, child.nanos = moment"
    condition, stored = _USUAL.get(field.type, ("", ""))
    return condition, f"{_attribute(field)} = {stored}"


def _attribute(field: FieldDescriptor) -> str:
    """A field as Python has it: no contract names one by a word of Python's. setattr() takes a third longer."""
    return f"message.{field.name}"


def _put(field: FieldDescriptor, number: int, names: dict[str, Any]) -> str:
    """Python that reads any value of a field."""
    put = names[f"put{number}"] = _setter(field)
    if isinstance(put, MessageReader):
        return f"child = {_attribute(field)}; child.SetInParent(); put{number}.merge(child, item)"
    return f"put{number}(message, item)"


def _choice(field: FieldDescriptor) -> str:
    """What the choice that a field belongs to is called in a reader; empty if it is in none."""
    choice = field.containing_oneof
    return f"of_{choice.name}" if choice is not None and len(choice.fields) > 1 else ""


def _odd(value: dict[str, Any], known: dict[str, FieldDescriptor]) -> Refused:
    """What is wrong with an object that has more keys than its fields took."""
    taken: set[str] = set()
    for key in value:
        if key not in known:
            return Refused(shown(key), "UNKNOWN_FIELD", "is not a known field")
        claim = _choice(known[key]) or known[key].name
        if claim in taken:
            return Refused(shown(key), "DUPLICATE_KEY", "is given twice")
        taken.add(claim)
    raise AssertionError("each key was taken")


@cache
def reader(descriptor: Descriptor) -> MessageReader:
    """The reader of a message type."""
    return MessageReader(descriptor)


def _setter(field: FieldDescriptor) -> "Set | MessageReader":
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_setter(field)
    read = single(field)
    if field.is_repeated:
        return _list_setter(field.name, read) if read else _messages_setter(field)
    if read is None:
        return reader(field.message_type)
    return _string_message_setter(field.name, read) if field.message_type else _scalar_setter(field.name, read)


def _scalar_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        setattr(message, name, read(value))

    return put


def _string_message_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        getattr(message, name).CopyFrom(read(value))

    return put


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(value, "a list")
    return value


def _list_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        if items := _items(value):
            append, at = getattr(message, name).append, 0
            try:
                for at, item in enumerate(items):  # noqa: B007 -- told where it stopped
                    append(read(item))
            except Refused as refused:
                raise refused.within(f"[{at}]") from None

    return put


def _messages_setter(field: FieldDescriptor) -> Set:
    nested, name = reader(field.message_type), field.name

    def put(message: Any, value: Any) -> None:
        if items := _items(value):
            entries, merge = getattr(message, name), nested.merge
            add = entries.add
            try:
                for item in items:
                    merge(add(), item)
            except Refused as refused:
                raise refused.within(f"[{len(entries) - 1}]") from None

    return put


def _map_setter(field: FieldDescriptor) -> Set:
    entry, name = field.message_type, field.name
    assert entry
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    read_key, read = _key_reader(key_field), single(value_field)
    nested = None if read else reader(value_field.message_type)

    def put(message: Any, value: Any) -> None:
        if not isinstance(value, dict):
            raise wrong(value, "an object")
        entries = getattr(message, name)
        for key, item in value.items():
            try:
                if nested:
                    nested.merge(entries[read_key(key)], item)
                else:
                    assert read
                    entries[read_key(key)] = read(item)
            except Refused as refused:
                raise refused.within(shown(key)) from None

    return put


def _key_reader(field: FieldDescriptor) -> Read:
    """Keys of maps are strings in JSON, whatever they are in the message."""
    read = single(field)
    assert read
    if field.type != FieldDescriptor.TYPE_BOOL:
        return read
    return lambda text: read({"true": True, "false": False}.get(text, text))
