"""Query parameters into the fields of a request, by the rules of `google.api.http`.

A list may be given by repeating its parameter or with commas between its values; anything else may be given once.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.values import Refused, shown, single

_LONGEST_NAME = 256
_BOOLEANS = {"true": True, "false": False}


def pairs(query: bytes) -> Iterator[tuple[str, str]]:
    """The parameters of a query string, decoded."""
    for part in query.decode("latin-1").split("&"):
        if part:
            name, _, value = part.partition("=")
            yield _decoded(name, ""), _decoded(value, name)


def _decoded(text: str, name: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise Refused(shown(name), "MALFORMED", "is not UTF-8") from None


class QueryReader:
    """Reads query parameters into requests of one type. `taken` are the fields that path, body or headers give."""

    def __init__(self, request: Descriptor, taken: frozenset[str]) -> None:
        self._request = request
        self._taken = taken

    def merge(self, message: Message, query: bytes) -> None:
        """Set the fields that the query names."""
        seen: set[str] = set()
        for name, value in pairs(query):
            path = _path(self._request, name) if len(name) <= _LONGEST_NAME else None
            if path is None or self._is_taken(path):
                raise Refused(shown(name), "UNKNOWN_PARAMETER", "is not a known parameter")
            public = ".".join(field.json_name for field in path)
            if not path[-1].is_repeated:
                if public in seen:
                    raise Refused(public, "DUPLICATE_PARAMETER", "is given twice")
                seen.add(public)
            _put(message, path, value, public)

    def _is_taken(self, path: tuple[FieldDescriptor, ...]) -> bool:
        names = [field.name for field in path]
        return any(".".join(names[:length]) in self._taken for length in range(1, len(names) + 1))


@lru_cache(maxsize=1024)  # bounded: the names are the clients'
def _path(message: Descriptor, name: str) -> tuple[FieldDescriptor, ...] | None:
    """The fields that a dotted name walks through, in lowerCamelCase or as the contract writes them."""
    head, _, rest = name.partition(".")
    field = named(message, head)
    if field is None:
        return None
    if rest:
        below = _path(field.message_type, rest) if field.message_type and not field.is_repeated else None
        return (field, *below) if below else None
    return (field,) if _holds_values(field) else None


def named(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field with a name, in lowerCamelCase or as the contract writes it."""
    return next((field for field in message.fields if name in (field.json_name, field.name)), None)


def _holds_values(field: FieldDescriptor) -> bool:
    return single(field) is not None


def put_value(message: Message, path: tuple[FieldDescriptor, ...], text: str) -> None:
    """Set the field at the end of a path from text."""
    target: Any = message
    for field in path[:-1]:
        target = getattr(target, field.name)
    last = path[-1]
    read = reader_of_text(last)
    if last.is_repeated:
        getattr(target, last.name).extend(read(each) for each in text.split(",") if each)
    elif last.message_type is not None:
        getattr(target, last.name).CopyFrom(read(text))
    else:
        setattr(target, last.name, read(text))


def reader_of_text(field: FieldDescriptor) -> Callable[[str], Any]:
    """The reader of one value that comes as text."""
    read = single(field)
    assert read
    if field.type != FieldDescriptor.TYPE_BOOL:
        return read
    return lambda text: read(_BOOLEANS.get(text, text))


def _put(message: Message, path: tuple[FieldDescriptor, ...], value: str, public: str) -> None:
    try:
        put_value(message, path, value)
    except Refused as refused:
        raise refused.within(public) from None
