"""What the documents say of the live events."""

from gateway.contract import Operation
from gateway.openapi import SIGNED_IN, who
from gateway.schema import Schema


def operation(history: Operation) -> Schema:
    """The operation object of the live events of whatever the history is of."""
    resume = "The id of the last event that was seen: the stream goes on after it."
    return {
        "operationId": "StreamOrderEvents",
        "tags": [history.service],
        "summary": "Follows an order live",
        "description": f"\n\n**Who:** {who(history)}.",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
            {"name": "Last-Event-ID", "in": "header", "description": resume, "schema": {"type": "string"}},
        ],
        "responses": {
            "200": {"description": "The events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "204": {"description": "Nothing more will happen."},
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "security": SIGNED_IN,
    }
