"""Stock as protobuf: resources out, requests in, events from what changed."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mercato.api.inventory.v1 import inventory_events_pb2 as events
from mercato.api.inventory.v1 import inventory_pb2 as pb
from mercato.wire import time_to_pb
from services.inventory.domain import Availability, Basket, Change, Claim, Crossing, Kind, Movement, Stock, Warehouse
from services.inventory.reservation import Reservation, State


class Line(Protocol):
    """A message with a SKU and units."""

    @property
    def sku(self) -> str: ...
    @property
    def quantity(self) -> int: ...


def claims(lines: Iterable[Line]) -> tuple[Claim, ...]:
    """The lines of a request."""
    return tuple(Claim(line.sku, line.quantity) for line in lines)


def basket(request: pb.ReserveStockRequest) -> Basket:
    """What an order asks for."""
    return Basket(
        UUID(request.reservation_id), UUID(request.order_id), tuple(request.warehouse_ids), claims(request.lines)
    )


def reservation_to_pb(reservation: Reservation) -> pb.Reservation:
    return pb.Reservation(
        id=str(reservation.id),
        order_id=_text(reservation.order_id),
        warehouse_id=_text(reservation.warehouse_id),
        state=pb.Reservation.State.Value(reservation.state),
        lines=[pb.StockLine(sku=claim.sku, quantity=claim.quantity) for claim in reservation.claims],
        expire_time=_time(reservation.expire_time),
    )


def outcome_to_pb(outcome: Reservation | Exception) -> pb.Reservation | Exception:
    """What somebody is told: a reservation, or why not."""
    return outcome if isinstance(outcome, Exception) else reservation_to_pb(outcome)


def stock_to_pb(stock: Stock) -> pb.Stock:
    levels = [
        pb.StockLevel(
            warehouse_id=level.warehouse_id,
            on_hand=level.on_hand,
            reserved=level.reserved,
            available=level.available,
        )
        for level in stock.levels
    ]
    return pb.Stock(sku=stock.sku, levels=levels, etag=str(stock.version))


def movement_to_pb(movement: Movement) -> pb.Movement:
    return pb.Movement(
        id=str(movement.id),
        sku=movement.sku,
        warehouse_id=movement.warehouse_id,
        kind=pb.Movement.Kind.Value(movement.kind),
        on_hand_delta=movement.on_hand_delta,
        reserved_delta=movement.reserved_delta,
        reference=movement.reference,
        create_time=time_to_pb(movement.create_time),
    )


def availability_to_pb(sku: str, availability: Availability) -> pb.Availability:
    return pb.Availability(sku=sku, availability=pb.Availability.Level.Value(availability))


def warehouse_to_pb(warehouse: Warehouse) -> pb.Warehouse:
    return pb.Warehouse(id=warehouse.id, name=warehouse.name)


def warehouse_from_pb(warehouse: pb.Warehouse) -> Warehouse:
    return Warehouse(warehouse.id, warehouse.name)


def stock_reserved(reservation: Reservation, changes: Sequence[Change]) -> Message:
    return events.StockReserved(
        reservation_id=str(reservation.id),
        order_id=_text(reservation.order_id),
        levels=_levels(changes),
        expire_time=_time(reservation.expire_time),
    )


def stock_released(reservation: Reservation, changes: Sequence[Change]) -> Message:
    return events.StockReleased(
        reservation_id=str(reservation.id),
        order_id=_text(reservation.order_id),
        levels=_levels(changes),
        expired=reservation.state is State.EXPIRED,
    )


def stock_committed(reservation: Reservation) -> Message:
    return events.StockCommitted(reservation_id=str(reservation.id), order_id=_text(reservation.order_id))


def stock_consumed(reservation: Reservation, changes: Sequence[Change]) -> Message:
    return events.StockConsumed(
        reservation_id=str(reservation.id), order_id=_text(reservation.order_id), levels=_levels(changes)
    )


def stock_restocked(return_id: UUID, order_id: UUID, changes: Sequence[Change]) -> Message:
    return events.StockRestocked(return_id=str(return_id), order_id=str(order_id), levels=_levels(changes))


def consignment_received(consignment_id: UUID, reference: str, changes: Sequence[Change]) -> Message:
    return events.ConsignmentReceived(consignment_id=str(consignment_id), reference=reference, levels=_levels(changes))


def stock_moved(change: Change) -> Message:
    """Goods that came in, or a correction."""
    if change.kind is Kind.RECEIVED:
        return events.StockReceived(level=_level(change, change.sequence), reference=change.reference)
    return events.StockAdjusted(level=_level(change, change.sequence), reason=change.reference)


def crossed(crossing: Crossing, change: Change, sequence: int) -> Message:
    """The event of a border that the change crossed, under its own number."""
    level = _level(change, sequence)
    match crossing:
        case Crossing.LOW:
            return events.StockLow(level=level)
        case Crossing.OUT:
            return events.StockOut(level=level)
        case Crossing.BACK:
            return events.BackInStock(level=level)


def _levels(changes: Iterable[Change]) -> list[events.LevelChange]:
    return [_level(change, change.sequence) for change in changes]


def _level(change: Change, sequence: int) -> events.LevelChange:
    after = change.after
    return events.LevelChange(
        sku=after.sku,
        warehouse_id=after.warehouse_id,
        on_hand=after.on_hand,
        available=after.available,
        sequence=sequence,
        quantity=change.quantity,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _time(time: datetime | None) -> Timestamp | None:
    return None if time is None else time_to_pb(time)
