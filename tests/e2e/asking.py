"""A request for every rpc, which changes nothing even where it is let in, and the two ways to ask: gRPC and REST.

The gate is told from what lies behind it by the answer: 401 and 403 are the gate's alone, and whatever else comes is
the answer of the operation. So that this answer is a refusal or a read, a request

* of a new thing lacks what the thing needs (400);
* of an order expects another total (409);
* of a change with a version names one that never was, or none (412, 428);
* of an order's next step does not fit its state: everybody's order is being picked (409), and is picking picked again;
* of a payment wants back what was not taken, of a shipment brings what is not packed (409);
* of a user's end meets an open order (409), of a session's or an address' end one that is there for that;
* for a role asks for the one that the user has (nothing changes);
* between processes is empty, or about something that is missing (400, 404).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import grpc
import httpx
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

from gateway.contract import published, rpcs
from mercato.auth import Signer
from mercato.rpc.call import Principal
from mercato.rpc.contract import owner_of
from tests.e2e.people import ANOTHERS, MISSING, OWN, Things

RPCS = {rpc.name: rpc for rpc in rpcs(published())}
_HTTP: Any = annotations_pb2.http
_VARIABLE = re.compile(r"\{([a-z_.]+)[^}]*\}")
_OF_NOW = ("x-request-id", "date", "ratelimit-")
_ANY = "order"
"""Who answers for the contracts that every service serves."""
COMMON = frozenset({"sku", "product", "category", "slot", "offer"})
"""Things that are nobody's own."""
NEVER = "999999"
"""A version that nothing has."""
HERE = {"latitude": 39.1, "longitude": -84.5}

# What is named in angles is a thing of whoever's the target is; rpcs that are not here are asked for nothing at all.
REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "SearchProducts": {"q": "biscuits"},
    "BatchGetProducts": {"ids": ["<product>"]},
    "GetProduct": {"id": "<product>"},
    "CreateProduct": {"product": {"brand": "without a title"}},
    "UpdateProduct": {"product": {"id": "<product>", "title": "?"}},
    "ArchiveProduct": {"id": "<product>", "etag": NEVER},
    "GetCategory": {"id": "<category>"},
    "CreateCategory": {"category": {"parentId": "<category>"}},
    "UpdateCategory": {"category": {"id": "<category>", "name": "?"}},
    "BatchGetOffers": {"skus": ["<sku>"]},
    "BatchGetAvailability": {"skus": ["<sku>"]},
    "GetStock": {"sku": "<sku>"},
    "ReceiveStock": {"sku": "<sku>", "quantity": -1},
    "AdjustStock": {"sku": "<sku>", "warehouseId": "nowhere", "delta": 1, "reason": "FOUND", "etag": NEVER},
    "ListMovements": {"sku": "<sku>"},
    "SetCartLine": {"sku": "<sku>", "quantity": 100},
    "RemoveCartLine": {"sku": "<sku>"},
    "PlaceOrder": {
        "lines": [{"sku": "<offer>", "quantity": 1}],
        "addressId": "<address>",
        "slotId": "<slot>",
        "paymentMethod": "pm_card_visa",
        "expectedTotal": {"currencyCode": "USD", "nanos": 10_000_000},
    },
    "ListOrders": {"customerId": "<user>"},
    "GetOrder": {"id": "<order>"},
    "ListOrderEvents": {"id": "<order>"},
    "CancelOrder": {"id": "<order>", "reason": "too late"},
    "StartPicking": {"id": "<order>"},
    "FinishPicking": {"id": "<order>", "lines": [{"sku": "not-ordered", "pickedQuantity": 1}]},
    "RetryPayment": {"id": "<order>"},
    "Redeliver": {"id": "<order>", "slotId": "0190a6e0-0000-7000-8000-000000000001"},
    "RequestReturn": {"id": "<order>", "lines": [{"sku": "<sku>", "quantity": 1}], "reason": "too early"},
    "ApproveReturn": {"id": "<order>"},
    "RefuseReturn": {"id": "<order>", "reason": "there is none"},
    "ListPayments": {"orderId": "<order>"},
    "GetPayment": {"id": "<payment>"},
    "RefundPayment": {"id": "<payment>", "amount": {"currencyCode": "USD", "units": "1"}, "reason": "not taken"},
    "ListEntries": {"paymentId": "<payment>"},
    "ReconcilePayments": {"date": "no day"},
    "LocateZone": HERE,
    "ListSlots": {"zoneId": "nowhere"},
    "GetQuote": HERE,
    "ListShipments": {"orderId": "<order>"},
    "GetShipment": {"id": "<shipment>"},
    "AssignShipment": {"id": "<shipment>", "courierId": "<user>", "etag": NEVER},
    "PickUpShipment": {"id": "<shipment>"},
    "DeliverShipment": {"id": "<shipment>"},
    "FailShipment": {"id": "<shipment>", "reason": "not under way"},
    "ReportPosition": {"id": "<shipment>", **HERE},
    "CreateCourier": {"courier": {"id": "<user>"}},
    "ListSessions": {"userId": "<user>"},
    "RevokeSession": {"id": "<session>"},
    "ListUsers": {"email": "nobody@mercato.example"},
    "GetUser": {"id": "<user>"},
    "UpdateUser": {"user": {"id": "<user>", "displayName": "?"}},
    "EraseUser": {"id": "<user>"},
    "ChangePassword": {"oldPassword": "short", "newPassword": "short"},
    "SetRoles": {"id": "<user>", "roles": ["customer"]},
    "ListAddresses": {"userId": "<user>"},
    "GetAddress": {"userId": "<user>", "id": "<address>"},
    "CreateAddress": {"userId": "<user>", "address": {"label": "nowhere"}},
    "UpdateAddress": {"userId": "me", "address": {"id": "<address>", "label": "?"}},
    "DeleteAddress": {"userId": "me", "id": "<address>"},
    "GetOperations": {"service": "order"},
    "ListDeadLetters": {"service": "order"},
    "GetDeadLetter": {"service": "order", "id": "999999999"},
    "RedriveDeadLetter": {"service": "order", "id": "999999999"},
    "DiscardDeadLetter": {"service": "order", "id": "999999999"},
    "RebuildProjection": {"service": "order", "name": "nothing"},
    "AuditService": {"service": "order"},
    "ListStuck": {"service": "order"},
    "RetryStuck": {"service": "order", "id": "<order>"},
}


