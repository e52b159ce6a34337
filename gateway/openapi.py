"""The OpenAPI 3.1 document, wholly from the contracts: what stands there is what the gateway does."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.calls import LONGEST_CONSISTENCY
from gateway.comments import reasons_in
from gateway.contract import ETAG, REQUEST_ID, Binding, Operation, field_at
from gateway.examples import Examples
from gateway.lines import LONGEST
from gateway.problems import lower_camel
from gateway.reasons import phrase, status_in_documents
from gateway.routes import Template
from gateway.rows import CSV, NDJSON, Layout, columns_of
from gateway.schema import Schema, Schemas, is_required
from gateway.sessions import COOKIE
from gateway.values import single
from gateway.writer import dumps
from mercato.policy import Limit

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
SIGNED_IN: list[Schema] = [{"bearer": []}, {"cookie": []}]
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_ANY_HEADERS = ("X-Request-Id", "X-Consistency")
_HEADERS: Mapping[str, Schema] = {
    "Idempotency-Key": {
        "description": "Makes repeats of this request harmless: they answer with what the first one made.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "example": "one-for-each-intent",
    },
    "If-Match": {
        "description": "The ETag that the change is based on. A newer version is answered with 412.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "An ETag that the client has. If it is still current, the answer is 304.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "An id for this request, echoed and logged; made where it is missing.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "X-Consistency": {
        "description": "The token of an earlier change: the answer shows it, or is 503 after a short wait.",
        "schema": {"type": "string", "maxLength": LONGEST_CONSISTENCY},
    },
}
_NDJSON = f"A JSON object on each line, in UTF-8; a line of at most {LONGEST} bytes."
_CSV = (
    f"Records as RFC 4180 has them, in UTF-8, of at most {LONGEST} bytes; the first names the columns. An empty cell "
    "leaves its field unset, `|` stands between the values of a list."
)
_ABOUT = (
    "A shop that delivers within the hour. Sign in with `POST /v1/sessions` and send the token as "
    "`Authorization: Bearer`. Every refusal is a problem (RFC 9457) with a stable `reason`; but what is no HTTP, more "
    "than 100 headers or 400 KiB of them, and addresses above 64 KiB are answered with a bare 400, 431 or 414, and the "
    "connection is closed."
)


def document(operations: Sequence[Operation], comments: Mapping[str, str], further: Mapping[str, Any]) -> Schema:
    """The document of the operations, and of further paths that are none."""
    schemas = Schemas(comments)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        for number, binding in enumerate(operation.bindings):
            described = _Described(operation, binding, schemas, comments)
            item = paths.setdefault(public_path(binding.template), {})
            method = binding.method.lower()
            # OpenAPI 3.1 has no place for methods of one's own; 3.2 calls it that.
            place = item if method in _METHODS else item.setdefault("x-additionalOperations", {})
            place[method] = described.operation(number)
    services = {operation.service: operation.rpc.containing_service.full_name for operation in operations}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mercato", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": comments.get(full, name)} for name, full in services.items()],
        "paths": dict(sorted({**paths, **further}.items())),
        "components": {
            "schemas": {**dict(sorted(schemas.components.items())), "Problem": _problem()},
            "parameters": {name: {"name": name, "in": "header", **form} for name, form in _HEADERS.items()},
            "responses": {"Problem": problem_response("Anything else that goes wrong.")},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token of a session."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def public_path(template: Template) -> str:
    """A template as OpenAPI writes it: variables by the plain names of their fields."""
    return re.sub(r"\{([a-z0-9_.]+)(=[^}]*)?\}", lambda match: f"{{{variable_name(match[1])}}}", template.text)


def _how_often(operation: Operation) -> str:
    """The rates of an operation in words."""
    limits = (
        f"{each.rate.requests} in {each.rate.seconds:g} s for each {_counted(each)}"
        for each in (*operation.policy.limits, *operation.policy.limits_by_field)
    )
    told = " and ".join(limits)
    return f"\n\n**How often:** {told}; see the `RateLimit-*` headers." if told else ""


def _counted(limit: Limit) -> str:
    """What a rate counts together, in words."""
    if limit.field:
        return f"`{lower_camel(limit.field)}` (not where that succeeded before)"
    return "session" if limit.per == "principal" else limit.per


def variable_name(path: str) -> str:
    """What a variable is called: `product.id` is `id`."""
    return lower_camel(path.rpartition(".")[2])


class _Described:
    """One binding of an operation, as the document shows it."""

    def __init__(self, operation: Operation, binding: Binding, schemas: Schemas, comments: Mapping[str, str]) -> None:
        self._operation = operation
        self._binding = binding
        self._schemas = schemas
        self._examples = Examples(comments)
        self._comment = comments.get(operation.rpc.full_name, operation.name)
        self._variables = [variable.name for variable in binding.template.variables]

    def operation(self, number: int) -> Schema:
        """The operation object."""
        operation = self._operation
        summary = re.split(r"(?<=[.;])\s", self._comment, maxsplit=1)[0].rstrip(".;").replace("\n", " ")
        return {
            "operationId": _id(operation) + (f"_{number + 1}" if number else ""),
            "tags": [operation.service],
            "summary": summary,
            "description": f"{self._comment}\n\n**Who:** {who(operation)}.{_how_often(operation)}",
            "parameters": [*self._path(), *self._query(), *self._headers()],
            **self._body(),
            "responses": self._responses(),
            "security": [{}] if operation.public else SIGNED_IN,
        }

    def _path(self) -> list[Schema]:
        fields = ((name, field_at(self._operation.rpc.input_type, name)) for name in self._variables)
        found = [self._parameter(variable_name(name), "path", field) for name, field in fields if field]
        for parameter, name in zip(found, self._variables, strict=True):
            if name in self._operation.policy.own_fields:
                parameter["example"] = "me"
        return found

    def _query(self) -> list[Schema]:
        if self._binding.body == "*":
            return []
        request = self._operation.rpc.input_type
        taken = {REQUEST_ID, self._binding.body, *self._variables}
        return [
            self._parameter(name, "query", field)
            for name, field in _leaves(request, "")
            if field.name not in taken and name.partition(".")[0] not in taken
        ]

    def _parameter(self, name: str, place: str, field: FieldDescriptor) -> Schema:
        schema = self._schemas.field(field)
        about = schema.pop("description", "")
        required = place == "path" or is_required(field)
        # What may be left out has none: whoever tries the operation out would send them all.
        example = self._examples.value(field) if required else None
        shown = {} if example is None else {"example": example}
        return {"name": name, "in": place, "required": required, "description": about, "schema": schema, **shown}

    def _headers(self) -> list[Schema]:
        return [{"$ref": f"#/components/parameters/{name}"} for name in self._header_names()] + self._key()

    def _header_names(self) -> list[str]:
        operation = self._operation
        names = list(_ANY_HEADERS)
        if operation.safe and ETAG in operation.rpc.output_type.fields_by_name:
            names.append("If-None-Match")
        body = operation.rpc.input_type.fields_by_name.get(self._binding.body)
        versioned = (operation.rpc.input_type, *([body.message_type] if body and body.message_type else []))
        if not operation.safe and not operation.creates and any(ETAG in each.fields_by_name for each in versioned):
            names.append("If-Match")
        return names

    def _key(self) -> list[Schema]:
        """The header of repeats; written out, for it is required here and not there."""
        operation = self._operation
        if self._binding.method != "POST" or REQUEST_ID not in operation.rpc.input_type.fields_by_name:
            return []
        required = operation.policy.key_required
        return [{"name": "Idempotency-Key", "in": "header", "required": required, **_HEADERS["Idempotency-Key"]}]

    def _body(self) -> Schema:
        request, body = self._operation.rpc.input_type, self._binding.body
        if not body:
            return {}
        if self._operation.uploads:
            return {"requestBody": {"required": True, "content": self._rows()}}
        if body == "*":
            hidden = frozenset({REQUEST_ID, *self._variables})
            schema, example = self._schemas.object(request, hidden), self._examples.message(request, hidden)
            required = bool(schema.get("required"))
        else:
            field = request.fields_by_name[body]
            assert field.message_type
            schema, required = self._schemas.message(field.message_type), is_required(field)
            example = self._examples.message(field.message_type)
        content = {"application/json": {"schema": schema, "example": example}}
        return {"requestBody": {"required": required, "content": content}}

    def _rows(self) -> Schema:
        """The kinds that an upload may be of."""
        layout = Layout(self._operation, self._binding)
        row = self._schemas.object(layout.kind, layout.hidden)
        objects = {"type": "string", "contentMediaType": NDJSON, "contentSchema": row, "description": _NDJSON}
        names = ", ".join(f"`{name}`" for name in columns_of(layout.kind, layout.hidden))
        records = {"type": "string", "contentMediaType": CSV, "description": f"{_CSV} Columns: {names}."}
        example, cells = (
            self._examples.message(layout.kind, layout.hidden),
            self._examples.row(layout.kind, layout.hidden),
        )
        lines = "".join(f"{each}\n" for each in (",".join(cells), ",".join(cells.values())))
        return {
            NDJSON: {"schema": objects, "example": dumps(example).decode() + "\n"},
            CSV: {"schema": records, "example": lines},
        }

    def _responses(self) -> Schema:
        problems = {str(status): problem_response(text) for status, text in sorted(self._problems().items())}
        return {**self._successes(), **problems, "default": {"$ref": "#/components/responses/Problem"}}

    def _successes(self) -> Schema:
        if self._binding.method == "DELETE":
            return {"204": {"description": "It is gone."}}
        reply = self._operation.rpc.output_type
        part = reply.fields_by_name[self._binding.response_body] if self._binding.response_body else None
        schema = self._schemas.field(part) if part else self._schemas.message(reply)
        if self._operation.streams:
            return {"200": {"description": "One on each line.", "content": {NDJSON: {"schema": schema}}}}
        content = {"content": {"application/json": {"schema": schema}}}
        if not self._operation.creates:
            return {"200": {"description": "Done.", **content}}
        accepted = {"202": {"description": "Accepted, and still to be decided: see Location.", **content}}
        return {"201": {"description": "Made.", **content}, **(accepted if _may_be_pending(reply) else {})}

    def _problems(self) -> dict[int, str]:
        """What may go wrong, by status: what the edge refuses, and what the comment names."""
        found: dict[int, list[str]] = {400: ["VALIDATION_FAILED"]}
        for reason in self._reasons():
            status = status_in_documents(reason, self._operation.service)
            found.setdefault(status, []).append(reason)
        return {status: f"{phrase(status)}: {', '.join(dict.fromkeys(names))}" for status, names in found.items()}

    def _reasons(self) -> list[str]:
        operation = self._operation
        repeats = ["IDEMPOTENCY_KEY_REUSED", "IDEMPOTENCY_KEY_IN_USE"] if operation.policy.idempotent_by else []
        return [*self._refusals(), *repeats, *reasons_in(self._comment)]

    def _refusals(self) -> list[str]:
        """The reasons for which the edge refuses a request before the service hears of it."""
        operation, policy = self._operation, self._operation.policy
        changes = self._binding.method != "GET"
        # A session that has ended is none of the public's, except where a new one may be had for it.
        found = [] if operation.public and changes else ["UNAUTHENTICATED"]
        found += [] if operation.public else ["FORBIDDEN"]
        found += ["ORIGIN_REFUSED"] if changes else []
        # Whose it is stands in the request, so that of another's there is nothing.
        found += ["NOT_FOUND"] if {*policy.own_fields} & {*operation.rpc.input_type.fields_by_name} else []
        found += ["IDEMPOTENCY_KEY_REQUIRED"] if policy.key_required else []
        found += ["RATE_LIMITED"] if policy.limits or policy.limits_by_field else []
        body = ["REQUEST_TIMEOUT", "MESSAGE_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"] if self._binding.body else []
        return [*found, "NOT_ACCEPTABLE", *(["MALFORMED_JSON", *body] if body and not operation.uploads else body)]


def who(operation: Operation) -> str:
    """Who may call an operation, in words."""
    policy = operation.policy
    if policy.anyone:
        return "everybody"
    own = [] if policy.own_roles is None else [f"{', '.join(sorted(policy.own_roles)) or 'every account'} (their own)"]
    return "; ".join([*([", ".join(sorted(policy.roles))] if policy.roles else []), *own])


def _id(operation: Operation) -> str:
    """The rpc's name, with its version where that is not the first: each has its own in the document."""
    version = operation.rpc.containing_service.file.package.rpartition(".")[2]
    return operation.name if version == "v1" else f"{operation.name}_{version}"


