"""Zones, slots and shipments as protobuf: resources out, requests in, events from what changed."""

from collections.abc import Iterator
from datetime import date, datetime
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import latlng_pb2, money_pb2

from mercato.api.delivery.v1 import delivery_events_pb2 as events
from mercato.api.delivery.v1 import delivery_pb2 as pb
from mercato.errors import InvalidArgument
from mercato.money import Money
from mercato.wire import money_from_pb, money_to_pb, time_to_pb
from services.delivery.booking import Wanted
from services.delivery.domain import Asked, Courier, Hold, HoldState, Hours, Quote, Slot, SlotQuote, Zone
from services.delivery.geometry import Corner, simple
from services.delivery.shipment import Destination, Plan, Shipment, State

_TEXTS = ("recipient", "line1", "line2", "postal_code", "city", "country_code", "phone", "note")


def zone_to_pb(zone: Zone) -> pb.Zone:
    return pb.Zone(
        id=zone.id,
        name=zone.name,
        time_zone=zone.time_zone,
        polygon=map(_latlng, zone.polygon),
        warehouse_ids=zone.warehouse_ids,
        delivery_fee=money_to_pb(zone.delivery_fee),
        free_from=_money(zone.free_from),
        minimum_total=money_to_pb(zone.minimum_total),
    )


def zone_from_pb(zone: pb.Zone) -> Zone:
    """The zone that a request describes. InvalidArgument if it has no inside, no time or several currencies."""
    fee = _charge(zone.delivery_fee, "zone.deliveryFee")
    minimum = _charge(zone.minimum_total, "zone.minimumTotal") if zone.HasField("minimum_total") else None
    found = Zone(
        zone.id,
        zone.name,
        zone.time_zone,
        _polygon(zone),
        tuple(zone.warehouse_ids),
        fee,
        _charge(zone.free_from, "zone.freeFrom") if zone.HasField("free_from") else None,
        minimum or Money.zero(fee.currency),
    )
    for field, money in (("zone.freeFrom", found.free_from), ("zone.minimumTotal", found.minimum_total)):
        if money is not None:
            same_currency(money, fee, field)
    _ = found.clock
    return found


def hours_from_pb(request: pb.PutZoneRequest) -> Hours:
    """When a zone is delivered to."""
    return Hours(request.slot_capacity, request.first_hour, request.last_hour)


def slot_to_pb(slot: Slot) -> pb.Slot:
    return pb.Slot(
        id=str(slot.id),
        zone_id=slot.zone_id,
        start_time=time_to_pb(slot.start_time),
        end_time=time_to_pb(slot.end_time),
        cutoff_time=time_to_pb(slot.cutoff_time),
        capacity=slot.capacity,
        available=slot.available,
        fee=money_to_pb(slot.fee),
    )


def quote_to_pb(quote: Quote) -> pb.Quote:
    return pb.Quote(
        zone_id=quote.zone.id,
        fee=money_to_pb(quote.fee),
        free_from=_money(quote.zone.free_from),
        earliest_slot=slot_to_pb(quote.earliest) if quote.earliest else None,
    )


def slot_quote_to_pb(quote: SlotQuote) -> pb.SlotQuote:
    return pb.SlotQuote(slot=slot_to_pb(quote.slot), warehouse_ids=quote.warehouse_ids, fee=money_to_pb(quote.fee))


def asked(request: pb.QuoteSlotRequest) -> Asked:
    """What an order wants to know of its slot."""
    place = corner(request.location, "location")
    return Asked(UUID(request.slot_id), place, money_from_pb(request.subtotal, "subtotal"))


def wanted(request: pb.HoldSlotRequest) -> Wanted:
    """The place that an order asks for."""
    return Wanted(UUID(request.hold_id), UUID(request.order_id), UUID(request.slot_id))


def outcome_to_pb(outcome: Hold | Exception) -> pb.SlotHold | Exception:
    """What somebody is told: a hold, or why not."""
    return outcome if isinstance(outcome, Exception) else hold_to_pb(outcome)


