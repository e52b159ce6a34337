"""JSON Schemas of messages: shape from descriptors, limits from validation rules, words from comments."""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from buf.validate import validate_pb2

Schema = dict[str, Any]

_RULES: Any = validate_pb2.field
_STRINGS: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
}
_INT32, _INT64 = {"type": "integer", "format": "int32"}, {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64 = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_TYPES: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_FIXED32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}
_STRING_FORMATS = ("uuid", "email", "uri", "hostname", "ipv4", "ipv6")


class Schemas:
    """The schemas of messages and enums, each named once and referred to ever after."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._owners: dict[str, str] = {}
        self.components: dict[str, Schema] = {}

    def message(self, message: Descriptor) -> Schema:
        """A reference to a message's schema."""
        name = self._name(message)
        if name not in self.components:
            self.components[name] = {}  # begun: messages may contain themselves
            self.components[name] = self.object(message, frozenset())
        return {"$ref": f"#/components/schemas/{name}"}

    def object(self, message: Descriptor, without: frozenset[str]) -> Schema:
        """The schema of a message itself, some of its fields left out."""
        fields = [field for field in message.fields if field.name not in without]
        required = [field.json_name for field in fields if is_required(field)]
        return {
            "type": "object",
            **self._described(message.full_name),
            "properties": {field.json_name: self.field(field) for field in fields},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field, with its comment."""
        rules = rules_of(field)
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            schema = self._map(message, rules.map)
        elif field.is_repeated:
            schema = self._list(field, rules.repeated)
        else:
            schema = self._value(field, rules)
        return {**schema, **self._described(field.full_name)}

    def _list(self, field: FieldDescriptor, rules: Any) -> Schema:
        limits = _present(rules, {"min_items": "minItems", "max_items": "maxItems"})
        unique = {"uniqueItems": True} if rules.unique else {}
        return {"type": "array", "items": self._value(field, rules.items), **limits, **unique}

    def _map(self, entry: Descriptor, rules: Any) -> Schema:
        limits = _present(rules, {"min_pairs": "minProperties", "max_pairs": "maxProperties"})
        value = self._value(entry.fields_by_name["value"], rules.values)
        return {"type": "object", "additionalProperties": value, **limits}

    def _value(self, field: FieldDescriptor, rules: Any) -> Schema:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.message_type is not None:
            plain = _STRINGS.get(field.message_type.full_name)
            return dict(plain) if plain else self.message(field.message_type)
        kind = rules.WhichOneof("type")
        limits = _limits(kind, getattr(rules, kind)) if kind else {}
        return {**_TYPES[field.type], **_optional(limits, rules)}

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = self._name(enum)
        if name not in self.components:
            lines = [
                f"* `{value.name}`: {self._comments.get(f'{enum.full_name}.{value.name}', '')}" for value in enum.values
            ]
            text = "\n".join([self._comments.get(enum.full_name, ""), "", *lines])
            self.components[name] = {
                "type": "string",
                "description": text.strip(),
                "enum": [value.name for value in enum.values],
            }
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, full_name: str) -> Schema:
        return {"description": self._comments[full_name]} if full_name in self._comments else {}

    def _name(self, described: Descriptor | EnumDescriptor) -> str:
        """The shortest name that nobody else has: `Product.State`, or with its package where two share it."""
        package = described.file.package
        short = described.full_name.removeprefix(f"{package}.")
        if self._owners.setdefault(short, described.full_name) == described.full_name:
            return short
        return described.full_name


def rules_of(field: FieldDescriptor) -> Any:
    """The validation rules of a field; empty ones where it has none."""
    return field.GetOptions().Extensions[_RULES]


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request without the field is refused."""
    rules = rules_of(field)
    if rules.required:
        return True
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or field.has_presence:
        return False
    text = rules.string
    if text.pattern and not re.search(text.pattern, ""):
        return True
    return bool(text.min_len or text.min_bytes or text.uuid or text.email or rules.repeated.min_items)


def _limits(kind: str, rules: Any) -> Schema:
    if kind == "string":
        return _string_limits(rules)
    if kind in ("int32", "uint32", "sint32", "fixed32", "sfixed32"):
        return {**_bounds(rules, 1), **({"enum": list(getattr(rules, "in"))} if getattr(rules, "in") else {})}
    if kind in ("double", "float"):
        return _bounds(rules, 0)
    return {}  # 64-bit integers are strings in JSON: their bounds stand in the comments


def _string_limits(rules: Any) -> Schema:
    limits = _present(rules, {"len": "minLength", "min_len": "minLength", "max_len": "maxLength"})
    if rules.HasField("len"):
        limits["maxLength"] = rules.len
    limits |= _present(rules, {"max_bytes": "maxLength", "pattern": "pattern"})
    form = rules.WhichOneof("well_known")
    if form in _STRING_FORMATS:
        limits["format"] = form
    if values := list(getattr(rules, "in")):
        limits["enum"] = values
    return limits


def _bounds(rules: Any, step: int) -> Schema:
    """The bounds of a number. Open ones of integers are written as closed ones, which every reader knows."""
    bounds = _present(rules, {"gte": "minimum", "lte": "maximum"})
    if rules.HasField("gt"):
        bounds |= {"minimum": rules.gt + step} if step else {"exclusiveMinimum": rules.gt}
    if rules.HasField("lt"):
        bounds |= {"maximum": rules.lt - step} if step else {"exclusiveMaximum": rules.lt}
    return bounds


def _optional(limits: Schema, rules: Any) -> Schema:
    """Limits that an empty value escapes: written so that it does here too."""
    if rules.ignore != validate_pb2.IGNORE_IF_ZERO_VALUE or not limits.keys() & {"format", "pattern", "minLength"}:
        return limits
    return {"anyOf": [{"const": ""}, limits]} if "format" not in limits else {}


def _present(rules: Any, names: Mapping[str, str]) -> Schema:
    return {shown: getattr(rules, name) for name, shown in names.items() if rules.HasField(name)}