def _leaves(message: Descriptor, prefix: str, above: tuple[Descriptor, ...] = ()) -> list[tuple[str, FieldDescriptor]]:
    """The fields that a query may name, with their dotted names; of what contains itself, once."""
    found: list[tuple[str, FieldDescriptor]] = []
    for field in message.fields:
        name = prefix + field.json_name
        if single(field) is not None:
            found.append((name, field))
        elif field.message_type is not None and not field.is_repeated and field.message_type not in above:
            found += _leaves(field.message_type, f"{name}.", (*above, message, field.message_type))
    return found


def _may_be_pending(reply: Descriptor) -> bool:
    state = reply.fields_by_name.get("state")
    return state is not None and state.enum_type is not None and "PENDING" in state.enum_type.values_by_name


def problem_response(text: str) -> Schema:
    """The answer of a problem, as the document describes it."""
    return {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _problem() -> Schema:
    text = {"type": "string"}
    violation = {"type": "object", "properties": {"field": text, "reason": text, "message": text}}
    return {
        "type": "object",
        "description": "What went wrong (RFC 9457). Reasons may add members of their own.",
        "required": ["type", "title", "status", "instance", "reason", "requestId"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "A page about the reason."},
            "title": text,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What to do next."},
            "instance": {"type": "string", "description": "The address that was asked for."},
            "reason": {"type": "string", "description": "Why, as a stable word.", "pattern": "^[A-Z0-9_]+$"},
            "requestId": {"type": "string", "description": "The id that the logs know this request by."},
            "errors": {"type": "array", "items": violation, "description": "What is wrong, field by field."},
            "retryAfter": {"type": "number", "description": "Seconds after which it may work."},
        },
    }
