"""DeliveryService: requests to use cases and queries, their answers to messages."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from grpc import ServicerContext

from mercato.api.delivery.v1 import delivery_pb2 as pb
from mercato.group_commit import GroupCommit, Turn
from mercato.pagination import PageTokens
from mercato.rpc import current_call
from mercato.rpc.set_form import Item, SetForm
from services.delivery import messages
from services.delivery.queries import DeliveryQueries
from services.delivery.shipment import Shipment
from services.delivery.usecases import Dispatch, Quotes, Slots, Zones


class DeliveryServicer:
    """The delivery service's rpcs."""

    contract = pb.DESCRIPTOR.services_by_name["DeliveryService"]

    def __init__(
        self,
        zones: Zones,
        quotes: Quotes,
        slots: Slots,
        dispatch: Dispatch,
        queries: DeliveryQueries,
        pages: PageTokens,
    ) -> None:
        """Serve these."""
        self._zones = zones
        self._quotes = quotes
        self._slots = slots
        self._holding = GroupCommit(slots.hold_slot, slots.hold_together)
        self._confirming = GroupCommit(slots.confirm_slot, slots.confirm_together)
        self._releasing = GroupCommit(slots.release_slot, slots.release_together)
        self._dispatch = dispatch
        self._queries = queries
        self._pages = pages

    @property
    def together(self) -> Mapping[str, SetForm]:
        """Rpcs of which one transaction does many."""
        return {
            "QuoteSlot": self.quote_slot,
            "HoldSlot": self.hold_slot,
            "ConfirmSlot": self.confirm_slot,
            "ReleaseSlot": self.release_slot,
            "CreateShipment": self.create_shipment,
        }

    def quote_slot(self, items: Sequence[Item]) -> Sequence[pb.SlotQuote | Exception]:
        """What orders that asked in one message need to know of their slots."""
        turns = [Turn(messages.asked(item.request), item.call, item.context) for item in items]
        quoted = self._quotes.quote_together(turns)
        return [each if isinstance(each, Exception) else messages.slot_quote_to_pb(each) for each in quoted]

    def hold_slot(self, items: Sequence[Item]) -> Sequence[pb.SlotHold | Exception]:
        """Take places for orders that asked in one message, and for those that wait here already."""
        turns = [Turn(messages.wanted(item.request), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._holding.do_all(turns)))

    def confirm_slot(self, items: Sequence[Item]) -> Sequence[pb.SlotHold | Exception]:
        """Make places firm whose orders asked in one message."""
        turns = [Turn(UUID(item.request.hold_id), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._confirming.do_all(turns)))

    def release_slot(self, items: Sequence[Item]) -> Sequence[pb.SlotHold | Exception]:
        """Give back the places of orders that asked in one message."""
        turns = [Turn(UUID(item.request.hold_id), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._releasing.do_all(turns)))

    def create_shipment(self, items: Sequence[Item]) -> Sequence[pb.Shipment | Exception]:
        """Plan deliveries that were asked for in one message."""
        turns = [Turn(messages.plan_from_pb(item.request), item.call, item.context) for item in items]
        planned = self._dispatch.create_together(turns)
        return [
            each if isinstance(each, Exception) else item.run(_shown, each)
            for item, each in zip(items, planned, strict=True)
        ]

    def ListZones(self, request: pb.ListZonesRequest, context: ServicerContext) -> pb.ListZonesResponse:
        """Zones by name."""
        page = self._pages.page(request)
        zones = page.of(self._queries.list_zones(page.after, page.most), lambda last: (last.name, last.id))
        return pb.ListZonesResponse(zones=map(messages.zone_to_pb, zones.items), next_page_token=zones.next_page_token)

    def LocateZone(self, request: pb.LocateZoneRequest, context: ServicerContext) -> pb.Zone:
        """The zone of a place."""
        return messages.zone_to_pb(self._queries.locate((request.latitude, request.longitude)))

    def ListSlots(self, request: pb.ListSlotsRequest, context: ServicerContext) -> pb.ListSlotsResponse:
        """Slots of a zone by time."""
        page, day = self._pages.page(request), messages.day_from_text(request.date)
        zone = self._queries.zone(request.zone_id)
        listed = self._queries.list_slots(zone.id, zone.day(day) if day else None, page.after, page.most)
        slots = page.of(listed, lambda last: (last.start_time.isoformat(),))
        return pb.ListSlotsResponse(slots=map(messages.slot_to_pb, slots.items), next_page_token=slots.next_page_token)

    def GetQuote(self, request: pb.GetQuoteRequest, context: ServicerContext) -> pb.Quote:
        """What a delivery costs and when the next one is."""
        return messages.quote_to_pb(self._quotes.quote((request.latitude, request.longitude), request.subtotal))

    def QuoteSlot(self, request: pb.QuoteSlotRequest, context: ServicerContext) -> pb.SlotQuote:
        """What an order needs to know of its slot."""
        return messages.slot_quote_to_pb(self._quotes.quote_slot(messages.asked(request)))

    def HoldSlot(self, request: pb.HoldSlotRequest, context: ServicerContext) -> pb.SlotHold:
        """Take a place of a slot."""
        return messages.hold_to_pb(self._holding.do(messages.wanted(request)))

    def ConfirmSlot(self, request: pb.ConfirmSlotRequest, context: ServicerContext) -> pb.SlotHold:
        """Make a held place firm."""
        return messages.hold_to_pb(self._confirming.do(UUID(request.hold_id)))

    def ReleaseSlot(self, request: pb.ReleaseSlotRequest, context: ServicerContext) -> pb.SlotHold:
        """Give the place back."""
        return messages.hold_to_pb(self._releasing.do(UUID(request.hold_id)))

    def CreateShipment(self, request: pb.CreateShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """Plan a delivery."""
        return _shown(self._dispatch.create_shipment(messages.plan_from_pb(request)))

    def ReadyShipment(self, request: pb.ReadyShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """The goods are packed."""
        cash_due = messages.cash_from_pb(request, "cash_due")
        return _shown(self._dispatch.ready_shipment(UUID(request.shipment_id), cash_due))

    def CancelShipment(self, request: pb.CancelShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """Call a delivery off."""
        return _shown(self._dispatch.cancel_shipment(UUID(request.shipment_id)))

    def ListShipments(self, request: pb.ListShipmentsRequest, context: ServicerContext) -> pb.ListShipmentsResponse:
        """Shipments, the newest first."""
        page = self._pages.page(request)
        listed = self._queries.list_shipments(
            current_call().only_of,
            pb.Shipment.State.Name(request.state) if request.state else None,
            request.order_id or None,
            request.courier or None,
            page.after,
            page.most,
        )
        shipments = page.of(listed, lambda last: (last.create_time.isoformat(), str(last.id)))
        return pb.ListShipmentsResponse(
            shipments=map(_shown, shipments.items), next_page_token=shipments.next_page_token
        )

    def GetShipment(self, request: pb.GetShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """One shipment."""
        return _shown(self._queries.shipment(UUID(request.id), current_call().only_of))

    def AssignShipment(self, request: pb.AssignShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """Give a shipment to a courier."""
        key = current_call().key
        return _shown(self._dispatch.assign_shipment(UUID(request.id), UUID(request.courier_id), request.etag, key))

    def PickUpShipment(self, request: pb.PickUpShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """The courier takes the goods along."""
        return _shown(self._dispatch.pick_up_shipment(UUID(request.id), _courier(), current_call().key))

    def DeliverShipment(self, request: pb.DeliverShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """The courier hands the goods over."""
        cash = messages.cash_from_pb(request, "cash_collected")
        return _shown(self._dispatch.deliver_shipment(UUID(request.id), _courier(), cash, current_call().key))

    def FailShipment(self, request: pb.FailShipmentRequest, context: ServicerContext) -> pb.Shipment:
        """The courier could not hand the goods over."""
        key = current_call().key
        return _shown(self._dispatch.fail_shipment(UUID(request.id), _courier(), request.reason, key))

    def ReportPosition(self, request: pb.ReportPositionRequest, context: ServicerContext) -> pb.Shipment:
        """Where the courier is."""
        place, key = (request.latitude, request.longitude), current_call().key
        return _shown(self._dispatch.report_position(UUID(request.id), _courier(), place, key))

    def ListCouriers(self, request: pb.ListCouriersRequest, context: ServicerContext) -> pb.ListCouriersResponse:
        """Couriers by name."""
        page = self._pages.page(request)
        couriers = page.of(self._queries.list_couriers(page.after, page.most), lambda last: (last.name, str(last.id)))
        return pb.ListCouriersResponse(
            couriers=map(messages.courier_to_pb, couriers.items), next_page_token=couriers.next_page_token
        )

    def CreateCourier(self, request: pb.CreateCourierRequest, context: ServicerContext) -> pb.Courier:
        """Make a user a courier."""
        courier = self._dispatch.create_courier(UUID(request.courier.id), request.courier.name, current_call().key)
        return messages.courier_to_pb(courier)

    def PutZone(self, request: pb.PutZoneRequest, context: ServicerContext) -> pb.Zone:
        """Create a zone or change it."""
        zone = self._zones.put_zone(messages.zone_from_pb(request.zone), messages.hours_from_pb(request))
        return messages.zone_to_pb(zone)


def _courier() -> UUID:
    return UUID(current_call().principal.subject)


def _shown(shipment: Shipment) -> pb.Shipment:
    """The shipment as the caller may see it. A service that calls for itself is nobody who needs the address."""
    caller = current_call().principal
    return messages.shipment_to_pb(shipment.shown_to(caller.subject, caller.roles))
