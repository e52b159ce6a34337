"""Events as they are kept: the domain's frozen values ⇄ the messages of `services/order/v1/stored_events.proto`.

Messages and fields are named as the events and theirs, so that one translation by type serves nearly all. What is
kept may change without what is told (`public_events`): a field that a later version adds is absent in what was kept
before, and a change of meaning raises the schema and gets an upcaster (`evolution`). Bytes of every schema ever written
lie in `tests/golden`.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

from google.protobuf.message import Message
from google.type import money_pb2

from mercato.money import Money
from mercato.wire import money_from_pb, money_to_pb, time_from_pb, time_to_pb
from services.order.events import Event, OrderCancelled, OrderRejected, ShortLine, State
from services.order.evolution import UPCASTERS
from services.order.v1 import stored_events_pb2 as pb

REMEMBERED = 4096


def encode(event: Event) -> tuple[str, int, bytes]:
    """Type, schema and bytes of an event."""
    name = type(event).__name__
    message: Message = _EVENTS[name].write(event)
    return name, UPCASTERS.schema(name), message.SerializeToString(deterministic=True)


# The same event is read by whoever decides on its order and by every projection, within a moment.
@lru_cache(REMEMBERED)
def decode(type_: str, schema: int, payload: bytes) -> Event:
    """The event that was kept under a type and schema."""
    present = UPCASTERS.upcast(type_, schema, payload)
    event: Event = _EVENTS[type_].read(getattr(pb, type_).FromString(present))
    return event


@dataclass(frozen=True, slots=True)
class _Translation:
    """From a value to what a message's field holds, and back."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _as_is(value: Any) -> Any:
    return value


# A shop has few prices, and many who paid them.
@lru_cache(REMEMBERED)
def _money(currency: str, units: int, nanos: int) -> Money:
    return money_from_pb(money_pb2.Money(currency_code=currency, units=units, nanos=nanos))


def _money_from_pb(raw: money_pb2.Money) -> Money:
    return _money(raw.currency_code, raw.units, raw.nanos)


# An order and its shipment are named by one event after the other.
_uuid = lru_cache(REMEMBERED)(UUID)

_PLAIN: Mapping[Any, _Translation] = {
    str: _Translation(_as_is, _as_is),
    int: _Translation(_as_is, _as_is),
    State: _Translation(str, State),
    UUID: _Translation(str, _uuid),
    Money: _Translation(money_to_pb, _money_from_pb),
    datetime: _Translation(time_to_pb, time_from_pb),
}


def _translation(kind: Any) -> _Translation:
    if get_origin(kind) is tuple:
        item = _translation(get_args(kind)[0])
        return _Translation(
            lambda value: [item.write(each) for each in value], lambda raw: tuple([item.read(each) for each in raw])
        )
    return _PLAIN.get(kind) or _record(kind)


def _record(cls: Any) -> _Translation:
    """The translation of a dataclass to the message of its name."""
    hints, message = get_type_hints(cls), getattr(pb, cls.__name__)
    parts = {each.name: _translation(_present(hints[each.name])) for each in fields(cls)}
    optional = {name for name in parts if _present(hints[name]) is not hints[name]}

    def write(value: Any) -> Message:
        known = {name: getattr(value, name) for name in parts}
        made: Message = message(**{name: parts[name].write(part) for name, part in known.items() if part is not None})
        return made

    # In the order of the constructor: a name for each argument would cost as much as most of them.
    reads = [(name, part.read, name in optional) for name, part in parts.items()]

    def read(raw: Message) -> Any:
        return cls(
            *[
                None if may_lack and not raw.HasField(name) else read_part(getattr(raw, name))
                for name, read_part, may_lack in reads
            ]
        )

    return _Translation(write, read)


def _present(kind: Any) -> Any:
    """The type of an optional value when it is there."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return next(each for each in get_args(kind) if each is not type(None))
    return kind


def _rejected() -> _Translation:
    short_line = _record(ShortLine)

    def write(event: OrderRejected) -> pb.OrderRejected:
        match event.reason:
            case "OUT_OF_STOCK":
                skus = [short_line.write(line) for line in event.skus]
                return pb.OrderRejected(out_of_stock=pb.OrderRejected.OutOfStock(skus=skus))
            case "SLOT_FULL" | "SLOT_CLOSED":
                why = pb.OrderRejected.SlotRefused.Why.Value(event.reason)
                return pb.OrderRejected(slot_refused=pb.OrderRejected.SlotRefused(why=why))
            case "PAYMENT_DECLINED":
                declined = pb.OrderRejected.PaymentDeclined(decline_code=event.decline_code)
                return pb.OrderRejected(payment_declined=declined)
            case _:
                return pb.OrderRejected(refused=pb.OrderRejected.Refused(reason=event.reason))

    def read(raw: pb.OrderRejected) -> OrderRejected:
        match raw.WhichOneof("cause"):
            case "out_of_stock":
                return OrderRejected("OUT_OF_STOCK", tuple(short_line.read(line) for line in raw.out_of_stock.skus))
            case "slot_refused":
                return OrderRejected(pb.OrderRejected.SlotRefused.Why.Name(raw.slot_refused.why))
            case "payment_declined":
                return OrderRejected("PAYMENT_DECLINED", (), raw.payment_declined.decline_code)
            case _:
                return OrderRejected(raw.refused.reason)

    return _Translation(write, read)


def _cancelled() -> _Translation:
    def write(event: OrderCancelled) -> pb.OrderCancelled:
        refund = money_to_pb(event.refund) if event.refund else None
        return pb.OrderCancelled(cancelled_from=pb.OrderCancelled.State.Value(event.from_state), refund=refund)

    def read(raw: pb.OrderCancelled) -> OrderCancelled:
        refund = _money_from_pb(raw.refund) if raw.HasField("refund") else None
        return OrderCancelled(State(pb.OrderCancelled.State.Name(raw.cancelled_from)), refund)

    return _Translation(write, read)


# Those whose message says it otherwise than the event.
_OTHERWISE: Mapping[type[Any], Callable[[], _Translation]] = {OrderRejected: _rejected, OrderCancelled: _cancelled}
_EVENTS: Mapping[str, _Translation] = {
    cls.__name__: _OTHERWISE[cls]() if cls in _OTHERWISE else _record(cls) for cls in get_args(Event)
}
