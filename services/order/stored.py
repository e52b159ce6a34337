"""Events as they are kept: the domain's frozen values ⇄ the messages of `services/order/v1/stored_events.proto`.

Messages and fields are named as the events and theirs, so that one translation by type serves all of them. What is kept
may change without what is told (`public_events`): a field that a later version adds is absent in what was kept before,
and a change of meaning raises the schema and gets an upcaster in `UPCASTERS`.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from google.protobuf.message import Message

from mercato.money import Money
from mercato.wire import money_from_pb, money_to_pb, time_from_pb, time_to_pb
from services.order.events import Event, State
from services.order.v1 import stored_events_pb2 as pb

SCHEMA = 1
# (type, schema) → the message's bytes in the next schema.
UPCASTERS: Mapping[tuple[str, int], Callable[[bytes], bytes]] = {}


def encode(event: Event) -> tuple[str, int, bytes]:
    """Type, schema and bytes of an event."""
    name = type(event).__name__
    message: Message = _EVENTS[name].write(event)
    return name, SCHEMA, message.SerializeToString(deterministic=True)


def decode(type_: str, schema: int, payload: bytes) -> Event:
    """The event that was kept under a type and schema."""
    while upcast := UPCASTERS.get((type_, schema)):
        payload, schema = upcast(payload), schema + 1
    event: Event = _EVENTS[type_].read(getattr(pb, type_).FromString(payload))
    return event


@dataclass(frozen=True, slots=True)
class _Translation:
    """From a value to what a message's field holds, and back."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _as_is(value: Any) -> Any:
    return value


_PLAIN: Mapping[Any, _Translation] = {
    str: _Translation(_as_is, _as_is),
    int: _Translation(_as_is, _as_is),
    State: _Translation(str, State),
    UUID: _Translation(str, UUID),
    Money: _Translation(money_to_pb, money_from_pb),
    datetime: _Translation(time_to_pb, time_from_pb),
}


def _translation(kind: Any) -> _Translation:
    if get_origin(kind) is tuple:
        item = _translation(get_args(kind)[0])
        return _Translation(
            lambda value: [item.write(each) for each in value], lambda raw: tuple([item.read(each) for each in raw])
        )
    return _PLAIN.get(kind) or _record(kind)


def _record(cls: Any) -> _Translation:
    """The translation of a dataclass to the message of its name."""
    hints, message = get_type_hints(cls), getattr(pb, cls.__name__)
    parts = {each.name: _translation(_present(hints[each.name])) for each in fields(cls)}
    optional = {name for name in parts if _present(hints[name]) is not hints[name]}

    def write(value: Any) -> Message:
        known = {name: getattr(value, name) for name in parts}
        made: Message = message(**{name: parts[name].write(part) for name, part in known.items() if part is not None})
        return made

    def read(raw: Message) -> Any:
        return cls(
            **{
                name: None if name in optional and not raw.HasField(name) else part.read(getattr(raw, name))
                for name, part in parts.items()
            }
        )

    return _Translation(write, read)


def _present(kind: Any) -> Any:
    """The type of an optional value when it is there."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return next(each for each in get_args(kind) if each is not type(None))
    return kind


_EVENTS: Mapping[str, _Translation] = {cls.__name__: _record(cls) for cls in get_args(Event)}
