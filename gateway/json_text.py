"""JSON text read strictly: nothing in it may mean different things to two readers.

Syntax, encoding and depth are refused here. What is wrong at one place only (a key given twice, a number that no field
can hold) becomes a `Flaw` in that place, so that whoever knows the path can name it.
"""

import json
import math
import re
import sys
from itertools import accumulate
from typing import Any

import orjson

MAX_DEPTH = 32
_LONGEST_NUMBER = sys.int_info.default_max_str_digits
_BRACKET = re.compile(r"[\[\]{}]")
_NEITHER_BRACKETS_NOR_QUOTES = bytes(set(range(256)) - set(b'[]{}"\\'))
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class MalformedJson(ValueError):
    """Text that is not JSON, or not JSON that we read."""


class Flaw:
    """What stands in the place of a value that cannot be taken."""

    __slots__ = ("message", "reason")

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message


class Repeated(Flaw):
    """An object in which a key stands twice."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        super().__init__("DUPLICATE_KEY", "is given twice")
        self.key = key


def loads(body: bytes) -> Any:
    """The value of a JSON text, with `Flaw`s in it where a value is wrong."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedJson("the body is not UTF-8") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(body, text):
        raise MalformedJson(f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        value = _scanned(_USUAL, text)
        return value if _each_key_once(value, text) else _scanned(_CAREFUL, text)
    except json.JSONDecodeError as wrong:
        raise MalformedJson(f"{wrong.msg} at line {wrong.lineno}, column {wrong.colno}") from None
    except ValueError:  # a number of more digits than Python reads
        return _scanned(_CAREFUL, text)


def _scanned(decoder: json.JSONDecoder, text: str) -> Any:
    """What the decoder would say, in half its time where no blanks surround the value."""
    try:
        value, end = decoder.scan_once(text, 0)  # type: ignore[attr-defined]  # its stub lacks it
    except StopIteration:
        return decoder.decode(text)
    return value if end == len(text) else decoder.decode(text)


def _each_key_once(value: Any, text: str) -> bool:
    """Whether no key was dropped for another of its name, which would have taken its colon with it.

    To look at the pairs of every object costs a third of all reading; to write the value again and count costs a tenth.
    False too where one cannot tell: the colon may be escaped, and what has a flaw in it cannot be written.
    """
    if "\\u003" in text:
        return False
    try:
        return orjson.dumps(value).count(b":") == text.count(":")
    except TypeError:
        return False


def _is_too_deep(body: bytes, text: str) -> bool:
    """Whether brackets are nested too deep: pairs vanish from within, and no more often than they may be nested.

    Where a string has a bracket or a backslash in it, they are counted one by one, which takes ten times as long.
    """
    brackets = body.translate(None, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return _depth(text) > MAX_DEPTH


def _depth(text: str) -> int:
    """How deep brackets are nested, counted without recursion; brackets inside strings do not count."""
    bare = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
    outside = "".join(bare.split('"')[::2])
    return max(accumulate(map(_STEP.__getitem__, _BRACKET.findall(outside))), default=0)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return Repeated(key)
        seen.add(key)
    return fields


def _integer(text: str) -> Any:
    return int(text) if len(text) <= _LONGEST_NUMBER else Flaw("OUT_OF_RANGE", "is a number out of range")


def _real(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else Flaw("OUT_OF_RANGE", "is a number out of range")


def _constant(name: str) -> Any:
    return Flaw("MALFORMED", f"{name} is no JSON number")


_CAREFUL = json.JSONDecoder(object_pairs_hook=_object, parse_float=_real, parse_int=_integer, parse_constant=_constant)
# Sees no key that is given twice: whoever uses it counts.
_USUAL = json.JSONDecoder(parse_float=_real, parse_constant=_constant)
