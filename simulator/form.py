"""Stripe's form encoding: `metadata[order_id]=7&expand[0]=latest_charge`, and typed reads from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import parse_qsl

from simulator.problem import InvalidRequest

_BRACKETED = re.compile(r"^([^\[\]]+)\[([^\[\]]*)\]$")


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters of one request: plain ones by name, bracketed ones by name and inner key."""

    plain: Mapping[str, str] = field(default_factory=dict)
    nested: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, encoded: str) -> Form:
        """Read a query string or a form body."""
        plain: dict[str, str] = {}
        nested: dict[str, dict[str, str]] = {}
        for name, value in parse_qsl(encoded, keep_blank_values=True):
            if match := _BRACKETED.match(name):
                inner = nested.setdefault(match[1], {})
                inner[match[2] or str(len(inner))] = value
            else:
                plain[name] = value
        return cls(plain, nested)

    def text(self, name: str) -> str | None:
        """A parameter that may be absent; an empty one counts as absent."""
        return self.plain.get(name) or None

    def required(self, name: str) -> str:
        """A parameter that must be there."""
        return self.text(name) or self.missing(name)

    def missing(self, name: str) -> NoReturn:
        """The provider's complaint about a parameter that is not there."""
        raise InvalidRequest(f"Missing required param: {name}.", code="parameter_missing", param=name)

    def number(self, name: str) -> int | None:
        """A whole number, if given."""
        return None if (value := self.text(name)) is None else whole(value, name)

    def amount(self, name: str) -> int | None:
        """A positive number of the currency's smallest unit, if given."""
        if (value := self.number(name)) is not None and value < 1:
            raise InvalidRequest(f"Invalid positive integer: {value}", code="parameter_invalid_integer", param=name)
        return value

    def flag(self, name: str) -> bool:
        """A boolean; absent is false."""
        return self.text(name) == "true"

    def metadata(self) -> dict[str, str]:
        """The caller's own labels."""
        return dict(self.nested.get("metadata", {}))

    def expands(self, name: str) -> bool:
        """Whether a reference is to be answered as the whole object."""
        return name in self.nested.get("expand", {}).values()


def whole(value: str, name: str) -> int:
    """A whole number, or the provider's complaint about it."""
    try:
        return int(value)
    except ValueError:
        raise InvalidRequest(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name) from None
