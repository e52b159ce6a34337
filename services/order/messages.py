"""Orders and carts ⇄ their protobuf messages."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.type import latlng_pb2

from mercato.api.order.v1 import order_pb2 as pb
from mercato.errors import FieldViolation, InvalidArgument
from mercato.wire import money_to_pb, time_to_pb
from services.order.cart import Cart, PricedLine
from services.order.domain import CASH, Order, Return
from services.order.events import OrderLine, OrderRejected, Quantity, Slot
from services.order.personal import Address, Personal

_UNTIL_KNOWN = "card"


def document(order: Order, update_time: datetime) -> bytes:
    """An order as everybody may see it, ready to be kept: without what is personal."""
    confirmed = bool(order.warehouse_id)
    message = pb.Order(
        id=str(order.id),
        customer_id=str(order.customer_id),
        state=pb.Order.State.Value(order.state),
        lines=[_line(order, line) for line in order.lines],
        subtotal=money_to_pb(order.subtotal),
        delivery_fee=money_to_pb(order.delivery_fee),
        total=money_to_pb(order.total),
        slot=_slot(order.slot),
        warehouse_id=order.warehouse_id,
        payment_method=CASH if order.payment_token == CASH else order.payment_method or _UNTIL_KNOWN,
        payment_id=str(order.payment_id) if confirmed else "",
        shipment_id=str(order.shipment_id or ""),
        rejection=_rejection(order.rejection) if order.rejection else None,
        order_return=_return(order.last_return) if order.last_return else None,
        captured_total=money_to_pb(order.captured_total),
        refunded_total=money_to_pb(order.refunded_total),
        version=order.version,
        etag=str(order.version),
        create_time=time_to_pb(order.create_time),
        update_time=time_to_pb(update_time),
    )
    return message.SerializeToString(deterministic=True)


def order_to_pb(kept: bytes, personal: Personal) -> pb.Order:
    """A kept order with the person's part, as far as it is to be shown."""
    order = pb.Order.FromString(kept)
    if personal.address:
        order.address.CopyFrom(_address(personal.address))
        order.note = personal.note
    if order.HasField("order_return"):
        order.order_return.reason = personal.return_reason
    return order


def _line(order: Order, line: OrderLine) -> pb.OrderLine:
    return pb.OrderLine(
        sku=line.sku,
        product_id=line.product_id,
        title=line.title,
        quantity=line.quantity,
        picked_quantity=None if order.picked is None else order.picked.get(line.sku, 0),
        returned_quantity=order.returned.get(line.sku, 0),
        unit_price=money_to_pb(line.unit_price),
        total=money_to_pb(line.total),
    )


def _slot(slot: Slot) -> pb.OrderSlot:
    return pb.OrderSlot(
        id=slot.id,
        zone_id=slot.zone_id,
        start_time=time_to_pb(slot.start_time),
        end_time=time_to_pb(slot.end_time),
    )


def _rejection(rejection: OrderRejected) -> pb.Rejection:
    return pb.Rejection(
        reason=rejection.reason,
        skus=[pb.ShortLine(sku=line.sku, wanted=line.wanted, available=line.available) for line in rejection.skus],
        decline_code=rejection.decline_code,
    )


def _return(asked: Return) -> pb.OrderReturn:
    return pb.OrderReturn(
        state=pb.OrderReturn.State.Value(asked.state),
        lines=[pb.LineQuantity(sku=line.sku, quantity=line.quantity) for line in asked.lines],
        refund=money_to_pb(asked.refund),
    )


def _address(address: Address) -> pb.OrderAddress:
    place = address.place
    return pb.OrderAddress(
        recipient=address.recipient,
        line1=address.line1,
        line2=address.line2,
        postal_code=address.postal_code,
        city=address.city,
        country_code=address.country_code,
        phone=address.phone,
        location=latlng_pb2.LatLng(latitude=place.latitude, longitude=place.longitude) if place else None,
    )


def cart_to_pb(cart: Cart) -> pb.Cart:
    """A cart, priced now."""
    return pb.Cart(
        lines=[_cart_line(line) for line in cart.lines],
        subtotal=money_to_pb(cart.subtotal),
        etag=str(cart.version),
    )


def _cart_line(line: PricedLine) -> pb.CartLine:
    message = pb.CartLine(
        sku=line.sku,
        product_id=line.product_id,
        title=line.title,
        quantity=line.quantity,
        price_changed=line.price_changed,
        availability=pb.CartLine.Availability.Value(line.availability),
    )
    if line.unit_price is not None:
        message.unit_price.CopyFrom(money_to_pb(line.unit_price))
        message.total.CopyFrom(money_to_pb(line.unit_price * line.quantity))
    return message


def lines_from_pb(lines: Iterable[pb.LineQuantity], field: str) -> tuple[Quantity, ...]:
    """Lines that name each SKU once. InvalidArgument otherwise."""
    named = tuple(Quantity(line.sku, line.quantity) for line in lines)
    _once([line.sku for line in named], field)
    return named


def picked_from_pb(lines: Iterable[pb.PickedQuantity]) -> dict[str, int]:
    """Picked units by SKU, each named once. InvalidArgument otherwise."""
    named = [(line.sku, line.picked_quantity) for line in lines]
    _once([sku for sku, _ in named], "lines")
    return dict(named)


def _once(skus: list[str], field: str) -> None:
    again = [number for number, sku in enumerate(skus) if sku in skus[:number]]
    if again:
        raise InvalidArgument.about(
            FieldViolation(f"{field}[{number}].sku", "DUPLICATE", f"{skus[number]} is named already")
            for number in again
        )


def board_to_pb(counts: Iterable[Any], picks: Iterable[Any]) -> pb.OrderBoard:
    """What is to be done, from the rows of the two queries."""
    board = pb.OrderBoard()
    for row in counts:
        state = pb.Order.State.Value(row.state)
        board.states.add(state=state, count=row.count, oldest_time=time_to_pb(row.oldest_time))
    for row in picks:
        order = pb.Order.FromString(row.document)
        entry = board.pick_list.add(order_id=order.id, warehouse_id=order.warehouse_id, state=order.state)
        entry.slot_start_time.CopyFrom(order.slot.start_time)
        for line in order.lines:
            entry.lines.add(sku=line.sku, title=line.title, quantity=line.quantity)
    return board
