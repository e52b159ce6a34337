"""The log as movements of money, one for each line: what audits compare with. `simulator` says what a line has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from simulator.record import Charge, Intent, Json, Record, Refund, restore

EXPIRY = "EXPIRE"


def movements(lines: Iterable[Json], after: int = 0) -> Iterator[Json]:
    """Every movement of money behind a line of the log."""
    for number, line in enumerate(lines, 1):
        if number > after:
            for told in _told(line["operation"], [restore(fields) for fields in line["changes"]]):
                yield {"line": number, "time": line["time"], **told, "key": line["key"]}


def read(path: Path, after: int = 0) -> Iterator[bytes]:
    """The same of a log on the disk, as JSON lines; a line that is just being written is left out."""
    with path.open("rb") as file:
        whole = (orjson.loads(line) for line in file if line.endswith(b"\n"))
        for movement in movements(whole, after):
            yield orjson.dumps(movement, option=orjson.OPT_APPEND_NEWLINE)


def _told(operation: str, changes: list[Record]) -> Iterator[Json]:
    match changes:
        case [Intent() as intent, Charge() as charge]:
            for did, amount in _moves(operation, intent, charge):
                yield _movement(did, amount, charge)
        case [Refund() as refund, Charge() as charge]:
            named = {"refund": refund.id, "refund_id": refund.metadata.get("refund_id", "")}
            yield _movement("refund", refund.amount, charge) | named


def _moves(operation: str, intent: Intent, charge: Charge) -> Iterator[tuple[str, int]]:
    if operation.endswith("/payment_intents"):
        yield "decline" if charge.decline_code else "authorize", intent.amount
    if intent.status == "succeeded":
        yield "capture", charge.captured
    if intent.status == "canceled" and charge.voided:
        yield "expire" if operation == EXPIRY else "cancel", charge.amount


def _movement(did: str, amount: int, charge: Charge) -> Json:
    return {
        "did": did,
        "amount": amount,
        "currency": charge.currency.upper(),
        "payment_intent": charge.intent,
        "charge": charge.id,
        "refund": "",
        "payment_id": charge.metadata.get("payment_id", ""),
        "order_id": charge.metadata.get("order_id", ""),
        "refund_id": "",
        "decline_code": charge.decline_code or "",
    }
