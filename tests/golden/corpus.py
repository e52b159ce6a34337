"""The corpus of stored events: bytes of every schema that was ever written, and what they must always be read as.

    python -m tests.golden.corpus      # adds an entry for each contract that has none

Entries are only ever added. One that exists tells what lies in databases; changing it changes nothing there.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

from google.protobuf.descriptor import Descriptor

from mercato.event_store import DataclassCodec
from services.order.events import Event
from services.order.stored import encode
from services.order.v1 import stored_events_pb2 as pb
from tests.histories import followers, placed

FOLDER = Path(__file__).with_name("order_events")
ORDER = UUID("0190a6e0-0000-7000-8000-0000000000aa")
EVENTS = {cls.__name__: cls for cls in get_args(Event)}


@dataclass(frozen=True, slots=True)
class Entry:
    """Some bytes of a type, written in a schema by a contract, and the event that they are."""

    type: str
    schema: int
    contract: str
    payload: bytes
    event: dict[str, Any]


def contract(type_: str) -> str:
    """The fingerprint of the present contract of a type: its message's fields, at any depth."""
    return hashlib.sha256(_shape(pb.DESCRIPTOR.message_types_by_name[type_]).encode()).hexdigest()[:12]


def _shape(message: Descriptor, seen: tuple[str, ...] = ()) -> str:
    if message.full_name in seen:
        return message.full_name
    parts = []
    for field in sorted(message.fields, key=lambda each: each.number):
        within = field.message_type and _shape(field.message_type, (*seen, message.full_name))
        values = field.enum_type and ",".join(f"{each.name}={each.number}" for each in field.enum_type.values)
        parts.append(f"{field.number}:{field.name}:{field.type}:{field.is_repeated}:{within or values or ''}")
    return f"{message.full_name}({';'.join(parts)})"


def told(event: Any) -> dict[str, Any]:
    """An event as the corpus tells it."""
    found: dict[str, Any] = json.loads(DataclassCodec(type(event)).encode(event))
    return found


def entries() -> Iterator[Entry]:
    """All of them."""
    for path in sorted(FOLDER.glob("*.json")):
        for each in json.loads(path.read_text()):
            yield Entry(each["type"], each["schema"], each["contract"], bytes.fromhex(each["payload"]), each["event"])


def samples() -> Iterator[Any]:
    """Events to write down: some of each type."""
    yield placed(ORDER)
    yield from followers(ORDER)


def record() -> list[str]:
    """Write down the types whose present contract is not in the corpus; the files that were made."""
    made: dict[str, list[dict[str, Any]]] = {}
    known = {(each.type, each.schema, each.contract) for each in entries()}
    for event in samples():
        type_, schema, payload = encode(event)
        if (type_, schema, contract(type_)) not in known:
            entry = {"type": type_, "schema": schema, "contract": contract(type_)}
            entries_of = made.setdefault(f"{type_}.{schema}.{contract(type_)}.json", [])
            entries_of.append({**entry, "payload": payload.hex(), "event": told(event)})
    for name, content in made.items():
        (FOLDER / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return sorted(made)


if __name__ == "__main__":
    print("\n".join(record()) or "every contract is in the corpus")
