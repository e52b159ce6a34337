"""The operations of the contracts, as their descriptors tell them: REST bindings, messages, policy."""

import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

import mercato.api
from gateway.routes import Template
from mercato.policy import Policy, policy_of
from mercato.rpc.contract import owner_of

_HTTP: Any = annotations_pb2.http  # its stub says less than it is
REQUEST_ID, ETAG, MASK = "request_id", "etag", "update_mask"
# Of uploads: a row's field for the line it stood on, the reply's for rows that were refused, how many and the first.
LINE, FAILED, ERRORS = "line", "failed", "errors"
# By AIP a rpc that makes something says so: what it makes is there when it answers, or will be.
_CREATES = re.compile(r"(Create|Register|Place)[A-Z]\w*|SignIn|Start[A-Z]\w*Session")


@dataclass(frozen=True, slots=True)
class Binding:
    """One REST form of an operation."""

    method: str
    template: Template
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An rpc that has a REST form."""

    rpc: MethodDescriptor
    bindings: tuple[Binding, ...]
    policy: Policy
    request: type[Message]
    response: type[Message]

    @property
    def name(self) -> str:
        """The rpc's name, such as `GetProduct`."""
        return self.rpc.name

    @property
    def service(self) -> str:
        """The process that serves it, such as `product`: the folder of its contract."""
        return owner_of(self.rpc.containing_service)

    @property
    def uploads(self) -> bool:
        """Whether its requests stream in, as the rows of a body."""
        return bool(self.rpc.client_streaming)

    @property
    def streams(self) -> bool:
        """Whether its replies stream out."""
        return bool(self.rpc.server_streaming)

    def rows(self, binding: Binding) -> FieldDescriptor | None:
        """The list in a request that the rows of a body go into; None if each is a request."""
        return None if binding.body == "*" else self.rpc.input_type.fields_by_name[binding.body]

    @property
    def safe(self) -> bool:
        """Whether it changes nothing."""
        return self.rpc.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    @property
    def creates(self) -> bool:
        """Whether it makes something, and answers 201."""
        return bool(_CREATES.fullmatch(self.name))

    @property
    def public(self) -> bool:
        """Whether it needs no session."""
        return self.policy.anyone

    @property
    def gives_session(self) -> bool:
        """Whether its answer begins a session."""
        return {"token", "expire_time"} <= set(self.rpc.output_type.fields_by_name)


def published() -> list[FileDescriptor]:
    """Every contract of the installed stubs."""
    folder = Path(next(iter(mercato.api.__path__)))
    names = sorted(path.relative_to(folder).with_suffix("") for path in folder.rglob("*_pb2.py"))
    modules = (importlib.import_module(".".join((mercato.api.__name__, *name.parts))) for name in names)
    return [module.DESCRIPTOR for module in modules]


def rpcs(files: Iterable[FileDescriptor]) -> Iterator[MethodDescriptor]:
    """Every rpc of the contracts."""
    for file in files:
        for service in file.services_by_name.values():
            yield from service.methods


def operations(files: Iterable[FileDescriptor]) -> list[Operation]:
    """The rpcs that have a REST form; ValueError for one that cannot be had."""
    return [_operation(rpc) for rpc in rpcs(files) if rpc.GetOptions().HasExtension(_HTTP)]


def kept(found: Iterable[Operation]) -> frozenset[str]:
    """The services of which gateways keep replies."""
    return frozenset(each.service for each in found if each.policy.keeping)


def _operation(rpc: MethodDescriptor) -> Operation:
    if rpc.client_streaming and rpc.server_streaming:
        raise ValueError(f"{rpc.full_name} streams both ways: HTTP has no form for that")
    rule: http_pb2.HttpRule = rpc.GetOptions().Extensions[_HTTP]
    bindings = tuple(_binding(each) for each in (rule, *rule.additional_bindings))
    for binding in bindings:
        _check(rpc, binding)
    for limit in policy_of(rpc).limits_by_field:
        if field_at(rpc.input_type, limit.field) is None:
            raise ValueError(f"{rpc.full_name}: the rate counts by {limit.field or 'a field'}, which is no field")
    message = message_factory.GetMessageClass
    return Operation(rpc, bindings, policy_of(rpc), message(rpc.input_type), message(rpc.output_type))


def _binding(rule: http_pb2.HttpRule) -> Binding:
    kind = rule.WhichOneof("pattern")
    method, path = (rule.custom.kind, rule.custom.path) if kind == "custom" else (kind, getattr(rule, kind or "get"))
    return Binding(str(method).upper(), Template.parse(path), rule.body, rule.response_body)


def _check(rpc: MethodDescriptor, binding: Binding) -> None:
    """Refuse rules that name fields which are not there: better at start than at the first request."""
    for name in (variable.name for variable in binding.template.variables):
        field = field_at(rpc.input_type, name)
        if field is None or field.is_repeated or field.message_type is not None:
            raise ValueError(f"{rpc.full_name}: {binding.template.text} has no single value {name}")
    if binding.body not in ("", "*") and binding.body not in rpc.input_type.fields_by_name:
        raise ValueError(f"{rpc.full_name}: the body is {binding.body}, which is no field")
    if rpc.client_streaming and not _holds_rows(rpc, binding.body):
        raise ValueError(f"{rpc.full_name}: requests stream in, so the body is a list of messages, or *")
    if binding.response_body and binding.response_body not in rpc.output_type.fields_by_name:
        raise ValueError(f"{rpc.full_name}: the response_body is {binding.response_body}, which is no field")


def _holds_rows(rpc: MethodDescriptor, body: str) -> bool:
    field = rpc.input_type.fields_by_name.get(body)
    return body == "*" or (field is not None and field.is_repeated and field.message_type is not None)


def field_at(message: Descriptor, path: str) -> FieldDescriptor | None:
    """The field at a dotted path below a message."""
    head, _, rest = path.partition(".")
    field = message.fields_by_name.get(head)
    if field is None or not rest:
        return field
    return field_at(field.message_type, rest) if field.message_type and not field.is_repeated else None
