"""The contracts that are installed, found by walking the folders of `mercato.api`."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import mercato.api


def services() -> Iterator[ServiceDescriptor]:
    """Every service of every contract."""
    for file in _files("*_pb2.py"):
        yield from file.services_by_name.values()


def events() -> dict[str, type[Message]]:
    """The class of every public event, by its full name, which is also its `ce_type`."""
    messages = [message for file in _files("*_events_pb2.py") for message in file.message_types_by_name.values()]
    return {message.full_name: GetMessageClass(message) for message in messages}


def _files(pattern: str) -> Iterator[FileDescriptor]:
    for folder in map(Path, mercato.api.__path__):
        for path in sorted(folder.rglob(pattern)):
            parts = path.relative_to(folder).with_suffix("").parts
            yield cast("FileDescriptor", import_module(".".join(("mercato.api", *parts))).DESCRIPTOR)
