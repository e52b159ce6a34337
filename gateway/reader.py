"""Protobuf messages from JSON, by readers compiled from descriptors.

Stricter than proto3 JSON asks: a field nobody knows, or one given under both of its names, is refused and named.
"""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.values import Read, Refused, shown, single, wrong

Set = Callable[[Any, Any], None]

_NOT_AT_THE_EDGE = frozenset({"google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value"})


class MessageReader:
    """Reads JSON objects into messages of one type."""

    def __init__(self, descriptor: Descriptor, hidden: frozenset[str] = frozenset()) -> None:
        if descriptor.full_name in _NOT_AT_THE_EDGE:
            raise TypeError(f"{descriptor.full_name} is not for public messages: its depth has no bound")
        self._descriptor = descriptor
        self._hidden = hidden

    @cached_property
    def _fields(self) -> dict[str, tuple[FieldDescriptor, Set]]:
        """Every name a field may have: lowerCamelCase, or as the contract writes it."""
        fields = [field for field in self._descriptor.fields if field.name not in self._hidden]
        setters = [(field, _setter(field)) for field in fields]
        return {name: each for each in setters for name in (each[0].name, each[0].json_name)}

    def merge(self, message: Message, value: Any) -> None:
        """Set the fields that an object names. `null` leaves a field unset."""
        if not isinstance(value, dict):
            raise wrong(value, "an object")
        taken: set[str] = set()
        for key, item in value.items():
            if key not in self._fields:
                raise Refused(shown(key), "UNKNOWN_FIELD", "is not a known field")
            field, put = self._fields[key]
            _claim(field, key, taken)
            if item is None:
                continue
            try:
                put(message, item)
            except Refused as refused:
                raise refused.within(field.json_name) from None


@cache
def reader(descriptor: Descriptor) -> MessageReader:
    """The reader of a message type."""
    return MessageReader(descriptor)


def _claim(field: FieldDescriptor, key: str, taken: set[str]) -> None:
    """Note that a field, or the choice it belongs to, has its value."""
    name = field.containing_oneof.name if field.containing_oneof else field.name
    if name in taken:
        raise Refused(shown(key), "DUPLICATE_KEY", "is given twice")
    taken.add(name)


def _setter(field: FieldDescriptor) -> Set:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_setter(field)
    read = single(field)
    if field.is_repeated:
        return _list_setter(field.name, read) if read else _messages_setter(field)
    if read is None:
        return _message_setter(field)
    return _string_message_setter(field.name, read) if field.message_type else _scalar_setter(field.name, read)


def _scalar_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        setattr(message, name, read(value))

    return put


def _string_message_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        getattr(message, name).CopyFrom(read(value))

    return put


def _message_setter(field: FieldDescriptor) -> Set:
    nested, name = reader(field.message_type), field.name

    def put(message: Any, value: Any) -> None:
        child = getattr(message, name)
        child.SetInParent()
        nested.merge(child, value)

    return put


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(value, "a list")
    return value


def _list_setter(name: str, read: Read) -> Set:
    def put(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for index, item in enumerate(_items(value)):
            try:
                items.append(read(item))
            except Refused as refused:
                raise refused.within(f"[{index}]") from None

    return put


def _messages_setter(field: FieldDescriptor) -> Set:
    nested, name = reader(field.message_type), field.name

    def put(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for index, item in enumerate(_items(value)):
            try:
                nested.merge(items.add(), item)
            except Refused as refused:
                raise refused.within(f"[{index}]") from None

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
