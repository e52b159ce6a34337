"""What the documents say of the live events: an operation of OpenAPI's, and a channel of AsyncAPI's."""

from collections.abc import Mapping
from typing import Any

from gateway.contract import Operation
from gateway.live.frame import BEAT, POSITION
from gateway.openapi import SIGNED_IN, who
from gateway.reasons import KNOWN, phrase
from gateway.schema import Schema, Schemas
from mercato.api.delivery.v1 import delivery_pb2
from mercato.api.order.v1 import order_pb2

ADDRESS = "/v1/orders/{id}/events"
_ENTRY = order_pb2.DESCRIPTOR.message_types_by_name["OrderEvent"]
_POSITION = delivery_pb2.DESCRIPTOR.message_types_by_name["CourierPosition"]
_REASONS = ("VALIDATION_FAILED", "UNAUTHENTICATED", "FORBIDDEN", "ORIGIN_REFUSED", "NOT_FOUND", "NOT_ACCEPTABLE")
_BUSY = ("TOO_MANY_STREAMS", "OVERLOADED")
_LAST_SEEN = "The id of the last event that was seen: what happened after it is told, nothing of it twice."
_ABOUT = f"""What happens to an order, as it happens: `id` is the order's version, `event` the type, `data` the entry of
its history. While it is out for delivery, `{POSITION}` tells where the courier is: about once a second where that
changes, without an `id`, and never again.

As server-sent events, or, asked for with `Upgrade: websocket`, as a WebSocket whose messages are the same as JSON
objects. Who comes back names the last `id` by `Last-Event-ID`, as browsers do by themselves, or by `lastEventId` where
headers cannot be set; the header is the newer of the two.

The stream ends after OrderDelivered, OrderRejected or OrderCancelled (returns show in the history). Asked again then,
it is 204, and a WebSocket is closed with 1000. It lives while a comment, or a `{BEAT}`, comes every 15 seconds. When
the gateway leaves it says `retry:` with milliseconds, and closes a WebSocket with 1012; 1008 is for a session that has
ended, or a client that does not read. A WebSocket takes no messages: 1003 and 1009 are for those who send some, 1002
for what is no frame.

Browsers open a WebSocket with the session's cookie, from a page of the same origin (`ORIGIN_REFUSED` otherwise). A
token is taken from `Authorization` and from nowhere else: in an address or a subprotocol it would be logged on the way.
Pages of other origins follow an order by server-sent events, with `fetch`."""
_EVENTS = 'id: 2\nevent: OrderConfirmed\ndata: {"version":"2","type":"OrderConfirmed","text":"Confirmed."}\n\n'


def frames(schemas: Schemas) -> Mapping[str, Schema]:
    """The messages of the WebSocket, by name."""
    position = schemas.object(_POSITION, frozenset())
    nothing = {"type": "object", "maxProperties": 0}
    version = {"type": "string", "pattern": "^[0-9]+$", "description": "The order's version."}
    history = {"id": version, **_told({"type": "string", "description": "What happened."}, schemas.message(_ENTRY))}
    return {
        "HistoryFrame": _frame("Something happened.", history),
        "PositionFrame": _frame("Where the courier is now.", _told({"const": POSITION}, position)),
        "HeartbeatFrame": _frame("The stream lives.", _told({"const": BEAT}, nothing)),
    }


def operation(history: Operation, comments: Mapping[str, str]) -> Schema:
    """The operation object."""
    order_id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    seen = {"required": False, "description": _LAST_SEEN, "schema": {"type": "string", "pattern": "^[0-9]{0,18}$"}}
    resume = [{"name": "Last-Event-ID", "in": "header", **seen}, {"name": "lastEventId", "in": "query", **seen}]
    return {
        "operationId": "StreamOrderEvents",
        "tags": [history.service],
        "summary": "Follows an order live",
        "description": f"{_ABOUT}\n\n**Who:** {who(history)}.",
        "parameters": [order_id, *resume],
        "responses": {**_successes(Schemas(comments)), **_problems()},
        "security": SIGNED_IN,
    }


def channel(schemas: Schemas) -> tuple[Schema, Schema, Mapping[str, Schema]]:
    """The channel, the operation on it, and the messages."""
    found = frames(schemas)
    order_id = {"description": "The order."}
    query = {"type": "object", "properties": {"lastEventId": {"type": "string", "description": _LAST_SEEN}}}
    shown = {
        "address": ADDRESS,
        "title": "An order, live",
        "description": _ABOUT,
        "parameters": {"id": order_id},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in found},
        "bindings": {"ws": {"method": "GET", "query": query}},
    }
    sends = {
        "action": "send",
        "channel": {"$ref": "#/channels/live"},
        "messages": [{"$ref": f"#/channels/live/messages/{name}"} for name in found],
    }
    return shown, sends, {name: _message(name, schema) for name, schema in found.items()}


def _told(event: Schema, data: Schema) -> dict[str, Any]:
    return {"event": event, "data": data}


def _frame(about: str, properties: Mapping[str, Any]) -> Schema:
    required = list(properties)
    return {"type": "object", "description": about, "properties": dict(properties), "required": required}


def _message(name: str, schema: Schema) -> Schema:
    summary = schema["description"]
    return {"name": name, "summary": summary, "contentType": "application/json", "payload": schema}


def _successes(schemas: Schemas) -> Schema:
    socket = {"description": "A WebSocket: each message is one of these.", "headers": _upgraded()}
    events = {"schema": {"type": "string"}, "example": _EVENTS}
    return {
        "101": {**socket, "content": {"application/json": {"schema": {"oneOf": list(frames(schemas).values())}}}},
        "200": {"description": "The events.", "content": {"text/event-stream": events}},
        "204": {"description": "Nothing more will happen."},
    }


def _upgraded() -> Schema:
    return {"Upgrade": {"schema": {"const": "websocket"}}}


def _problems() -> Schema:
    found: dict[str, list[str]] = {}
    for reason in (*_REASONS, *_BUSY):
        found.setdefault(str(KNOWN[reason][0]), []).append(reason)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    wait = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    busy = {str(KNOWN[reason][0]) for reason in _BUSY}
    told = {
        status: {
            "description": f"{phrase(int(status))}: {', '.join(reasons)}",
            **({"headers": wait} if status in busy else {}),
            "content": content,
        }
        for status, reasons in found.items()
    }
    return {**told, "default": {"$ref": "#/components/responses/Problem"}}