def hold_to_pb(hold: Hold) -> pb.SlotHold:
    return pb.SlotHold(
        id=str(hold.id),
        order_id=_text(hold.order_id),
        slot_id=_text(hold.slot_id),
        state=pb.SlotHold.State.Value(hold.state),
        expire_time=_time(hold.expire_time),
    )


def shipment_to_pb(shipment: Shipment) -> pb.Shipment:
    return pb.Shipment(
        id=str(shipment.id),
        order_id=_text(shipment.order_id),
        state=pb.Shipment.State.Value(shipment.state),
        slot=slot_to_pb(shipment.slot) if shipment.slot else None,
        courier_id=_text(shipment.courier_id),
        address=_destination_to_pb(shipment.destination) if shipment.destination else None,
        position=_latlng(shipment.position.place) if shipment.position else None,
        estimated_arrival=_time(shipment.estimated_arrival),
        etag=str(shipment.version),
        customer_id=_text(shipment.customer_id),
        cash_due=_money(shipment.cash_due),
        cash_collected=_money(shipment.cash_collected),
        failure_reason=shipment.failure_reason,
        create_time=time_to_pb(shipment.create_time),
        update_time=time_to_pb(shipment.update_time),
    )


def courier_position(shipment: Shipment) -> pb.CourierPosition | None:
    """Where the courier of a shipment is; None unless it is under way and somebody told."""
    if shipment.state is not State.PICKED_UP or shipment.position is None:
        return None
    return pb.CourierPosition(
        shipment_id=str(shipment.id),
        position=_latlng(shipment.position.place),
        time=time_to_pb(shipment.position.time),
        estimated_arrival=_time(shipment.estimated_arrival),
    )


def plan_from_pb(request: pb.CreateShipmentRequest) -> Plan:
    """What an order asks to be brought."""
    address = request.address
    place = corner(address.location, "address.location") if address.HasField("location") else None
    return Plan(
        UUID(request.shipment_id),
        UUID(request.order_id),
        UUID(request.hold_id),
        UUID(request.customer_id),
        Destination(**{name: getattr(address, name) for name in _TEXTS}, place=place),
        cash_from_pb(request, "cash_due"),
    )


def cash_from_pb(
    request: pb.CreateShipmentRequest | pb.ReadyShipmentRequest | pb.DeliverShipmentRequest, field: str
) -> Money | None:
    """What is or was to be collected, if the request says."""
    if not request.HasField(field):  # type: ignore[arg-type]  # each of the three has the field that is asked for
        return None
    return _charge(getattr(request, field), request.DESCRIPTOR.fields_by_name[field].json_name)


def courier_to_pb(courier: Courier) -> pb.Courier:
    return pb.Courier(id=str(courier.id), name=courier.name, create_time=time_to_pb(courier.create_time))


def corner(place: latlng_pb2.LatLng, field: str) -> Corner:
    """A place on the map. InvalidArgument (of `field`) if there is none such."""
    if not -90 <= place.latitude <= 90:
        raise InvalidArgument.of(f"{field}.latitude", "must be between -90 and 90", "RANGE")
    if not -180 <= place.longitude <= 180:
        raise InvalidArgument.of(f"{field}.longitude", "must be between -180 and 180", "RANGE")
    # Adding zero makes -0.0, which no polygon that is read back has, the zero that it equals.
    return place.latitude + 0.0, place.longitude + 0.0


