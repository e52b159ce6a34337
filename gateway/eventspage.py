"""The page of the events, from the contracts: every topic, each of its events, what the fields mean, an example."""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from gateway.asyncapi import ABOUT, HEADERS, events
from gateway.comments import as_html
from gateway.examples import ID, KNOWN
from gateway.live.document import ADDRESS
from mercato.topic import topic

_TIME = "2026-01-31T08:00:00Z"
_TYPES: Mapping[int, str] = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}
# What stands in a field of text, by its name; others that name something hold its id.
_TEXTS: Mapping[str, str] = {
    "sku": "10457545",
    "skus": "10457545",
    "title": "Whole Milk",
    "brand": "National",
    "size": "1 gal",
    "name": "Milk",
    "path": "Dairy",
    "zone_id": "downtown",
    "warehouse_id": "riverside",
    "reference": "delivery note 17",
    "reason": "COUNT",
    "decline_code": "insufficient_funds",
    "from_state": "CONFIRMED",
    "state": "ACTIVE",
    "availability": "IN_STOCK",
    "roles": "customer",
}


def page(files: Iterable[FileDescriptor], comments: Mapping[str, str]) -> str:
    """The page's body."""
    told = events(files)
    places = "".join(f'<li><a href="#{name}"><code>{topic(name)}</code></a></li>' for name in sorted(told))
    topics = "".join(_topic(name, told[name], comments) for name in sorted(told))
    return (
        f"<h1>Events</h1>\n<p>{as_html(ABOUT)}</p>\n"
        f'<p>For programs: <a href="/asyncapi.json">/asyncapi.json</a>. What happens to one order is told live to its '
        f'owner by <code>GET {ADDRESS}</code>, see <a href="/docs">/docs</a>.</p>\n'
        f"<h2>Topics</h2>\n<ul>{places}</ul>\n<h2>Headers of each record</h2>\n{_headers()}\n{topics}"
    )


def _headers() -> str:
    rows = ((name, about["type"], about["description"]) for name, about in HEADERS["properties"].items())
    return _table("header", rows)


def _topic(service: str, owned: Iterable[Descriptor], comments: Mapping[str, str]) -> str:
    told = "".join(_event(each, comments) for each in owned)
    return f'<h2 id="{service}"><code>{topic(service)}</code></h2>\n<p>What the {service} service tells.</p>\n{told}'


def _event(event: Descriptor, comments: Mapping[str, str]) -> str:
    example = escape(json.dumps(_example(event), indent=2))
    return (
        f'<h3 id="{event.name}">{event.name}</h3>\n<p>{as_html(comments.get(event.full_name, ""))}</p>\n'
        f"{_table('field', _fields(event, '', comments))}\n"
        f"<details><summary>An example, as JSON</summary><pre>{example}</pre></details>\n"
    )


def _table(what: str, rows: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td><small>{escape(kind)}</small></td><td>{as_html(about)}</td></tr>"
        for name, kind, about in rows
    )
    return (
        f"<table class='stacked fields'><thead><tr><th>{what}</th><th>type</th><th>meaning</th></tr></thead>"
        f"<tbody>{cells}</tbody></table>"
    )


def _fields(message: Descriptor, prefix: str, comments: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The fields with those of their parts, by the names that they have in JSON."""
    for field in message.fields:
        name = prefix + field.json_name + ("[]" if field.is_repeated else "")
        yield name, _kind(field), comments.get(field.full_name, "")
        if part := _part(field):
            yield from _fields(part, f"{name}.", comments)


def _kind(field: FieldDescriptor) -> str:
    if field.message_type:
        return str(field.message_type.name)
    if field.enum_type:
        return " | ".join(value.name for value in field.enum_type.values if value.number)
    return _TYPES[field.type]


def _part(field: FieldDescriptor) -> Descriptor | None:
    """The message that a field holds, if it is of the contracts: others are known by their names."""
    part = field.message_type
    return None if part is None or part.full_name.startswith("google.") else part


def _example(message: Descriptor) -> dict[str, Any]:
    return {field.json_name: [_value(field)] if field.is_repeated else _value(field) for field in message.fields}


def _value(field: FieldDescriptor) -> Any:
    if part := _part(field):
        return _example(part)
    if field.message_type:
        return KNOWN.get(field.message_type.full_name, _TIME)
    if field.enum_type:
        return next(value.name for value in field.enum_type.values if value.number)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXTS.get(field.name, ID)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    return "1" if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else 1