def targets(rpc: str) -> tuple[str, ...]:
    """Whose the things may be that a request of an rpc is about."""
    named = set(re.findall("<([a-z]+)>", json.dumps(REQUESTS.get(rpc, {}))))
    if named - COMMON:
        return OWN, ANOTHERS, MISSING
    return (OWN, MISSING) if named else (OWN,)


def request_of(rpc: MethodDescriptor, things: Things) -> Any:
    """The request of an rpc about some things."""
    text = json.dumps(REQUESTS.get(rpc.name, {}))
    for name, value in things.items():
        text = text.replace(f"<{name}>", value)
    return ParseDict(json.loads(text), GetMessageClass(rpc.input_type)())


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody was told, but for what names the request itself."""

    status: int
    reason: str
    rest: object


class Calls:
    """Asks services directly, in the name of a process."""

    def __init__(self, targets: Mapping[str, str], signer: Signer) -> None:
        self._signer = signer
        self._channels = {name: grpc.insecure_channel(target) for name, target in targets.items()}

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            channel.close()

    def ask(self, rpc: MethodDescriptor, request: Any, principal: Principal) -> Answer:
        """What a service says to a call of ours for somebody."""
        service: Any = rpc.containing_service
        callee = owner_of(service) if owner_of(service) in self._channels else _ANY
        if "request_id" in rpc.input_type.fields_by_name:
            request.request_id = uuid4().hex
        channel = self._channels[callee]
        path = f"/{service.full_name}/{rpc.name}"
        metadata = (("authorization", f"Bearer {self._signer.token(callee, principal)}"),)
        try:
            if rpc.client_streaming:
                reply: Any = channel.stream_unary(path)(iter(()), metadata=metadata, timeout=10)
            else:
                reply = channel.unary_unary(path)(request.SerializeToString(), metadata=metadata, timeout=10)
        except grpc.RpcError as failed:
            return _told(failed)
        return Answer(0, "", reply)


def _told(failed: Any) -> Answer:
    trailers = [(name, value) for name, value in failed.trailing_metadata() if name != "x-request-id"]
    return Answer(failed.code().value[0], failed.code().name, (failed.details(), trailers))


class Visits:
    """Asks at the gateway's door."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=20)

    def close(self) -> None:
        """Leave."""
        self._client.close()

    def ask(self, form: Form, token: str) -> Answer:
        """What is answered to a request in its REST form."""
        headers = {"Idempotency-Key": uuid4().hex} if form.method == "POST" else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = self._client.request(form.method, form.path, params=form.query, headers=headers, json=form.body)
        self._client.cookies.clear()
        told = answer.json() if answer.is_error else {}
        kept = {name: value for name, value in answer.headers.items() if not name.startswith(_OF_NOW)}
        return Answer(answer.status_code, told.get("reason", ""), (kept, _without_names(answer.content, told)))


def _without_names(body: bytes, told: Any) -> bytes:
    """The very bytes, but for what names the request itself."""
    for name in ("requestId", "instance"):
        body = body.replace(json.dumps(told.get(name, "")).encode(), b"")
    return body


@dataclass(frozen=True, slots=True)
class Form:
    """A request as one of its bindings carries it."""

    method: str
    path: str
    query: Mapping[str, Any]
    body: Any


def has_address(rpc: MethodDescriptor) -> bool:
    """Whether it is served at the gateway."""
    return bool(rpc.GetOptions().HasExtension(_HTTP))


def rest_forms(rpc: MethodDescriptor, request: Any) -> Iterator[Form]:
    """The REST forms of a request: what its rules say of path, query and body."""
    rule = rpc.GetOptions().Extensions[_HTTP]
    for each in (rule, *rule.additional_bindings) if has_address(rpc) else ():
        method = each.WhichOneof("pattern")
        yield _form(method.upper(), getattr(each, method), each.body, request)


def _form(method: str, template: str, body: str, request: Any) -> Form:
    fields = MessageToDict(request)
    path = _VARIABLE.sub(lambda found: quote(_taken(fields, found[1]), safe=""), template)
    if body == "*":
        return Form(method, path, {}, fields)
    if body:
        return Form(method, path, {name: value for name, value in fields.items() if name != body}, fields.get(body, {}))
    return Form(method, path, fields, None)


def _taken(fields: dict[str, Any], name: str) -> str:
    """The value of a field, which is then in the path and nowhere else."""
    first, _, rest = name.partition(".")
    camel = re.sub(r"_(.)", lambda found: found[1].upper(), first)
    return _taken(fields[camel], rest) if rest else str(fields.pop(camel))