def day_from_text(text: str) -> date | None:
    """The date that a request names. InvalidArgument if the calendar has no such day."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidArgument.of("date", f"{text} is no date such as 2026-11-21", "DATE") from None


def subtotal_from_text(text: str, currency: str) -> Money:
    """What goods cost, zero if nothing is said. InvalidArgument if the currency has no such amount."""
    try:
        return Money.parse(text or "0", currency)
    except ValueError as wrong:
        raise InvalidArgument.of("subtotal", str(wrong), "MONEY") from None


def same_currency(money: Money, other: Money, field: str) -> None:
    """InvalidArgument (of `field`) if two amounts do not add up."""
    if money.currency != other.currency:
        raise InvalidArgument.of(f"{field}.currencyCode", f"must be {other.currency}", "CURRENCY")


def slot_held(hold: Hold) -> Message:
    return events.SlotHeld(
        hold_id=str(hold.id),
        order_id=_text(hold.order_id),
        slot_id=_text(hold.slot_id),
        expire_time=_time(hold.expire_time),
    )


def slot_confirmed(hold: Hold) -> Message:
    return events.SlotConfirmed(hold_id=str(hold.id), order_id=_text(hold.order_id), slot_id=_text(hold.slot_id))


def slot_released(hold: Hold) -> Message:
    return events.SlotReleased(
        hold_id=str(hold.id),
        order_id=_text(hold.order_id),
        slot_id=_text(hold.slot_id),
        expired=hold.state is HoldState.EXPIRED,
    )


def shipment_planned(shipment: Shipment) -> Message:
    zone_id = shipment.slot.zone_id if shipment.slot else ""
    slot_id = str(shipment.slot.id) if shipment.slot else ""
    return events.ShipmentPlanned(**_ids(shipment), slot_id=slot_id, zone_id=zone_id)


def shipment_changed(before: Shipment, after: Shipment) -> Iterator[tuple[int, Message]]:
    """The events of a change, each with its version. Naming a courier before the goods are packed is none yet."""
    if before.state is State.PLANNED and after.state in (State.READY, State.ASSIGNED):
        yield before.version + 1, events.ShipmentReady(**_ids(after))
    if after.state is not State.READY and after.version > before.version and (event := _event_of(after)):
        yield after.version, event


def _event_of(shipment: Shipment) -> Message | None:
    ids, courier_id = _ids(shipment), _text(shipment.courier_id)
    match shipment.state:
        case State.ASSIGNED:
            return events.ShipmentAssigned(**ids, courier_id=courier_id)
        case State.PICKED_UP:
            return events.ShipmentPickedUp(**ids, courier_id=courier_id)
        case State.DELIVERED:
            collected = _money(shipment.cash_collected)
            return events.ShipmentDelivered(**ids, courier_id=courier_id, cash_collected=collected)
        case State.FAILED:
            return events.ShipmentFailed(**ids, courier_id=courier_id)
        case State.CANCELLED:
            return events.ShipmentCancelled(**ids)
        case State.PLANNED | State.READY:
            return None


def _ids(shipment: Shipment) -> dict[str, str]:
    return {"shipment_id": str(shipment.id), "order_id": _text(shipment.order_id)}


def _polygon(zone: pb.Zone) -> tuple[Corner, ...]:
    corners = [corner(each, f"zone.polygon[{number}]") for number, each in enumerate(zone.polygon)]
    if corners[0] == corners[-1]:  # closed by hand, as some maps write it
        corners.pop()
    if not simple(corners):
        raise InvalidArgument.of("zone.polygon", "must have an inside, and edges that do not cross", "POLYGON")
    return tuple(corners)


def _charge(money: money_pb2.Money, field: str) -> Money:
    charge = money_from_pb(money, field)
    if charge.amount < 0:
        raise InvalidArgument.of(field, "must not be negative", "RANGE")
    return charge


def _destination_to_pb(destination: Destination) -> pb.Destination:
    texts = {name: getattr(destination, name) for name in _TEXTS}
    return pb.Destination(**texts, location=_latlng(destination.place) if destination.place else None)


def _latlng(place: Corner) -> latlng_pb2.LatLng:
    return latlng_pb2.LatLng(latitude=place[0], longitude=place[1])


def _money(money: Money | None) -> money_pb2.Money | None:
    return None if money is None else money_to_pb(money)


def _time(time: datetime | None) -> Timestamp | None:
    return None if time is None else time_to_pb(time)


def _text(value: object) -> str:
    return "" if value is None else str(value)
