"""The neighbours over gRPC: the Protocols of `neighbours`, spoken by generated stubs."""

from collections.abc import Sequence
from uuid import UUID

from google.type import latlng_pb2

from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.payment.v1 import payment_pb2, payment_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.errors import MercatoError, Unavailable
from mercato.money import Money
from mercato.wire import money_from_pb, money_to_pb, time_from_pb
from services.order.domain import CASH
from services.order.events import OrderLine, Quantity, Slot
from services.order.neighbours import Offer, Shipment, SlotQuote, Taken
from services.order.personal import Address, Personal, Place
from services.order.refusals import AddressNotServed, BelowMinimum, SlotClosed

_SECURED = (payment_pb2.Payment.AUTHORIZED, payment_pb2.Payment.CAPTURED)
_REFUSALS = {"ADDRESS_NOT_SERVED": AddressNotServed, "SLOT_CLOSED": SlotClosed, "BELOW_MINIMUM": BelowMinimum}


class GrpcProducts:
    """The product service."""

    def __init__(self, stub: product_pb2_grpc.ProductServiceStub) -> None:
        self._stub = stub

    def offers(self, skus: Sequence[str]) -> dict[str, Offer]:
        """What can be bought of these; what cannot is left out."""
        reply = self._stub.BatchGetOffers(product_pb2.BatchGetOffersRequest(skus=skus))
        return {offer.sku: _offer(offer) for offer in reply.offers}


def _offer(offer: product_pb2.Offer) -> Offer:
    return Offer(
        offer.sku,
        offer.product_id,
        offer.title,
        money_from_pb(offer.unit_price),
        product_pb2.Availability.Name(offer.availability) if offer.availability else "IN_STOCK",
    )


class GrpcUsers:
    """The user service."""

    def __init__(self, stub: user_pb2_grpc.UserServiceStub) -> None:
        self._stub = stub

    def get_address(self, customer_id: UUID, address_id: UUID) -> Address:
        """An address of the customer's own. NotFound for any other."""
        request = user_pb2.GetAddressRequest(user_id=str(customer_id), id=str(address_id))
        found = self._stub.GetAddress(request)
        place = Place(found.location.latitude, found.location.longitude) if found.HasField("location") else None
        return Address(
            found.recipient,
            found.line1,
            found.line2,
            found.postal_code,
            found.city,
            found.country_code,
            found.phone,
            place,
        )


class GrpcInventory:
    """The inventory service."""

    def __init__(self, stub: inventory_pb2_grpc.InventoryServiceStub) -> None:
        self._stub = stub

    def reserve_stock(
        self, reservation_id: UUID, order_id: UUID, warehouse_ids: Sequence[str], lines: Sequence[OrderLine]
    ) -> str:
        """Hold every line in one warehouse, which is answered."""
        reservation = self._stub.ReserveStock(
            inventory_pb2.ReserveStockRequest(
                reservation_id=str(reservation_id),
                order_id=str(order_id),
                warehouse_ids=warehouse_ids,
                lines=[inventory_pb2.StockLine(sku=line.sku, quantity=line.quantity) for line in lines],
            )
        )
        return reservation.warehouse_id

    def commit_reservation(self, reservation_id: UUID) -> None:
        """Keep it for good."""
        self._stub.CommitReservation(inventory_pb2.CommitReservationRequest(reservation_id=str(reservation_id)))

    def release_reservation(self, reservation_id: UUID) -> None:
        """Give it back, now or when it arrives late."""
        self._stub.ReleaseReservation(inventory_pb2.ReleaseReservationRequest(reservation_id=str(reservation_id)))

    def consume_reservation(self, reservation_id: UUID, picked: Sequence[Quantity]) -> None:
        """Take out what was picked, and give back the rest."""
        lines = [inventory_pb2.PickedLine(sku=line.sku, quantity=line.quantity) for line in picked]
        self._stub.ConsumeReservation(
            inventory_pb2.ConsumeReservationRequest(reservation_id=str(reservation_id), lines=lines)
        )

    def restock_return(self, return_id: UUID, order_id: UUID, warehouse_id: str, lines: Sequence[Quantity]) -> None:
        """Put back what came back and is fit."""
        self._stub.RestockReturn(
            inventory_pb2.RestockReturnRequest(
                return_id=str(return_id),
                order_id=str(order_id),
                warehouse_id=warehouse_id,
                lines=[inventory_pb2.StockLine(sku=line.sku, quantity=line.quantity) for line in lines],
            )
        )


