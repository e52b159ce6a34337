"""What the contracts say in their comments, which the stubs lack: read from the image that is built beside them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

import mercato.api

IMAGE = "contracts.binpb"
# Numbers of the fields of FileDescriptorProto and its parts: the steps of a source location's path.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED_MESSAGE, _NESTED_ENUM, _METHOD, _VALUE = 2, 3, 4, 2, 2

Steps = tuple[int, ...]
_ERRORS = re.compile(r"(?:Errors|Refused[^:]*): (?P<reasons>.*)", re.DOTALL)
_NAME = re.compile("`([^`]+)`")
_REASON = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b(?:NOT_FOUND|FORBIDDEN)\b")


def comments() -> Mapping[str, str]:
    """The comments of all that is in the contracts, by full name; none where the image is missing."""
    image = Path(next(iter(mercato.api.__path__))) / IMAGE
    if not image.is_file():
        return {}
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    return {name: text for file in files for name, text in _of_file(file)}


def reasons_in(comment: str) -> list[str]:
    """The reasons that a comment names as the errors of an rpc."""
    match = _ERRORS.search(comment)
    return list(dict.fromkeys(_REASON.findall(match["reasons"]))) if match else []


def as_html(comment: str) -> str:
    """A comment for a page: what stands in backticks is a name."""
    return _NAME.sub(r"<code>\1</code>", escape(comment))


def _of_file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(_names(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        if name and location.leading_comments:
            yield name, _tidy(location.leading_comments)


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[Steps, str]]:
    """The full name of everything in a file, by the path of its source location."""
    yield from _messages(file.message_type, (_MESSAGE,), file.package)
    yield from _enums(file.enum_type, (_ENUM,), file.package)
    for number, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_SERVICE, number), name
        yield from _parts(service.method, (_SERVICE, number, _METHOD), name)


def _messages(messages: Sequence[Any], steps: Steps, scope: str) -> Iterator[tuple[Steps, str]]:
    for number, message in enumerate(messages):
        here, name = (*steps, number), f"{scope}.{message.name}"
        yield here, name
        yield from _parts(message.field, (*here, _FIELD), name)
        yield from _messages(message.nested_type, (*here, _NESTED_MESSAGE), name)
        yield from _enums(message.enum_type, (*here, _NESTED_ENUM), name)


def _enums(enums: Sequence[Any], steps: Steps, scope: str) -> Iterator[tuple[Steps, str]]:
    for number, enum in enumerate(enums):
        yield (*steps, number), f"{scope}.{enum.name}"
        yield from _parts(enum.value, (*steps, number, _VALUE), f"{scope}.{enum.name}")


def _parts(parts: Sequence[Any], steps: Steps, scope: str) -> Iterator[tuple[Steps, str]]:
    for number, part in enumerate(parts):
        yield (*steps, number), f"{scope}.{part.name}"


def _tidy(comment: str) -> str:
    """The comment without the blanks that its slashes left."""
    return "\n".join(line.strip() for line in comment.strip().splitlines())
