"""REST requests into protobuf requests, and replies back: one class for each binding, compiled once."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from gateway.contract import ETAG, MASK, REQUEST_ID, Binding, Operation, field_at
from gateway.json_text import MalformedJson, loads
from gateway.problems import Problem, lower_camel
from gateway.query import QueryReader, put_value
from gateway.reader import MessageReader
from gateway.values import Refused
from gateway.writer import Write, dumps, field_writer, writer
from mercato.errors import FieldViolation


class Transcoder:
    """Turns requests of one binding into messages, and messages into answers."""

    def __init__(self, operation: Operation, binding: Binding) -> None:
        request = operation.rpc.input_type
        self._new = operation.request
        self._body = binding.body
        self._variables = {each.name: _fields(request, each.name) for each in binding.template.variables}
        self._query = QueryReader(request, frozenset({REQUEST_ID, binding.body, *self._variables}))
        self._takes_query = binding.body != "*"
        self._read = None if operation.uploads else _body_reader(request, binding.body)
        self._mask = _Mask.of(request, binding.body, self._variables)
        self._response_body = binding.response_body
        self._write = _answer_writer(operation.rpc.output_type, binding.response_body)
        # How clients know the fields that a service complains about.
        self.public: Mapping[str, str] = {
            "requestId": "Idempotency-Key",
            **({lower_camel(binding.body): ""} if binding.body not in ("", "*") else {}),
        }
        self.has_request_id = REQUEST_ID in request.fields_by_name
        self.etag_path = _etag_path(request, binding.body)

    @property
    def takes_body(self) -> bool:
        """Whether requests have a body."""
        return self._read is not None

    def request(self, variables: Mapping[str, str], query: bytes, body: bytes) -> Message:
        """The message of a request; Problem when it cannot be one."""
        try:
            message = self._new()
            given = self._merge_body(message, body) if body else {}
            if query:
                self._merge_query(message, query)
            self._merge_variables(message, variables)
            if self._mask:
                self._mask.settle(message, given)
            return message
        except MalformedJson as wrong:
            raise Problem.edge("MALFORMED_JSON", f"{wrong}.") from None
        except Refused as refused:
            raise Problem.invalid(FieldViolation(refused.path, refused.reason, refused.message)) from None

    def answer(self, message: Message) -> bytes:
        """The body of the answer."""
        return dumps(self._write(getattr(message, self._response_body) if self._response_body else message))

    def etag(self, message: Any) -> str:
        """The version that the request is based on, as its body has it."""
        for name in self.etag_path:
            message = getattr(message, name)
        return str(message) if self.etag_path else ""

    def set_etag(self, message: Any, etag: str) -> None:
        """Base the request on a version."""
        for name in self.etag_path[:-1]:
            message = getattr(message, name)
        setattr(message, self.etag_path[-1], etag)

    def _merge_body(self, message: Message, body: bytes) -> dict[str, Any]:
        value = loads(body)
        if self._read is None:
            raise Refused("", "UNEXPECTED_BODY", "this request takes no body")
        target = message if self._body == "*" else getattr(message, self._body)
        target.SetInParent()
        self._read.merge(target, value)
        return value if isinstance(value, dict) else {}

    def _merge_query(self, message: Message, query: bytes) -> None:
        if not self._takes_query:
            raise Refused("", "UNKNOWN_PARAMETER", "this request takes no query parameters")
        self._query.merge(message, query)

    def _merge_variables(self, message: Message, variables: Mapping[str, str]) -> None:
        """Set what the path says. A body that says otherwise was meant for another path."""
        for name, text in variables.items():
            path = self._variables[name]
            before = _value(message, path)
            shown = path[-1].json_name
            try:
                put_value(message, path, text)
            except Refused as refused:
                raise refused.within(shown) from None
            if before not in (path[-1].default_value, _value(message, path)):
                raise Refused(shown, "MISMATCH", "is another one in the path")


class _Mask:
    """Which fields of a resource a PATCH changes."""

    def __init__(self, resource: Descriptor, bound: frozenset[str]) -> None:
        self._resource = resource
        self._bound = bound | {ETAG}

    @classmethod
    def of(cls, request: Descriptor, body: str, variables: Mapping[str, Any]) -> "_Mask | None":
        field = request.fields_by_name.get(MASK)
        if field is None or body in ("", "*"):
            return None
        bound = (name.removeprefix(f"{body}.") for name in variables if name.startswith(f"{body}."))
        resource = request.fields_by_name[body].message_type
        return cls(resource, frozenset(bound)) if resource else None

    def settle(self, message: Any, given: Mapping[str, Any]) -> None:
        """Check the mask; where there is none, the fields that the body names are meant."""
        mask: FieldMask = getattr(message, MASK)
        for path in mask.paths:
            if field_at(self._resource, path) is None:
                raise Refused("updateMask", "UNKNOWN_FIELD", f"names {path[:64]!r}, which is not a field")
        if not mask.paths:
            named = [field.name for field in self._resource.fields if {field.name, field.json_name} & given.keys()]
            mask.paths.extend(name for name in named if name not in self._bound)


def _fields(message: Descriptor, path: str) -> tuple[FieldDescriptor, ...]:
    """The fields along a dotted path."""
    head, _, rest = path.partition(".")
    field = message.fields_by_name[head]
    return (field, *_fields(field.message_type, rest)) if field.message_type and rest else (field,)


def _value(message: Any, path: tuple[FieldDescriptor, ...]) -> Any:
    for field in path:
        message = getattr(message, field.name)
    return message


def _body_reader(request: Descriptor, body: str) -> MessageReader | None:
    match body:
        case "":
            return None
        case "*":
            # The key of a repeat has its header; two ways to say it could differ.
            return MessageReader(request, hidden=frozenset({REQUEST_ID}))
    field = request.fields_by_name[body]
    if field.message_type is None or field.is_repeated:
        raise ValueError(f"{request.full_name}: the body {body} is no single message")
    return MessageReader(field.message_type)


def _answer_writer(reply: Descriptor, response_body: str) -> Write:
    return field_writer(reply.fields_by_name[response_body]) if response_body else writer(reply)


def _etag_path(request: Descriptor, body: str) -> tuple[str, ...]:
    if ETAG in request.fields_by_name:
        return (ETAG,)
    field = request.fields_by_name.get(body)
    has_etag = field is not None and field.message_type is not None and ETAG in field.message_type.fields_by_name
    return (body, ETAG) if has_etag else ()
