"""What a fuzz has learned from answers: ids by what they are of, page tokens, versions."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

MOST = 60
_SAME = {"customer": "user", "courier": "user", "hold": "order", "reservation": "order", "parent": "category"}
_PLAIN = {"pageToken", "etag", "paymentMethod", "brand", "email", "name", "account", "reference", "consistency", "text"}
_ALIAS = {"nextPageToken": "pageToken", "title": "text", "displayName": "text"}


class Hoard:
    """Names of things, by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, value: str) -> None:
        """Remember one; of many, the latest and some of the first."""
        with self._lock:
            known = self._known[kind]
            if value and value not in known:
                known.append(value)
                if len(known) > MOST:
                    del known[MOST // 3]

    def pick(self, kind: str, dice: random.Random) -> str | None:
        """One of a kind, if any is known."""
        with self._lock:
            known = self._known.get(kind)
            return dice.choice(known) if known else None

    def learn(self, body: Any, kind: str) -> None:
        """Remember what an answer names. `kind` is what the answer is."""
        match body:
            case dict():
                for name, value in body.items():
                    self._learn(name, value, kind)
            case list():
                for each in body[:20]:
                    self.learn(each, kind)

    def _learn(self, name: str, value: Any, kind: str) -> None:
        if isinstance(value, str):
            self.add(kind if name == "id" else kind_of(name), value)
        elif isinstance(value, dict | list):
            self.learn(value, kind_of(name))

    def counts(self) -> Mapping[str, int]:
        """How many of each kind are known."""
        with self._lock:
            return {kind: len(known) for kind, known in self._known.items()}


def kind_of(name: str) -> str:
    """What a field of that name holds: `addressId`, `addresses` and `address_id` all hold an address."""
    name = _ALIAS.get(name, name)
    if name in _PLAIN:
        return name
    for ending in ("Ids", "Id", "_ids", "_id"):
        name = name.removesuffix(ending)
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if name.endswith(ending) and not name.endswith("ss"):
            name = name.removesuffix(ending) + instead
            break
    return _SAME.get(name, name)
