"""The history of a run: what everybody asked for, and what they heard, one line of JSON each, in the order of time."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import httpx

from shop.rest import Refused, Visitor

Json = Mapping[str, Any]


class Outcome(StrEnum):
    """What became of an operation."""

    OK = "ok"
    FAIL = "fail"  # a definite no
    UNKNOWN = "unknown"  # it may have happened, or not


# No answer to what was asked: the one who asks may ask again with the same key.
UNDECIDED = frozenset({"IDEMPOTENCY_KEY_IN_USE", "RATE_LIMITED", "NOT_YET_CONSISTENT"})


@dataclass(slots=True, eq=False)
class Operation:
    """Something that somebody wanted done, under one key."""

    number: int
    who: str
    what: str
    path: str
    key: str
    body: Json
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    reason: str = ""
    answer: Json = field(default_factory=dict)
    tries: int = 0

    @property
    def decided(self) -> bool:
        """Whether it is known what became of it."""
        return self.outcome is not Outcome.UNKNOWN

    @property
    def target(self) -> str:
        """The id of what it is about: `/v1/orders/<id>:cancel`."""
        return self.path.rpartition("/")[2].partition(":")[0]

    @property
    def order_id(self) -> str:
        """The order that was placed, where the answer names one: a rejection does so too."""
        return str(self.answer.get("orderId") or self.answer.get("id") or "")


class History:
    """Everything that was asked for, in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations: list[Operation] = []
        self.reads: dict[tuple[str, str], list[int]] = {}
        """The versions of each order as each person read them."""
        self._file = path.open("w")
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def invoke(self, who: str, what: str, path: str, key: str, body: Json) -> Operation:
        """Somebody is about to ask."""
        with self._lock:
            operation = Operation(len(self.operations), who, what, path, key, body)
            self.operations.append(operation)
            self._write("invoke", operation)
        return operation

    def returned(self, operation: Operation) -> None:
        """The answer has come, or did not."""
        with self._lock:
            self._write(operation.outcome.value, operation)

    def read(self, who: str, order: Json) -> None:
        """Somebody saw an order in a version."""
        with self._lock:
            self.reads.setdefault((who, str(order["id"])), []).append(int(order.get("version", 0)))

    def of(self, what: str, outcome: Outcome | None = None) -> Iterator[Operation]:
        """Operations of a kind."""
        return (each for each in self.operations if each.what == what and outcome in (None, each.outcome))

    @property
    def undecided(self) -> list[Operation]:
        """What nobody knows the outcome of yet."""
        return [each for each in self.operations if not each.decided]

    def tally(self) -> Mapping[str, Counter[Outcome]]:
        """How many of each kind came to what."""
        counted: dict[str, Counter[Outcome]] = {}
        for each in self.operations:
            counted.setdefault(each.what, Counter())[each.outcome] += 1
        return counted

    def _write(self, event: str, operation: Operation) -> None:
        line = {"time": round(time.monotonic() - self._began, 3), "event": event, **asdict(operation)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def ask(history: History, visitor: Visitor, operation: Operation) -> Operation:
    """Ask for an operation, for the first time or again, and note what comes of it."""
    operation.tries += 1
    try:
        reply = visitor.send("POST", operation.path, body=operation.body, key=operation.key)
    except Refused as refusal:
        _refused(operation, refusal)
    except httpx.TransportError as trouble:
        operation.outcome, operation.reason = Outcome.UNKNOWN, type(trouble).__name__
    else:
        operation.outcome, operation.status, operation.reason = Outcome.OK, reply.status, ""
        operation.answer = reply.body
    history.returned(operation)
    return operation


def is_silence(refusal: Refused) -> bool:
    """Whether a problem says nothing about what was asked for."""
    return refusal.status >= 500 or refusal.reason in UNDECIDED or refusal.status in (408, 429)


def _refused(operation: Operation, refusal: Refused) -> None:
    operation.outcome = Outcome.UNKNOWN if is_silence(refusal) else Outcome.FAIL
    operation.status, operation.reason, operation.answer = refusal.status, refusal.reason, refusal.problem
