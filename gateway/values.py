"""Single values of JSON as protobuf fields hold them: scalars, enums, messages that JSON writes as a string."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.json_text import Flaw, Repeated

Read = Callable[[Any], Any]


class Refused(Exception):
    """A value that its field cannot hold. The path grows while the error leaves the nested readers."""

    def __init__(self, path: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason
        self.message = message

    def within(self, name: str) -> "Refused":
        """The same refusal, seen from the message or list around it."""
        self.path = name + ("." if self.path and not self.path.startswith("[") else "") + self.path
        return self


def shown(name: str) -> str:
    """A name of the client's as it may stand in an answer: short, and nothing that breaks out of a line."""
    return "".join(each if each.isprintable() else "?" for each in name[:64])


def wrong(value: Any, wanted: str) -> Refused:
    """The refusal of a value that is not what was wanted."""
    match value:
        case Repeated():
            return Refused(value.key, value.reason, value.message)
        case Flaw():
            return Refused("", value.reason, value.message)
    return Refused("", "WRONG_TYPE", f"must be {wanted}")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(value, "a string")
    if "\0" in value:
        raise Refused("", "MALFORMED", "must not contain the character NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("", "MALFORMED", "is not valid Unicode: half of a surrogate pair is missing") from None
    return value


def are_plain(values: list[Any]) -> bool:
    """Whether each is a string that needs no second look."""
    try:
        together = "".join(values)
    except TypeError:
        return False
    return together.isascii() and "\0" not in together


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise wrong(value, "a string in base64")
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("", "MALFORMED", "must be base64") from None


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(value, "true or false")
    return value


def _integer(least: int, most: int, value: Any) -> int:
    if isinstance(value, str):
        value = _quoted(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(value, "a whole number")
    if not least <= value <= most:
        raise Refused("", "OUT_OF_RANGE", f"must be between {least} and {most}")
    return value


def _quoted(text: str) -> Any:
    """The number that a text is, if it is one; written as `1e3` it is exact as far as a float is."""
    if _DIGITS.fullmatch(text):
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else None
    return number if number is not None and abs(number) <= _EXACT else text


def _real(largest: float, value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong(value, "a number")
    if abs(value) > largest:
        raise Refused("", "OUT_OF_RANGE", "is a number out of range")
    return float(value)


def _enum(numbers: Mapping[str, int], value: Any) -> int:
    if isinstance(value, str):
        if value not in numbers:
            raise Refused("", "UNKNOWN_VALUE", f"must be one of {', '.join(numbers)}")
        return numbers[value]
    # Numbers are proto3 JSON too; whether the contract defines this one is for the service's validation to say.
    return _integer(-(2**31), 2**31 - 1, value)


def _from_string(cls: type[Message], wanted: str, value: Any) -> Message:
    message: Any = cls()
    try:
        message.FromJsonString(_string(value) if isinstance(value, str) else _raise(wrong(value, wanted)))
    except ValueError:
        raise Refused("", "MALFORMED", f"must be {wanted}") from None
    return message  # type: ignore[no-any-return]


def utc(value: Any) -> tuple[int, int] | None:
    """Seconds and nanoseconds of a time in the usual form of UTC, which is read in a tenth of what the others take."""
    if not isinstance(value, str) or not _UTC.fullmatch(value):
        return None
    try:
        since = datetime.fromisoformat(value[:19]) - _EPOCH
    except ValueError:
        return None
    return since.days * 86_400 + since.seconds, int(value[20:-1].ljust(9, "0")) if len(value) > 20 else 0


def _timestamp(value: Any) -> Message:
    if usual := utc(value):
        return timestamp_pb2.Timestamp(seconds=usual[0], nanos=usual[1])
    return _from_string(timestamp_pb2.Timestamp, _A_TIME, value)


def _raise(error: Exception) -> str:
    raise error


def _enum_reader(enum: EnumDescriptor) -> Read:
    # Unspecified is what an absent field means; written out it is accepted, but not offered.
    return partial(_enum, {value.name: value.number for value in sorted(enum.values, key=lambda each: each.number)})


_A_TIME = "a time such as 2026-01-31T08:00:00Z"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  UTC, as is what is measured from it
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z")
_EXACT = 2.0**53
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,4})?")
_LARGEST_FLOAT: float = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_I32, _I64 = partial(_integer, -(2**31), 2**31 - 1), partial(_integer, -(2**63), 2**63 - 1)
_U32, _U64 = partial(_integer, 0, 2**32 - 1), partial(_integer, 0, 2**64 - 1)
_SCALARS: Mapping[int, Read] = {
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BYTES: _bytes,
    FieldDescriptor.TYPE_BOOL: _boolean,
    FieldDescriptor.TYPE_DOUBLE: partial(_real, math.nextafter(math.inf, 0)),
    FieldDescriptor.TYPE_FLOAT: partial(_real, _LARGEST_FLOAT),
    FieldDescriptor.TYPE_INT32: _I32,
    FieldDescriptor.TYPE_SINT32: _I32,
    FieldDescriptor.TYPE_SFIXED32: _I32,
    FieldDescriptor.TYPE_INT64: _I64,
    FieldDescriptor.TYPE_SINT64: _I64,
    FieldDescriptor.TYPE_SFIXED64: _I64,
    FieldDescriptor.TYPE_UINT32: _U32,
    FieldDescriptor.TYPE_FIXED32: _U32,
    FieldDescriptor.TYPE_UINT64: _U64,
    FieldDescriptor.TYPE_FIXED64: _U64,
}
_STRINGS: Mapping[str, Read] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": partial(_from_string, duration_pb2.Duration, "a duration such as 1.5s"),
    "google.protobuf.FieldMask": partial(
        _from_string, field_mask_pb2.FieldMask, "names of fields in lowerCamelCase, separated by commas"
    ),
}


def single(field: FieldDescriptor) -> Read | None:
    """The reader of one value of the field; None where the field holds a message that JSON writes as an object."""
    if field.enum_type is not None:
        return _enum_reader(field.enum_type)
    if field.message_type is not None:
        return _STRINGS.get(field.message_type.full_name)
    return _SCALARS[field.type]
