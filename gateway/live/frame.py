"""What a stream tells, written once for whoever listens."""

from dataclasses import dataclass
from typing import Any

from gateway.writer import dumps, writer

LAST = frozenset({"OrderDelivered", "OrderRejected", "OrderCancelled"})
OUT, SHIPMENT = "OrderOutForDelivery", "shipmentId"
POSITION, BEAT = "CourierPosition", "heartbeat"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. Without a version it is about now: it moves nobody's place, and nobody is told it again."""

    version: int
    type: str
    event: bytes
    message: str

    @classmethod
    def of(cls, entry: Any) -> "Frame":
        """An entry of an order's history."""
        return cls.about(entry.type, entry, entry.version)

    @classmethod
    def about(cls, kind: str, message: Any, version: int = 0) -> "Frame":
        """A message under a name."""
        data = dumps(writer(message.DESCRIPTOR)(message)).decode()
        number, place = (f"id: {version}\n", f'"id":"{version}",') if version else ("", "")
        event = f"{number}event: {kind}\ndata: {data}\n\n".encode()
        return cls(version, kind, event, f'{{{place}"event":"{kind}","data":{data}}}')


HEARTBEAT = f'{{"event":"{BEAT}","data":{{}}}}'
