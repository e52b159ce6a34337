"""What the order service says to its neighbours: valid by their contracts, allowed by their policies, understood."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng

from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.payment.v1 import payment_pb2, payment_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.errors import FailedPrecondition, MercatoError, NotFound, Unavailable
from mercato.grants import Grant, digest
from mercato.ids import uuid7
from mercato.money import Money
from mercato.rpc import on_behalf_of
from mercato.testing import a_customer, serve
from mercato.wire import money_to_pb, time_to_pb
from services.order.consent import STEPS
from services.order.events import OrderLine, Quantity
from services.order.neighbours import Offer, Shipment, Taken
from services.order.personal import Address, Personal, Place
from services.order.refusals import AddressNotServed, SlotClosed
from services.order.stubs import GrpcDeliveries, GrpcInventory, GrpcPayments, GrpcProducts, GrpcUsers

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ANN = Address("Ann", "Road 1", "2nd floor", "10115", "Berlin", "DE", "+49 30 12345", Place(52.5, 13.4))
LINES = (OrderLine("milk", "p1", "Milk", 2, Money(150, "USD")),)


class Neighbour:
    """A servicer of any contract: remembers what it was asked, answers as told."""

    def __init__(self, contract: Any) -> None:
        self.contract = contract
        self.asked: list[Message] = []
        self.replies: dict[str, Message | MercatoError] = {}

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        if name not in self.contract.methods_by_name:
            raise AttributeError(name)

        def answer(request: Message, _: object) -> Message:
            self.asked.append(request)
            reply = self.replies[name]
            if isinstance(reply, MercatoError):
                raise reply
            return reply

        return answer


class Town:
    """All neighbours on ports of their own."""

    def __init__(self, stack: ExitStack) -> None:
        contracts = (product_pb2, user_pb2, inventory_pb2, delivery_pb2, payment_pb2)
        services = [next(iter(each.DESCRIPTOR.services_by_name.values())) for each in contracts]
        self.product, self.user, self.inventory, self.delivery, self.payment = map(Neighbour, services)
        self._stack = stack

    def stub(self, neighbour: Neighbour, cls: Callable[..., Any]) -> Any:
        """A stub of it, used by the order service for a customer."""
        self.served = self._stack.enter_context(serve(neighbour))
        return self.served.stub(cls, a_customer(), caller="order")


@pytest.fixture
def town() -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(stack)


def test_offers_are_prices_of_now_and_what_is_not_sold_is_left_out(town: Town) -> None:
    offer = product_pb2.Offer(
        sku="milk",
        product_id="p1",
        title="Milk",
        unit_price=money_to_pb(Money(150, "USD")),
        availability=product_pb2.LOW,
    )
    town.product.replies["BatchGetOffers"] = product_pb2.BatchGetOffersResponse(offers=[offer])
    products = GrpcProducts(town.stub(town.product, product_pb2_grpc.ProductServiceStub))
    assert products.offers(["milk", "caviar"]) == {"milk": Offer("milk", "p1", "Milk", Money(150, "USD"), "LOW")}
    assert town.product.asked == [product_pb2.BatchGetOffersRequest(skus=["milk", "caviar"])]


def test_an_address_is_asked_for_by_its_owner(town: Town) -> None:
    users = GrpcUsers(town.stub(town.user, user_pb2_grpc.UserServiceStub))
    customer_id, address_id = uuid7(), uuid7()
    town.user.replies["GetAddress"] = user_pb2.Address(
        recipient="Ann",
        line1="Road 1",
        line2="2nd floor",
        postal_code="10115",
        city="Berlin",
        country_code="DE",
        phone="+49 30 12345",
        location=LatLng(latitude=52.5, longitude=13.4),
    )
    assert users.get_address(customer_id, address_id) == ANN
    assert town.user.asked == [user_pb2.GetAddressRequest(user_id=str(customer_id), id=str(address_id))]
    town.user.replies["GetAddress"] = NotFound()
    with pytest.raises(NotFound):
        users.get_address(customer_id, address_id)


def test_stock_is_claimed_kept_given_back_taken_and_returned(town: Town) -> None:
    inventory = GrpcInventory(town.stub(town.inventory, inventory_pb2_grpc.InventoryServiceStub))
    reservation = inventory_pb2.Reservation(warehouse_id="north", state=inventory_pb2.Reservation.HELD)
    rpcs = ("ReserveStock", "CommitReservation", "ReleaseReservation", "ConsumeReservation")
    town.inventory.replies = dict.fromkeys(rpcs, reservation)
    town.inventory.replies["RestockReturn"] = inventory_pb2.RestockReturnResponse()
    id_, order_id = uuid7(), uuid7()
    assert inventory.reserve_stock(id_, order_id, ("north", "south"), LINES) == "north"
    inventory.commit_reservation(id_)
    inventory.release_reservation(id_)
    inventory.consume_reservation(id_, [Quantity("milk", 0)])
    inventory.restock_return(id_, order_id, "north", [Quantity("milk", 1)])
    reserve, *_, consume, restock = town.inventory.asked
    assert reserve == inventory_pb2.ReserveStockRequest(
        reservation_id=str(id_),
        order_id=str(order_id),
        warehouse_ids=["north", "south"],
        lines=[inventory_pb2.StockLine(sku="milk", quantity=2)],
    )
    assert isinstance(consume, inventory_pb2.ConsumeReservationRequest)
    assert consume.lines == [inventory_pb2.PickedLine(sku="milk", quantity=0)]
    assert isinstance(restock, inventory_pb2.RestockReturnRequest)
    assert restock.warehouse_id == "north"


def slot_quote() -> delivery_pb2.SlotQuote:
    slot = delivery_pb2.Slot(
        id=str(uuid7()),
        zone_id="mitte",
        start_time=time_to_pb(NOON),
        end_time=time_to_pb(NOON + timedelta(hours=1)),
    )
    fee = money_to_pb(Money(290, "USD"))
    return delivery_pb2.SlotQuote(slot=slot, warehouse_ids=["north"], fee=fee)


def test_a_quote_names_slot_fee_and_warehouses(town: Town) -> None:
    deliveries = GrpcDeliveries(town.stub(town.delivery, delivery_pb2_grpc.DeliveryServiceStub))
    town.delivery.replies["QuoteSlot"] = slot_quote()
    quote = deliveries.quote_slot(uuid7(), Place(52.5, 13.4), Money(620, "USD"))
    assert (quote.slot.zone_id, quote.slot.start_time, quote.fee) == ("mitte", NOON, Money(290, "USD"))
    assert quote.warehouse_ids == ("north",)
    with pytest.raises(AddressNotServed):
        deliveries.quote_slot(uuid7(), None, Money(620, "USD"))


@pytest.mark.parametrize("category", [NotFound, FailedPrecondition])
def test_what_the_delivery_refuses_is_a_conflict_of_the_order(town: Town, category: type[MercatoError]) -> None:
    deliveries = GrpcDeliveries(town.stub(town.delivery, delivery_pb2_grpc.DeliveryServiceStub))
    for reason, cls in (("ADDRESS_NOT_SERVED", AddressNotServed), ("SLOT_CLOSED", SlotClosed)):
        refusal = category("no")
        refusal.reason = reason
        town.delivery.replies["QuoteSlot"] = refusal
        with pytest.raises(cls):
            deliveries.quote_slot(uuid7(), Place(52.5, 13.4), Money(620, "USD"))


def test_a_shipment_carries_the_person_and_what_is_due(town: Town) -> None:
    deliveries = GrpcDeliveries(town.stub(town.delivery, delivery_pb2_grpc.DeliveryServiceStub))
    hold, shipment = delivery_pb2.SlotHold(), delivery_pb2.Shipment()
    town.delivery.replies = {
        "HoldSlot": hold,
        "ConfirmSlot": hold,
        "ReleaseSlot": hold,
        "CreateShipment": shipment,
        "ReadyShipment": shipment,
        "CancelShipment": shipment,
    }
    id_, order_id, slot_id = uuid7(), uuid7(), str(uuid7())
    deliveries.hold_slot(id_, order_id, slot_id)
    deliveries.confirm_slot(id_)
    deliveries.release_slot(id_)
    personal = Personal(ANN, "ring twice")
    deliveries.create_shipment(Shipment(id_, order_id, id_, uuid7(), personal, Money(910, "USD")))
    deliveries.ready_shipment(id_, None)
    deliveries.cancel_shipment(id_)
    create, ready = town.delivery.asked[3:5]
    assert isinstance(create, delivery_pb2.CreateShipmentRequest)
    assert (create.address.recipient, create.address.note) == ("Ann", "ring twice")
    assert create.cash_due == money_to_pb(Money(910, "USD"))
    assert isinstance(ready, delivery_pb2.ReadyShipmentRequest)
    assert not ready.HasField("cash_due")


@contextmanager
def agreed(town: Town, payment_id: UUID, amount: Money, order_id: UUID | None = None) -> Iterator[None]:
    """Work for a customer who agreed to a payment."""
    customer_id, method = a_customer().subject, digest("pm_card_visa")
    grant = Grant(customer_id, str(order_id), str(payment_id), method, amount, STEPS)
    with on_behalf_of(customer_id, grant=town.served.granter().sign(grant)):
        yield


def test_a_payment_that_is_not_decided_is_no_answer(town: Town) -> None:
    payments = GrpcPayments(town.stub(town.payment, payment_pb2_grpc.PaymentServiceStub))
    pending = payment_pb2.Payment(state=payment_pb2.Payment.PENDING, method="visa")
    town.payment.replies = {"AuthorizePayment": pending, "CapturePayment": pending}
    amount, payment_id, order_id, customer_id = Money(910, "USD"), uuid7(), uuid7(), UUID(a_customer().subject)
    asked = (payment_id, order_id, customer_id, amount, "pm_card_visa")
    with agreed(town, payment_id, amount, order_id):
        with pytest.raises(Unavailable):
            payments.authorize_payment(*asked)
        with pytest.raises(Unavailable):
            payments.capture_payment(payment_id, amount)
        secured = payment_pb2.Payment(state=payment_pb2.Payment.AUTHORIZED, method="visa •••• 4242")
        town.payment.replies["AuthorizePayment"] = secured
        assert payments.authorize_payment(*asked) == "visa •••• 4242"


def test_money_is_taken_and_given_back_and_its_sums_are_told(town: Town) -> None:
    payments = GrpcPayments(town.stub(town.payment, payment_pb2_grpc.PaymentServiceStub))
    captured = payment_pb2.Payment(state=payment_pb2.Payment.CAPTURED, captured=money_to_pb(Money(910, "USD")))
    rpcs = ("CapturePayment", "VoidPayment", "RefundPayment", "SettleCash", "GetPayment")
    town.payment.replies = dict.fromkeys(rpcs, captured)
    id_, request_id, amount = uuid7(), uuid7(), Money(910, "USD")
    with agreed(town, id_, amount):
        payments.capture_payment(id_, amount)
    payments.void_payment(id_)
    taken = Taken(amount, None)
    assert payments.refund_payment(id_, amount, "return", request_id) == taken
    assert payments.settle_cash(id_, amount) == taken
    assert payments.get_payment(id_) == taken
    refund = town.payment.asked[2]
    assert isinstance(refund, payment_pb2.RefundPaymentRequest)
    assert (refund.id, refund.request_id, refund.reason) == (str(id_), str(request_id), "return")
