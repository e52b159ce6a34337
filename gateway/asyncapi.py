"""The AsyncAPI 3.0 document of the domain events, wholly from the contracts (`*_events.proto`).

One channel is for everybody's clients: the WebSocket that tells what happens to an order.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import Descriptor, FileDescriptor

from gateway.live import document as live
from gateway.schema import Schema, Schemas
from mercato.topic import topic

_EVENTS = "_events.proto"
ABOUT = (
    "What happens in the shop, for services that follow it. A record's key is its aggregate, its value the protobuf "
    "message; events of one aggregate come in the order of `version`, and any may come twice: skip a version that is "
    "not above the last. No event carries a person's name, e-mail, address, phone or note."
)
HEADERS: Schema = {
    "type": "object",
    "required": ["ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "version"],
    "properties": {
        "ce_id": {"type": "string", "format": "uuid", "description": "The event's id, the same whenever it comes."},
        "ce_type": {"type": "string", "description": "The message's full name."},
        "ce_source": {"type": "string", "description": "Who tells: `/mercato/<service>`."},
        "ce_subject": {"type": "string", "description": "The aggregate, which is the record's key too."},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it was written down."},
        "version": {"type": "string", "pattern": "^[0-9]+$", "description": "Rises with each event of an aggregate."},
        "request_id": {"type": "string", "description": "The request that led to it."},
        "order_id": {"type": "string", "description": "The order that it is about, if it is."},
        "traceparent": {"type": "string", "description": "The W3C trace that it belongs to."},
    },
}


def events(files: Iterable[FileDescriptor]) -> Mapping[str, list[Descriptor]]:
    """The events of each service, by its name: the messages of its events' file that no other one contains."""
    found: dict[str, list[Descriptor]] = {}
    for file in files:
        if file.name.endswith(_EVENTS):
            messages = list(file.message_types_by_name.values())
            parts = {field.message_type for message in messages for field in message.fields if field.message_type}
            found[file.package.split(".")[-2]] = [each for each in messages if each not in parts]
    return found


def document(files: Iterable[FileDescriptor], comments: Mapping[str, str]) -> Schema:
    """The document of all events."""
    schemas = Schemas(comments)
    told = events(files)
    messages = {each.name: _message(each, schemas, comments) for owned in told.values() for each in owned}
    channels = {service: _channel(service, owned) for service, owned in sorted(told.items())}
    operations = {f"tell{service.capitalize()}": _operation(service, told[service]) for service in sorted(told)}
    if "order" in told:
        channels["live"], operations["follow"], frames = live.channel(schemas)
        messages |= frames
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Mercato events", "version": "1", "description": ABOUT},
        "defaultContentType": "application/x-protobuf",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(schemas.components.items()))},
    }


def _channel(service: str, owned: Iterable[Descriptor]) -> Schema:
    return {
        "address": topic(service),
        "description": f"What the {service} service tells.",
        "messages": {each.name: {"$ref": f"#/components/messages/{each.name}"} for each in owned},
        "bindings": {"kafka": {"topic": topic(service), "partitions": 6}},
    }


def _operation(service: str, owned: Iterable[Descriptor]) -> Schema:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{service}"},
        "messages": [{"$ref": f"#/channels/{service}/messages/{each.name}"} for each in owned],
    }


def _message(event: Descriptor, schemas: Schemas, comments: Mapping[str, str]) -> Schema:
    return {
        "name": event.full_name,
        "title": event.name,
        "summary": comments.get(event.full_name, ""),
        "headers": HEADERS,
        "payload": schemas.message(event),
    }
