"""The way in for webhooks: POST /webhooks/{provider}, whose body goes to the payment service byte by byte.

Who may tell us something is decided there, by the signature over these very bytes; here it is only limited.
"""

from collections.abc import Mapping
from typing import Any

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response

from gateway.calls import Visit
from gateway.dispatch import Handler
from gateway.endpoint import Mesh
from gateway.openapi import problem_response
from gateway.problems import Problem
from mercato.api.payment.v1 import payment_pb2 as pb

ADDRESS = "/webhooks/{provider}"
_RPC = pb.DESCRIPTOR.services_by_name["PaymentService"].methods_by_name["HandleWebhook"]
_LONGEST_NAME, _LONGEST_SIGNATURE = 64, 1024


class Webhooks:
    """Takes webhooks in."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def routes(self) -> Mapping[str, Handler]:
        """The address that takes them."""
        return {ADDRESS: self.take}

    def paths(self) -> Mapping[str, Any]:
        """What the OpenAPI document says of it."""
        return {ADDRESS: {"post": _OPERATION}}

    async def take(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """200 for whatever the provider signed, new or not, so that it is not sent again."""
        body = await self._mesh.limits.read_body(request.receive, request.headers)
        signature, provider = request.headers.get("stripe-signature", ""), variables["provider"]
        if len(provider) > _LONGEST_NAME:
            raise Problem.edge("ROUTE_NOT_FOUND")
        # One that is too long is none, and left to be refused like every other that does not fit.
        message = pb.HandleWebhookRequest(
            provider=provider, body=body, signature=signature if len(signature) <= _LONGEST_SIGNATURE else ""
        )
        try:
            await self._mesh.caller.call(_RPC, message, visit)
        except grpc.aio.AioRpcError as failed:
            raise Problem.of_call(failed) from None
        return Response(status_code=200, headers={"Cache-Control": "no-store"})


_OPERATION: Mapping[str, Any] = {
    "operationId": "HandleWebhook",
    "tags": ["payment"],
    "summary": "Takes in what a payment provider tells",
    "description": (
        "The body is the provider's event, signed in the header `Stripe-Signature` (`t=…,v1=…`). What is told again, "
        "or out of order, is taken and has no effect; a signature that is wrong, missing or older than five minutes "
        "is `BAD_SIGNATURE`.\n\n**Who:** the provider."
    ),
    "parameters": [
        {"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}, "example": "stripe"},
        {"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}},
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    "responses": {
        "200": {"description": "It was taken."},
        "401": problem_response("Unauthorized: BAD_SIGNATURE"),
        "404": problem_response("Not Found: NOT_FOUND (no such provider)"),
        "413": problem_response("Content Too Large: MESSAGE_TOO_LARGE"),
        "default": {"$ref": "#/components/responses/Problem"},
    },
    "security": [],
}
