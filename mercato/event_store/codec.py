"""Frozen dataclasses ⇄ JSON bytes, and the fingerprint of a dataclass' definition: what snapshots are kept by."""

import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a value is written as JSON and read again, and what its definition is."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    definition: str


class DataclassCodec(Generic[T]):
    """Writes and reads one frozen dataclass, and all that it is made of.

    Text, numbers, truth, UUIDs, times, enums, tuples, mappings, dataclasses, and what may be missing.
    """

    def __init__(self, cls: type[T]) -> None:
        self._form: _Form = _form(cls)  # type: ignore[arg-type]  # classes are hashable

    @property
    def fingerprint(self) -> str:
        """Changes with any field's name, type or order, at any depth."""
        return hashlib.sha256(self._form.definition.encode()).hexdigest()[:16]

    def encode(self, value: T) -> bytes:
        """The value's bytes."""
        return json.dumps(self._form.write(value), separators=(",", ":"), ensure_ascii=False).encode()

    def decode(self, data: bytes) -> T:
        """The value of these bytes. What they do not name has its default."""
        value: T = self._form.read(json.loads(data))
        return value


def fingerprint(cls: type[Any]) -> str:
    """What changes with the definition of a dataclass."""
    return DataclassCodec(cls).fingerprint


def _as_is(value: Any) -> Any:
    return value


_PLAIN: Mapping[Any, _Form] = {
    **{kind: _Form(_as_is, _as_is, kind.__name__) for kind in (str, int, bool, float)},
    UUID: _Form(str, UUID, "uuid"),
    datetime: _Form(datetime.isoformat, datetime.fromisoformat, "time"),
}


@cache
def _form(kind: Any) -> _Form:
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(kind)
    if origin is tuple:
        return _tuple(get_args(kind)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Form(lambda value: value.value, kind, f"{kind.__name__}({','.join(str(each.value) for each in kind)})")
    return _PLAIN[kind] if kind in _PLAIN else _record(kind)


def _optional(kind: Any) -> _Form:
    present = [each for each in get_args(kind) if each is not type(None)]
    if len(present) != 1:
        raise TypeError(f"{kind} may be several things")
    form = _form(present[0])
    return _Form(
        lambda value: None if value is None else form.write(value),
        lambda raw: None if raw is None else form.read(raw),
        f"{form.definition}?",
    )


def _tuple(item: Any) -> _Form:
    form = _form(item)
    return _Form(
        lambda value: [form.write(each) for each in value],
        lambda raw: tuple([form.read(each) for each in raw]),
        f"[{form.definition}]",
    )


def _mapping(key: Any, item: Any) -> _Form:
    keys, items = _form(key), _form(item)
    return _Form(
        lambda value: {keys.write(name): items.write(each) for name, each in value.items()},
        lambda raw: {keys.read(name): items.read(each) for name, each in raw.items()},
        f"{{{keys.definition}:{items.definition}}}",
    )


def _record(cls: Any) -> _Form:
    if not isinstance(cls, type) or not is_dataclass(cls):
        raise TypeError(f"{cls} is no dataclass, nor anything else that is known here")
    hints = get_type_hints(cls)
    parts = {each.name: _form(hints[each.name]) for each in fields(cls)}
    definition = ",".join(f"{name}:{part.definition}" for name, part in parts.items())
    return _Form(
        lambda value: {name: part.write(getattr(value, name)) for name, part in parts.items()},
        lambda raw: cls(**{name: parts[name].read(each) for name, each in raw.items()}),
        f"{cls.__name__}({definition})",
    )
