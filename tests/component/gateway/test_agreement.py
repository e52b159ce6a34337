"""The same wrong messages over REST and over gRPC: the same reason, the same fields, the same words."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from chaos.fuzz.grpc_cases import GrpcCases, spoil
from chaos.fuzz.hoard import Hoard
from gateway.contract import Binding, Operation, operations, published
from mercato.api.user.v1 import user_pb2
from mercato.auth import Signer
from mercato.errors import InvalidArgument
from mercato.rpc.call import Principal
from mercato.rpc.status import error_of_call
from mercato.rpc.validation import validate
from tests.component.gateway.conftest import Mesh

ROLES = ("customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
WHO = Principal("0190a6e0-0000-7000-8000-000000000042", frozenset(ROLES), "0190a6e0-0000-7000-8000-000000000043")
OF_EACH, TRIES = 5, 40
# Of a larger message gRPC tells the first mistake only; what has no text cannot be said in an address.
LARGEST = 2_000


@pytest.fixture
def environment(_world: tuple[Mesh, dict[str, str]]) -> Mapping[str, str]:
    """Where the services and their keys are."""
    return _world[1]


@pytest.fixture
def channels(environment: Mapping[str, str]) -> Iterator[Mapping[str, grpc.Channel]]:
    """A connection to each of the services behind the gateway."""
    named = {name.partition("_TARGET_")[2].lower(): target for name, target in environment.items()}
    targets = {name: target for name, target in named.items() if name}
    opened = {name: grpc.insecure_channel(target) for name, target in targets.items()}
    yield opened
    for channel in opened.values():
        channel.close()


def test_over_rest_and_grpc_a_wrong_message_is_refused_alike(
    environment: Mapping[str, str], mesh: Mesh, client: httpx.Client, channels: Mapping[str, grpc.Channel]
) -> None:
    mesh.user.answers["LookUpSession"] = _everybody
    signer = Signer.load(Path(environment["MERCATO_KEYS"]), "gateway")
    compared, differing = 0, list[str]()
    for operation in operations(published()):
        if operation.service not in channels or operation.uploads or operation.streams:
            continue
        for message in wrong_messages(operation):
            over_rest = _over_rest(client, operation, message)
            token = signer.token(operation.service, WHO)
            over_grpc = _over_grpc(channels[operation.service], operation, message, token)
            compared += 1
            if over_rest != over_grpc:
                differing.append(f"{operation.name} {message!r}: {over_rest} and {over_grpc}")
    assert not differing, "\n".join(differing)
    assert compared > 100


def _everybody(_request: Any) -> user_pb2.SessionIdentity:
    identity = user_pb2.SessionIdentity(session_id=WHO.session_id, subject=WHO.subject, roles=ROLES)
    identity.expire_time.FromJsonString("2100-01-01T00:00:00Z")
    return identity


def wrong_messages(operation: Operation) -> list[Message]:
    """Messages that break the contract's rules, and can be said in JSON and in an address."""
    dice, cases = random.Random(operation.name), GrpcCases(Hoard(), [], {})
    found = list[Message]()
    for _ in range(TRIES):
        message = cases.made(operation.request, dice, {})
        spoil(message, dice)
        if _is_wrong(message) and _is_sayable(operation.bindings[0], message):
            found.append(message)
    return found[:OF_EACH]


def _is_wrong(message: Any) -> bool:
    if "request_id" in message.DESCRIPTOR.fields_by_name:
        message.request_id = "key"
    if "update_mask" in message.DESCRIPTOR.fields_by_name:
        message.update_mask.paths[:] = ["etag"]  # what a mask may name, the gateway checks before there is a message
    try:
        validate(message)
    except InvalidArgument:
        return True
    return False


def _is_sayable(binding: Binding, message: Any) -> bool:
    """Whether JSON has words for it: no number without a name, no time without a year, no half address."""
    try:
        said = json_format.MessageToDict(message)
    except (ValueError, json_format.Error):
        return False
    back = type(message)()
    json_format.ParseDict(said, back)
    texts = [*_texts(said)]
    in_path = [_at(message, variable.name) for variable in binding.template.variables]
    plain = all(text.isprintable() and text == text.strip() and "," not in text for text in texts)
    whole = all(
        text and not set(text) & set("/\\;") and text not in (".", "..", "*", "**", "current") for text in in_path
    )
    return back == message and plain and whole and message.ByteSize() < LARGEST and not [*_numbered(said, message)]


def _texts(said: Any) -> Iterator[str]:
    match said:
        case str():
            yield said
        case dict():
            for each in said.values():
                yield from _texts(each)
        case list():
            for each in said:
                yield from _texts(each)


def _numbered(said: Mapping[str, Any], message: Any) -> Iterator[str]:
    """Enums that have no name for their value."""
    for field, value in message.ListFields():
        if field.enum_type is not None and not isinstance(said.get(field.json_name), str):
            yield field.name
        if field.message_type is not None and not field.is_repeated and isinstance(said.get(field.json_name), dict):
            yield from _numbered(said[field.json_name], value)


def _at(message: Any, path: str) -> str:
    for name in path.split("."):
        message = getattr(message, name)
    return str(message)


Refusal = tuple[str, tuple[tuple[str, str, str], ...]]


def _over_rest(client: httpx.Client, operation: Operation, message: Any) -> Refusal:
    binding, said = operation.bindings[0], json_format.MessageToDict(message)
    said.pop("requestId", None)
    path = binding.template.text
    for variable in binding.template.variables:
        path = path.replace(f"{{{variable.name}}}", quote(_at(message, variable.name), safe=""))
        _drop(said, variable.name)
    body = said if binding.body == "*" else said.pop(binding.body, {}) if binding.body else None
    query = urlencode([*_query(said, "")]) if binding.body != "*" else ""
    headers = {"Authorization": "Bearer everybody", **({"Idempotency-Key": "key"} if binding.method == "POST" else {})}
    problem = client.request(binding.method, f"{path}?{query}".rstrip("?"), json=body, headers=headers).json()
    errors = ((each["field"], each["reason"], each["message"]) for each in problem.get("errors", ()))
    return problem.get("reason", ""), tuple(sorted(errors))


def _drop(said: dict[str, Any], path: str) -> None:
    first, *rest = (json_name(part) for part in path.split("."))
    if not rest:
        said.pop(first, None)
    elif isinstance(said.get(first), dict):
        said[first].pop(rest[0], None)


def json_name(name: str) -> str:
    """A field's name in JSON."""
    head, *rest = name.split("_")
    return head + "".join(each.title() for each in rest)


def _query(said: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        match value:
            case dict():
                yield from _query(value, f"{prefix}{name}.")
            case list():
                yield from ((prefix + name, str(each)) for each in value)
            case bool():
                yield prefix + name, str(value).lower()
            case _:
                yield prefix + name, str(value)


def _over_grpc(channel: grpc.Channel, operation: Operation, message: Message, token: str) -> Refusal:
    path = f"/{operation.rpc.containing_service.full_name}/{operation.name}"
    call: Any = channel.unary_unary(path)
    with pytest.raises(grpc.RpcError) as refused:
        call(message.SerializeToString(), timeout=30, metadata=[("authorization", f"Bearer {token}")])
    error = error_of_call(cast("grpc.Call", refused.value))
    body = operation.bindings[0].body
    within = f"{json_name(body)}." if body not in ("", "*") else ""
    fields = ((each.field.removeprefix(within), each.reason, each.message) for each in error.fields)
    return error.reason, tuple(sorted(fields))