class GrpcDeliveries:
    """The delivery service."""

    def __init__(self, stub: delivery_pb2_grpc.DeliveryServiceStub) -> None:
        self._stub = stub

    def quote_slot(self, slot_id: UUID, place: Place | None, subtotal: Money) -> SlotQuote:
        """What a delivery there and then costs."""
        if place is None:
            raise AddressNotServed
        request = delivery_pb2.QuoteSlotRequest(
            slot_id=str(slot_id), location=_location(place), subtotal=money_to_pb(subtotal)
        )
        try:
            quote = self._stub.QuoteSlot(request)
        except MercatoError as error:
            # What is missing over there is a conflict here: the customer did not ask for the zone, but to be delivered.
            if refusal := _REFUSALS.get(error.reason):
                raise refusal(error.message, **error.metadata) from error
            raise
        return SlotQuote(_slot(quote.slot), tuple(quote.warehouse_ids), money_from_pb(quote.fee))

    def hold_slot(self, hold_id: UUID, order_id: UUID, slot_id: str) -> None:
        """Take one place of the slot for a while."""
        self._stub.HoldSlot(delivery_pb2.HoldSlotRequest(hold_id=str(hold_id), order_id=str(order_id), slot_id=slot_id))

    def confirm_slot(self, hold_id: UUID) -> None:
        """Keep it for good."""
        self._stub.ConfirmSlot(delivery_pb2.ConfirmSlotRequest(hold_id=str(hold_id)))

    def release_slot(self, hold_id: UUID) -> None:
        """Give it back, now or when it arrives late."""
        self._stub.ReleaseSlot(delivery_pb2.ReleaseSlotRequest(hold_id=str(hold_id)))

    def create_shipment(self, shipment: Shipment) -> None:
        """Plan the delivery in the confirmed slot."""
        request = delivery_pb2.CreateShipmentRequest(
            shipment_id=str(shipment.id),
            order_id=str(shipment.order_id),
            hold_id=str(shipment.hold_id),
            customer_id=str(shipment.customer_id),
            address=_destination(shipment.personal),
        )
        if shipment.cash_due is not None:
            request.cash_due.CopyFrom(money_to_pb(shipment.cash_due))
        self._stub.CreateShipment(request)

    def ready_shipment(self, shipment_id: UUID, cash_due: Money | None) -> None:
        """Say that the goods are packed."""
        request = delivery_pb2.ReadyShipmentRequest(shipment_id=str(shipment_id))
        if cash_due is not None:
            request.cash_due.CopyFrom(money_to_pb(cash_due))
        self._stub.ReadyShipment(request)

    def cancel_shipment(self, shipment_id: UUID) -> None:
        """Call it off, now or when it arrives late."""
        self._stub.CancelShipment(delivery_pb2.CancelShipmentRequest(shipment_id=str(shipment_id)))


def _location(place: Place) -> latlng_pb2.LatLng:
    return latlng_pb2.LatLng(latitude=place.latitude, longitude=place.longitude)


def _slot(slot: delivery_pb2.Slot) -> Slot:
    return Slot(slot.id, slot.zone_id, time_from_pb(slot.start_time), time_from_pb(slot.end_time))


def _destination(personal: Personal) -> delivery_pb2.Destination:
    address = personal.address or Address()
    return delivery_pb2.Destination(
        recipient=address.recipient,
        line1=address.line1,
        line2=address.line2,
        postal_code=address.postal_code,
        city=address.city,
        country_code=address.country_code,
        phone=address.phone,
        location=_location(address.place) if address.place else None,
        note=personal.note,
    )


class GrpcPayments:
    """The payment service."""

    def __init__(
        self, stub: payment_pb2_grpc.PaymentServiceStub, alone: payment_pb2_grpc.PaymentServiceStub | None = None
    ) -> None:
        """`alone` is for what waits for the provider: nobody else shall."""
        self._stub = stub
        self._alone = alone or stub

    def authorize_payment(
        self, payment_id: UUID, order_id: UUID, customer_id: UUID, amount: Money, payment_method: str
    ) -> str:
        """Reserve the amount; the means of payment, masked, is answered."""
        stub = self._stub if payment_method == CASH else self._alone
        payment = stub.AuthorizePayment(
            payment_pb2.AuthorizePaymentRequest(
                payment_id=str(payment_id),
                order_id=str(order_id),
                customer_id=str(customer_id),
                amount=money_to_pb(amount),
                payment_method=payment_method,
            )
        )
        if payment.state not in _SECURED:
            raise Unavailable(f"the payment is {payment_pb2.Payment.State.Name(payment.state)}")
        return payment.method

    def capture_payment(self, payment_id: UUID, amount: Money) -> None:
        """Take the amount, and give the rest of the authorization back."""
        request = payment_pb2.CapturePaymentRequest(payment_id=str(payment_id), amount=money_to_pb(amount))
        payment = self._stub.CapturePayment(request)
        if payment.state not in (payment_pb2.Payment.CAPTURED, payment_pb2.Payment.REFUNDED):
            raise Unavailable(f"the payment is {payment_pb2.Payment.State.Name(payment.state)}")

    def void_payment(self, payment_id: UUID) -> None:
        """Take nothing, now or when it arrives late."""
        self._stub.VoidPayment(payment_pb2.VoidPaymentRequest(payment_id=str(payment_id)))

    def refund_payment(self, payment_id: UUID, amount: Money, reason: str, request_id: UUID) -> Taken:
        """Give some of it back."""
        request = payment_pb2.RefundPaymentRequest(
            id=str(payment_id), amount=money_to_pb(amount), reason=reason, request_id=str(request_id)
        )
        return _taken(self._stub.RefundPayment(request))

    def settle_cash(self, payment_id: UUID, amount: Money) -> Taken:
        """Book what the courier collected."""
        request = payment_pb2.SettleCashRequest(payment_id=str(payment_id), amount=money_to_pb(amount))
        return _taken(self._stub.SettleCash(request))

    def get_payment(self, payment_id: UUID) -> Taken:
        """How far it is taken."""
        return _taken(self._stub.GetPayment(payment_pb2.GetPaymentRequest(id=str(payment_id))))


def _taken(payment: payment_pb2.Payment) -> Taken:
    return Taken(
        money_from_pb(payment.captured) if payment.HasField("captured") else None,
        money_from_pb(payment.refunded) if payment.HasField("refunded") else None,
    )
