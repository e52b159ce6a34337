"""Values from a schema: as it wants them, with a mistake here and there, or with many."""

from __future__ import annotations

import random
import re
import string
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from chaos.fuzz.hoard import Hoard, kind_of
from chaos.fuzz.words import NUMBERS, ODD, TEXTS, Pairs
from shop import city

Schema = Mapping[str, Any]

_FIELDS_THAT_NOBODY_SETS = (
    "role",
    "roles",
    "price",
    "total",
    "status",
    "state",
    "userId",
    "user_id",
    "discount",
    "__proto__",
)
_WAYS_TO_PAY = ("pm_card_visa", "cash_on_delivery", "pm_card_visa_chargeDeclined", "pm_flaky", "pm_capture_fails")
_DEEPEST = 6
_BEGAN = datetime.now(UTC)
_OWN, _KNOWN = 0.6, 0.85
# What turns nearly everything that is said beside it into a refusal.
_SELDOM = {"expectedTotal": 0.03, "etag": 0.1}
_ALPHABET = string.ascii_letters + string.digits


class Maker:
    """Makes values for the schemas of one document. `wrong` is how likely each value is not what was asked for.

    `own` names, by kind, what is the sender's: it is taken more often than what is known of others.
    """

    def __init__(
        self,
        schemas: Mapping[str, Schema],
        hoard: Hoard,
        dice: random.Random,
        wrong: float,
        own: Mapping[str, str],
    ) -> None:
        self._own = own
        self._schemas = schemas
        self._hoard = hoard
        self._dice = dice
        self.wrong = wrong

    def value(self, schema: Schema, name: str = "", depth: int = 0) -> Any:
        """A value for a schema, for a field of that name."""
        schema = self.resolved(schema)
        if self._errs():
            return self._mistake(schema)
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._list(schema, name, depth)
            case "integer":
                return self._integer(schema, name)
            case "number":
                return self._number(schema, name)
            case "boolean":
                return self._dice.random() < 0.5
        return self._text(schema, name)

    def text(self, schema: Schema, name: str) -> str:
        """A value as it stands in a path, a query or a header."""
        value = self.value(schema, name)
        match value:
            case bool():
                return str(value).lower()
            case list():
                return ",".join(map(str, value))
        return str(value)

    def resolved(self, schema: Schema) -> Schema:
        """A schema without references at its top."""
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            schema = {**schema, **self._dice.choice(schema["anyOf"])}
        return schema

    def _errs(self) -> bool:
        return self._dice.random() < self.wrong

    def _mistake(self, schema: Schema) -> Any:
        dice = self._dice
        if dice.random() < 0.6:
            return dice.choice(NUMBERS) if schema.get("type") in ("integer", "number") else dice.choice(TEXTS)
        return dice.choice([*ODD, *NUMBERS, dice.choice(TEXTS)])

    def _object(self, schema: Schema, depth: int) -> Any:
        made = dict[str, Any]()
        required, further = schema.get("required", ()), schema.get("additionalProperties")
        for name, below in schema.get("properties", {}).items():
            likely = 0.97 if name in required else 0.0 if depth > _DEEPEST else _SELDOM.get(name, 0.45)
            if self._dice.random() < likely:
                made[name] = self.value(below, name, depth + 1)
        if isinstance(further, dict):
            made |= {f"k{number}": self.value(further, "", depth + 1) for number in range(self._dice.randint(0, 3))}
        return self._spoiled(made) if self._errs() else made

    def _spoiled(self, made: dict[str, Any]) -> Any:
        """An object with a key too many."""
        dice = self._dice
        if made and dice.random() < 0.4:
            key = dice.choice([*made])
            return Pairs([*made.items(), (key, dice.choice([made[key], *NUMBERS]))])
        return {**made, dice.choice([*_FIELDS_THAT_NOBODY_SETS, *TEXTS]): dice.choice([1, "admin", None])}

    def _list(self, schema: Schema, name: str, depth: int) -> list[Any]:
        low, high = schema.get("minItems", 0), schema.get("maxItems", 5)
        count = self._dice.randint(low, min(high, low + 3))
        if self._errs():
            count = self._dice.choice([0, high + 1, 300])
        return [self.value(schema.get("items", {}), name, depth + 1) for _ in range(min(count, 300))]

    def _integer(self, schema: Schema, name: str) -> int:
        if name == "nanos":
            return self._dice.choice([0, 0, 500_000_000])
        low = schema.get("minimum", 0)
        return self._dice.randint(int(low), min(int(schema.get("maximum", low + 20)), int(low) + 20))

    def _number(self, schema: Schema, name: str) -> float:
        doorstep = dict(zip(("latitude", "longitude"), city.ZONES[0].doorstep, strict=True))
        if name in doorstep and self._dice.random() < 0.8:
            return doorstep[name]
        return self._dice.uniform(schema.get("minimum", -90), schema.get("maximum", 90))

    def _text(self, schema: Schema, name: str) -> str:
        """A text as the schema wants it: a known one where the name tells what it is of."""
        dice = self._dice
        if choices := schema.get("enum"):
            return str(dice.choice(choices))
        if name == "paymentMethod":
            return dice.choice(_WAYS_TO_PAY)
        if name == "currencyCode":
            return dice.choice([city.CURRENCY, city.CURRENCY, "EUR"])
        kind = kind_of(name)
        known = self._hoard.pick(kind, dice)
        if kind in self._own and dice.random() < _OWN:
            return self._own[kind]
        if known and dice.random() < _KNOWN:
            return known
        return self._made_up(schema)

    def _made_up(self, schema: Schema) -> str:
        dice, pattern = self._dice, schema.get("pattern", "")
        if make := _FORMATS.get(schema.get("format", "")):
            return make(dice)
        if "contentEncoding" in schema:
            return b64encode(dice.randbytes(dice.randint(0, 40))).decode()
        for mark, make in _PATTERNS:
            if pattern and re.search(mark, pattern):
                return make(dice)
        low = schema.get("minLength", 1)
        high = min(schema.get("maxLength", low + 12), low + 12)
        return "".join(dice.choices(_ALPHABET, k=dice.randint(low, max(low, high))))


def _time(dice: random.Random) -> str:
    return (_BEGAN + timedelta(minutes=dice.randint(-9999, 9999))).strftime("%Y-%m-%dT%H:%M:%SZ")


_FORMATS: Mapping[str, Callable[[random.Random], str]] = {
    "uuid": lambda dice: str(UUID(int=dice.getrandbits(128))),
    "email": lambda dice: f"fuzz-{dice.getrandbits(40):x}@mercato.example",
    "date-time": _time,
    "int64": lambda dice: str(dice.randint(0, 50)),
    "uint64": lambda dice: str(dice.randint(0, 50)),
}
# What a pattern is for, by how it is written.
_PATTERNS: Sequence[tuple[str, Callable[[random.Random], str]]] = (
    (r"^\^\(me\|", lambda _: "me"),
    (r"s\$$", lambda dice: f"{dice.randint(0, 100)}s"),
    (r"\[0-9\]\{4\}-", lambda dice: _time(dice)[:10]),
    (r"\[A-Z\]\{", lambda dice: "".join(dice.choices(string.ascii_uppercase, k=2))),
    (r"^(?!.*[A-Za-z]-[A-Za-z]).*\[0-9\]", lambda dice: f"{dice.randint(0, 99)}.{dice.randint(0, 99):02}"),
)
