"""The order service through its contract: who may do what, what is shown to whom, and every refusal."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyPb

from mercato.api.order.v1 import order_pb2 as pb
from mercato.api.order.v1.order_pb2_grpc import OrderServiceStub
from mercato.errors import InvalidArgument, MercatoError, NotFound, PermissionDenied, ResourceExhausted
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import a_customer, a_guest, serve, staff
from mercato.wire import money_to_pb
from services.order.cart import CartLine
from services.order.personal import Place
from tests.component.order_shop import Shop, state


class Desk:
    """A shop, and stubs for those who call it."""

    def __init__(self, shop: Shop, stub: Callable[[Principal], Any]) -> None:
        self.shop = shop
        self.as_ = stub
        self.customer = stub(shop.customer)
        self.other = stub(a_customer(str(uuid7())))
        self.support = stub(shop.support)
        self.warehouse = stub(shop.warehouse)

    def request(self, **more: Any) -> pb.PlaceOrderRequest:
        """Two bottles of milk and a loaf."""
        lines = [pb.LineQuantity(sku="milk", quantity=2), pb.LineQuantity(sku="rye", quantity=1)]
        request = {
            "lines": lines,
            "address_id": str(self.shop.address_id),
            "slot_id": str(self.shop.slot_id),
            "payment_method": "pm_card_visa",
            "note": "ring twice",
            "request_id": str(uuid7()),
        }
        return pb.PlaceOrderRequest(**{**request, **more})

    def place(self, **more: Any) -> pb.Order:
        """The customer orders."""
        order: pb.Order = self.customer.PlaceOrder(self.request(**more))
        return order


@pytest.fixture
def desk(order_database: Database) -> Iterator[Desk]:
    shop = Shop(order_database)
    with serve(shop.parts.servicer) as served:
        yield Desk(shop, lambda who: served.stub(OrderServiceStub, who))


def reason_of(act: Callable[[], object]) -> str:
    """Why something is refused."""
    with pytest.raises(MercatoError) as refusal:
        act()
    return refusal.value.reason


def key() -> str:
    return str(uuid7())


# Placing


def test_an_order_is_what_was_agreed(desk: Desk) -> None:
    order = desk.place()
    assert state(order) == "CONFIRMED"
    assert [(line.sku, line.quantity, line.total.units) for line in order.lines] == [("milk", 2, 3), ("rye", 1, 3)]
    assert (order.subtotal.units, order.delivery_fee.units, order.total.units) == (6, 2, 9)
    assert (order.warehouse_id, order.payment_method) == ("north", "masked pm_card_visa")
    assert order.slot.zone_id == "mitte"
    assert (order.version, order.etag) == (3, "3")
    assert order.customer_id == desk.shop.customer.subject
    assert desk.customer.GetOrder(pb.GetOrderRequest(id=order.id)) == order


def refusals() -> dict[str, tuple[Callable[[Desk], dict[str, Any]], str]]:
    def gone(desk: Desk) -> dict[str, Any]:
        del desk.shop.products.prices["rye"]
        return {}

    def closed(desk: Desk) -> dict[str, Any]:
        desk.shop.deliveries.closed.add(str(desk.shop.slot_id))
        return {}

    def dear(desk: Desk) -> dict[str, Any]:
        desk.shop.deliveries.minimum = Money(5000, "USD")
        return {}

    def price(_: Desk) -> dict[str, Any]:
        return {"expected_total": MoneyPb(currency_code="USD", units=9)}

    return {
        "nothing in the cart": (lambda _: {"lines": []}, "EMPTY_CART"),
        "not sold any more": (gone, "UNKNOWN_SKU"),
        "no address of the customer's": (lambda _: {"address_id": str(uuid7())}, "NOT_FOUND"),
        "a slot that is closed": (closed, "SLOT_CLOSED"),
        "a slot that is nowhere": (lambda _: {"slot_id": str(uuid7())}, "SLOT_CLOSED"),
        "below the zone's minimum": (dear, "BELOW_MINIMUM"),
        "another total than was seen": (price, "PRICE_CHANGED"),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_cannot_become_an_order_is_refused_and_leaves_nothing(desk: Desk, case: str) -> None:
    prepare, reason = refusals()[case]
    request = desk.request(**prepare(desk))
    assert reason_of(lambda: desk.customer.PlaceOrder(request)) == reason
    for table in ("order_view", "personal", "process", "outbox"):
        assert not desk.shop.sql(f"select 1 from {table}")
    # The key is not used up.
    desk.shop.products.prices["rye"] = Money(320, "USD")
    again = desk.request(request_id=request.request_id)
    desk.shop.deliveries.closed.clear()
    desk.shop.deliveries.minimum = Money(0, "USD")
    assert state(desk.customer.PlaceOrder(again)) == "CONFIRMED"


def test_a_place_that_nobody_delivers_to_is_refused(desk: Desk) -> None:
    owned = (UUID(desk.shop.customer.subject), desk.shop.address_id)
    for place in (Place(-1.0, 0.0), None):
        desk.shop.users.addresses[owned] = replace(desk.shop.users.addresses[owned], place=place)
        assert reason_of(desk.place) == "ADDRESS_NOT_SERVED"


def test_the_total_that_was_seen_is_the_total_that_is_agreed(desk: Desk) -> None:
    assert state(desk.place(expected_total=money_to_pb(Money(910, "USD")))) == "CONFIRMED"


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda shop: shop.inventory.free.update({"milk": -9}), "OUT_OF_STOCK"),
        (lambda shop: shop.deliveries.places.update({str(shop.slot_id): -10}), "SLOT_FULL"),
        (None, "PAYMENT_DECLINED"),
    ],
)
def test_a_no_of_the_checkout_is_a_rejected_order_with_its_id(
    desk: Desk, prepare: Callable[[Shop], None] | None, reason: str
) -> None:
    if prepare:
        prepare(desk.shop)
    request = desk.request(**({} if prepare else {"payment_method": "pm_declined"}))
    found = []
    for _ in range(2):
        with pytest.raises(MercatoError) as refusal:
            desk.customer.PlaceOrder(request)
        assert refusal.value.reason == reason
        found.append(refusal.value.metadata)
    order = desk.customer.GetOrder(pb.GetOrderRequest(id=str(found[0]["order_id"])))
    assert (state(order), order.rejection.reason) == ("REJECTED", reason)
    assert found[0] == found[1]
    if reason == "OUT_OF_STOCK":
        assert found[0]["skus"] == [{"sku": "milk", "wanted": 2, "available": 1}]
        assert [(line.sku, line.available) for line in order.rejection.skus] == [("milk", 1)]
    if reason == "PAYMENT_DECLINED":
        assert (found[0]["decline_code"], order.rejection.decline_code) == ("card_declined", "card_declined")


def test_whoever_was_declined_too_often_has_a_rejected_order_and_is_told_to_wait(desk: Desk) -> None:
    request = desk.request(payment_method="pm_tried_too_often")
    for _ in range(2):
        with pytest.raises(ResourceExhausted) as refusal:
            desk.customer.PlaceOrder(request)
        assert (refusal.value.reason, refusal.value.retry_after) == ("TOO_MANY_DECLINES", 600.0)
    order = desk.customer.GetOrder(pb.GetOrderRequest(id=str(refusal.value.metadata["order_id"])))
    assert (state(order), order.rejection.reason) == ("REJECTED", "TOO_MANY_DECLINES")
    assert [each.state for each in desk.shop.payments.payments.values()] == ["VOIDED"], "it may still arrive"


def test_the_same_key_is_the_same_order_and_another_request_under_it_is_refused(desk: Desk) -> None:
    request = desk.request()
    first, second = desk.customer.PlaceOrder(request), desk.customer.PlaceOrder(request)
    assert first == second
    request.note = "do not ring"
    assert reason_of(lambda: desk.customer.PlaceOrder(request)) == "IDEMPOTENCY_KEY_REUSED"


def test_two_customers_with_the_same_key_have_nothing_to_do_with_each_other(desk: Desk) -> None:
    request = desk.request()
    desk.customer.PlaceOrder(request)
    assert reason_of(lambda: desk.other.PlaceOrder(request)) == "NOT_FOUND"  # the address is not theirs


def test_a_line_named_twice_is_refused_by_name(desk: Desk) -> None:
    lines = [pb.LineQuantity(sku="milk", quantity=1)] * 2
    with pytest.raises(InvalidArgument) as refusal:
        desk.place(lines=lines)
    assert [violation.field for violation in refusal.value.fields] == ["lines[1].sku"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"address_id": "here"},
        {"slot_id": ""},
        {"payment_method": "4242 4242"},
        {"note": "x" * 501},
        {"lines": [pb.LineQuantity(sku="milk", quantity=100)]},
        {"lines": [pb.LineQuantity(sku="milk", quantity=0)]},
        {"expected_total": MoneyPb(currency_code="usd", units=9)},
    ],
)
def test_malformed_requests_are_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    assert reason_of(lambda: desk.place(**wrong)) == "VALIDATION_FAILED"


# The cart


def put(who: Any, sku: str, quantity: int, etag: str = "") -> pb.Cart:
    cart: pb.Cart = who.SetCartLine(pb.SetCartLineRequest(sku=sku, quantity=quantity, etag=etag))
    return cart


def cart_of(who: Any) -> dict[str, int]:
    return {line.sku: line.quantity for line in who.GetCart(pb.GetCartRequest()).lines}


def test_a_cart_is_priced_now(desk: Desk) -> None:
    put(desk.customer, "milk", 2)
    put(desk.customer, "rye", 1)
    desk.shop.products.prices["milk"] = Money(199, "USD")
    del desk.shop.products.prices["rye"]
    cart = desk.customer.GetCart(pb.GetCartRequest())
    milk, rye = cart.lines
    assert (milk.total.units, milk.price_changed, milk.title) == (3, True, "Milk")
    assert (rye.HasField("unit_price"), rye.product_id, rye.title) == (False, "", "Rye")
    assert rye.availability == pb.CartLine.OUT_OF_STOCK
    assert (cart.subtotal.units, cart.subtotal.nanos) == (3, 980_000_000)
    assert not put(desk.customer, "milk", 2).lines[0].price_changed


def test_an_empty_cart_costs_nothing(desk: Desk) -> None:
    cart = desk.customer.GetCart(pb.GetCartRequest())
    assert (len(cart.lines), cart.subtotal.units, cart.subtotal.currency_code) == (0, 0, "USD")


def test_lines_keep_their_place_and_leave_by_zero_by_removal_and_all_at_once(desk: Desk) -> None:
    for sku in ("milk", "rye"):
        put(desk.customer, sku, 1)
    put(desk.customer, "milk", 3)
    assert list(cart_of(desk.customer).items()) == [("milk", 3), ("rye", 1)]
    put(desk.customer, "milk", 0)
    assert cart_of(desk.customer) == {"rye": 1}
    for _ in range(2):
        desk.customer.RemoveCartLine(pb.RemoveCartLineRequest(sku="rye"))
    assert cart_of(desk.customer) == {}
    put(desk.customer, "milk", 1)
    desk.customer.ClearCart(pb.ClearCartRequest())
    assert cart_of(desk.customer) == {}


def test_what_is_not_sold_does_not_go_into_a_cart(desk: Desk) -> None:
    assert reason_of(lambda: put(desk.customer, "caviar", 1)) == "UNKNOWN_SKU"
    assert put(desk.customer, "caviar", 0).lines == []


def test_a_cart_has_a_hundred_lines(desk: Desk) -> None:
    desk.shop.products.prices |= {f"s{number}": Money(100, "USD") for number in range(101)}
    lines = [CartLine(f"s{number}", 1, "", Money(100, "USD")) for number in range(100)]
    with desk.shop.work() as work:
        work.carts.put(desk.shop.customer.subject, lines)
    assert reason_of(lambda: put(desk.customer, "s100", 1)) == "CART_FULL"
    assert len(put(desk.customer, "s99", 2).lines) == 100


def test_a_cart_that_has_changed_since_is_not_overwritten(desk: Desk) -> None:
    etag = put(desk.customer, "milk", 1).etag
    put(desk.customer, "milk", 2, etag)
    assert reason_of(lambda: put(desk.customer, "milk", 3, etag)) == "ETAG_MISMATCH"
    assert reason_of(lambda: desk.customer.SetCartLine(pb.SetCartLineRequest(sku="milk"))) == "VALIDATION_FAILED"


def test_a_guest_s_lines_are_taken_over_once_and_the_larger_quantity_wins(desk: Desk) -> None:
    guest = a_guest(str(uuid7()))
    as_guest = desk.as_(guest)
    desk.shop.products.prices["eggs"] = Money(400, "USD")
    put(as_guest, "milk", 3)
    put(as_guest, "eggs", 1)
    put(desk.customer, "milk", 1)
    put(desk.customer, "rye", 2)
    grown = desk.as_(a_customer(desk.shop.customer.subject, guest.subject))
    assert cart_of(grown) == {"milk": 3, "rye": 2, "eggs": 1}
    grown.ClearCart(pb.ClearCartRequest())
    put(as_guest, "milk", 9)
    assert cart_of(grown) == {}


def test_the_cart_is_ordered_and_emptied_when_nothing_else_is_named(desk: Desk) -> None:
    put(desk.customer, "milk", 2)
    order = desk.place(lines=[])
    assert [(line.sku, line.quantity) for line in order.lines] == [("milk", 2)]
    assert cart_of(desk.customer) == {}
    put(desk.customer, "milk", 1)
    desk.place()
    assert cart_of(desk.customer) == {"milk": 1}


def test_a_cart_that_changes_while_it_is_ordered_is_looked_at_again(desk: Desk) -> None:
    put(desk.customer, "milk", 2)

    def add() -> None:
        put(desk.customer, "rye", 1)

    desk.shop.points.hooks["QuoteSlot.after"] = add
    order = desk.place(lines=[])
    assert {line.sku for line in order.lines} == {"milk", "rye"}
    assert cart_of(desk.customer) == {}


def test_a_guest_has_a_cart_and_orders_nothing(desk: Desk) -> None:
    guest = desk.as_(a_guest())
    put(guest, "milk", 1)
    with pytest.raises(PermissionDenied):
        guest.PlaceOrder(desk.request())


# Reading


def test_another_s_order_is_not_there(desk: Desk) -> None:
    order, missing = desk.place(), str(uuid7())
    for id_ in (order.id, missing):
        lines = [pb.LineQuantity(sku="milk", quantity=1)]
        calls: list[Callable[[], object]] = [
            lambda: desk.other.GetOrder(pb.GetOrderRequest(id=id_)),  # noqa: B023  called at once
            lambda: desk.other.ListOrderEvents(pb.ListOrderEventsRequest(id=id_)),  # noqa: B023
            lambda: desk.other.CancelOrder(pb.CancelOrderRequest(id=id_, reason="x", request_id=key())),  # noqa: B023
            lambda: desk.other.RetryPayment(pb.RetryPaymentRequest(id=id_, request_id=key())),  # noqa: B023
            lambda: desk.other.RequestReturn(
                pb.RequestReturnRequest(id=id_, lines=lines, reason="x", request_id=key())  # noqa: B023
            ),
        ]
        for call in calls:
            with pytest.raises(NotFound) as refusal:
                call()
            assert (refusal.value.message, refusal.value.metadata) == (NotFound().message, {})
    assert state(desk.customer.GetOrder(pb.GetOrderRequest(id=order.id))) == "CONFIRMED"


def test_a_person_is_shown_to_the_owner_to_support_and_admin_and_to_nobody_else(desk: Desk) -> None:
    order = desk.place()
    seen = {
        role: desk.as_(staff(role)).GetOrder(pb.GetOrderRequest(id=order.id))
        for role in ("support", "admin", "finance", "warehouse")
    }
    assert (order.address.recipient, order.note) == ("Annabel Lee", "ring twice")
    assert seen["admin"].address.phone == order.address.phone == "+49 30 12345"
    assert seen["support"].address.phone.endswith("•45")
    assert seen["support"].address.line1 == "Road 1"
    for role in ("finance", "warehouse"):
        assert not seen[role].HasField("address")
        assert not seen[role].HasField("note")
        assert seen[role].total == order.total
    listed = desk.as_(staff("finance")).ListOrders(pb.ListOrdersRequest()).orders
    assert [each.HasField("address") for each in listed] == [False]


def test_lists_are_the_caller_s_own_and_all_for_staff(desk: Desk) -> None:
    order = desk.place()
    assert [each.id for each in desk.customer.ListOrders(pb.ListOrdersRequest()).orders] == [order.id]
    assert not desk.other.ListOrders(pb.ListOrdersRequest()).orders
    assert [each.id for each in desk.support.ListOrders(pb.ListOrdersRequest()).orders] == [order.id]
    of_customer = pb.ListOrdersRequest(customer_id=order.customer_id)
    assert [each.id for each in desk.support.ListOrders(of_customer).orders] == [order.id]
    assert reason_of(lambda: desk.other.ListOrders(of_customer)) == "NOT_FOUND"
    for role in ("catalog", "courier"):
        with pytest.raises(PermissionDenied):
            desk.as_(staff(role)).ListOrders(pb.ListOrdersRequest())


def test_pages_lead_through_all_orders_the_newest_first(desk: Desk) -> None:
    placed = [desk.place(lines=[pb.LineQuantity(sku="milk", quantity=1)]).id for _ in range(5)]
    found, token = [], ""
    while True:
        page = desk.customer.ListOrders(pb.ListOrdersRequest(page_size=2, page_token=token))
        found += [order.id for order in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert found == placed[::-1]
    first = desk.customer.ListOrders(pb.ListOrdersRequest(page_size=2)).next_page_token
    stranger = pb.ListOrdersRequest(page_size=2, page_token=first)
    assert reason_of(lambda: desk.other.ListOrders(stranger)) == "INVALID_PAGE_TOKEN"
    other_query = pb.ListOrdersRequest(page_token=first, state=pb.Order.READY)
    assert reason_of(lambda: desk.customer.ListOrders(other_query)) == "INVALID_PAGE_TOKEN"
    assert reason_of(lambda: desk.customer.ListOrders(pb.ListOrdersRequest(page_token="x"))) == "INVALID_PAGE_TOKEN"


def test_lists_are_filtered_by_state_and_time(desk: Desk) -> None:
    order = desk.place()
    confirmed, ready = pb.ListOrdersRequest(state=pb.Order.CONFIRMED), pb.ListOrdersRequest(state=pb.Order.READY)
    assert len(desk.customer.ListOrders(confirmed).orders) == 1
    assert not desk.customer.ListOrders(ready).orders
    later = Timestamp(seconds=order.create_time.seconds + 1)
    assert len(desk.customer.ListOrders(pb.ListOrdersRequest(since=order.create_time)).orders) == 1
    assert not desk.customer.ListOrders(pb.ListOrdersRequest(since=later)).orders


def test_the_history_tells_what_happened_in_order(desk: Desk) -> None:
    order = desk.place()
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=order.id))
    history = desk.customer.ListOrderEvents(pb.ListOrderEventsRequest(id=order.id)).events
    assert [event.type for event in history] == ["OrderPlaced", "OrderConfirmed", "OrderPickingStarted"]
    assert history[0].text == "Placed: 3 items for 9.10 USD."
    assert history[0].data["total"] == "9.10 USD"
    assert [event.version for event in history] == sorted(event.version for event in history)
    rest = pb.ListOrderEventsRequest(id=order.id, after_version=history[1].version)
    assert [event.type for event in desk.customer.ListOrderEvents(rest).events] == ["OrderPickingStarted"]


def test_the_gateway_asks_how_far_many_orders_have_come(desk: Desk) -> None:
    first, second, missing = desk.place(), desk.place(), str(uuid7())
    asked = pb.BatchGetOrderVersionsRequest(ids=[second.id, missing, first.id])
    told = desk.as_(Principal()).BatchGetOrderVersions(asked).versions
    assert {each.id: each.version for each in told} == {each.id: each.version for each in (first, second)}
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=first.id))
    (moved,) = desk.as_(Principal()).BatchGetOrderVersions(pb.BatchGetOrderVersionsRequest(ids=[first.id])).versions
    assert moved.version > first.version


def test_the_board_shows_what_is_to_be_done(desk: Desk) -> None:
    first, second = desk.place(), desk.place(lines=[pb.LineQuantity(sku="milk", quantity=1)])
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=second.id))
    board = desk.as_(staff("catalog")).GetOrderBoard(pb.GetOrderBoardRequest())
    assert {pb.Order.State.Name(each.state): each.count for each in board.states} == {"CONFIRMED": 1, "PICKING": 1}
    assert [entry.order_id for entry in board.pick_list] == [first.id, second.id]
    assert [(line.sku, line.quantity) for line in board.pick_list[0].lines] == [("milk", 2), ("rye", 1)]
    assert not desk.warehouse.GetOrderBoard(pb.GetOrderBoardRequest(warehouse_id="south")).pick_list
    with pytest.raises(PermissionDenied):
        desk.customer.GetOrderBoard(pb.GetOrderBoardRequest())


# The way of an order


def test_an_order_goes_its_way_to_the_door(desk: Desk) -> None:
    order = desk.place()
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=order.id))
    picked = [pb.PickedQuantity(sku="milk", picked_quantity=1)]
    ready = desk.warehouse.FinishPicking(pb.FinishPickingRequest(id=order.id, lines=picked))
    assert state(ready) == "READY"
    assert [line.picked_quantity for line in ready.lines] == [1, 1]
    assert (ready.captured_total.units, ready.captured_total.nanos) == (7, 600_000_000)
    desk.shop.picked_up(order)
    desk.shop.delivered(order)
    history = desk.customer.ListOrderEvents(pb.ListOrderEventsRequest(id=order.id)).events
    assert [event.type for event in history][-2:] == ["OrderOutForDelivery", "OrderDelivered"]


def test_cash_is_told_to_the_courier_and_settled_after_the_door(desk: Desk) -> None:
    order = desk.place(payment_method="cash_on_delivery")
    assert order.payment_method == "cash_on_delivery"
    (shipment,) = desk.shop.deliveries.shipments.values()
    assert shipment.cash_due == Money(910, "USD")
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=order.id))
    picked = [pb.PickedQuantity(sku="rye", picked_quantity=0)]
    ready = desk.warehouse.FinishPicking(pb.FinishPickingRequest(id=order.id, lines=picked))
    (shipment,) = desk.shop.deliveries.shipments.values()
    assert shipment.cash_due == Money(590, "USD")
    assert ready.captured_total.units == 0
    desk.shop.picked_up(order)
    desk.shop.delivered(order, Money(600, "USD"))
    desk.shop.rest()
    assert desk.shop.order(order.id).captured_total == money_to_pb(Money(590, "USD"))


def test_actions_in_the_wrong_state_are_refused_by_their_reasons(desk: Desk) -> None:
    id_ = desk.place().id
    lines = [pb.LineQuantity(sku="milk", quantity=1)]
    return_ = pb.RequestReturnRequest(id=id_, lines=lines, reason="x", request_id=key())
    assert reason_of(lambda: desk.warehouse.FinishPicking(pb.FinishPickingRequest(id=id_))) == "ORDER_NOT_PICKING"
    retry = pb.RetryPaymentRequest(id=id_, request_id=key())
    assert reason_of(lambda: desk.customer.RetryPayment(retry)) == "PAYMENT_NOT_DUE"
    redeliver = pb.RedeliverRequest(id=id_, slot_id=str(uuid7()))
    assert reason_of(lambda: desk.support.Redeliver(redeliver)) == "DELIVERY_NOT_FAILED"
    assert reason_of(lambda: desk.customer.RequestReturn(return_)) == "ORDER_NOT_DELIVERED"
    approve = pb.ApproveReturnRequest(id=id_, request_id=key())
    assert reason_of(lambda: desk.support.ApproveReturn(approve)) == "NO_OPEN_RETURN"
    refuse = pb.RefuseReturnRequest(id=id_, reason="x", request_id=key())
    assert reason_of(lambda: desk.support.RefuseReturn(refuse)) == "NO_OPEN_RETURN"
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=id_))
    cancel = pb.CancelOrderRequest(id=id_, reason="x", request_id=key())
    assert reason_of(lambda: desk.customer.CancelOrder(cancel)) == "TOO_LATE_TO_CANCEL"
    too_much = pb.FinishPickingRequest(id=id_, lines=[pb.PickedQuantity(sku="milk", picked_quantity=3)])
    assert reason_of(lambda: desk.warehouse.FinishPicking(too_much)) == "PICKED_TOO_MUCH"
    unknown = pb.FinishPickingRequest(id=id_, lines=[pb.PickedQuantity(sku="tea", picked_quantity=1)])
    assert reason_of(lambda: desk.warehouse.FinishPicking(unknown)) == "UNKNOWN_LINE"
    desk.warehouse.FinishPicking(pb.FinishPickingRequest(id=id_))
    assert reason_of(lambda: desk.warehouse.StartPicking(pb.StartPickingRequest(id=id_))) == "ORDER_NOT_CONFIRMED"


def test_a_cancel_is_done_once_and_wants_the_version_that_was_seen(desk: Desk) -> None:
    order = desk.place()
    stale = pb.CancelOrderRequest(id=order.id, reason="x", etag="1", request_id=key())
    assert reason_of(lambda: desk.customer.CancelOrder(stale)) == "ETAG_MISMATCH"
    cancel = pb.CancelOrderRequest(id=order.id, reason="changed my mind", etag=order.etag, request_id=key())
    cancelled = desk.customer.CancelOrder(cancel)
    assert state(cancelled) == "CANCELLED"
    assert desk.customer.CancelOrder(cancel) == cancelled
    without = pb.CancelOrderRequest(id=order.id, reason="again", request_id=key())
    assert desk.customer.CancelOrder(without).version == cancelled.version


def test_a_capture_that_fails_is_due_and_paid_by_other_means(desk: Desk) -> None:
    order = desk.place(payment_method="pm_capture_fails")
    desk.warehouse.StartPicking(pb.StartPickingRequest(id=order.id))
    due = desk.warehouse.FinishPicking(pb.FinishPickingRequest(id=order.id))
    assert state(due) == "PAYMENT_DUE"
    for method, code in (("", "expired_card"), ("pm_declined", "card_declined"), ("pm_capture_fails", "expired_card")):
        retry = pb.RetryPaymentRequest(id=order.id, payment_method=method, request_id=key())
        with pytest.raises(MercatoError) as refusal:
            desk.customer.RetryPayment(retry)
        assert (refusal.value.reason, refusal.value.metadata["decline_code"]) == ("PAYMENT_DECLINED", code)
    retry = pb.RetryPaymentRequest(id=order.id, payment_method="pm_card_visa", request_id=key())
    paid = desk.customer.RetryPayment(retry)
    assert (state(paid), paid.captured_total, paid.payment_method) == ("READY", paid.total, "masked pm_card_visa")
    assert desk.customer.RetryPayment(retry) == paid
    payments = desk.shop.payments.payments.values()
    assert sorted(each.state for each in payments) == ["CAPTURED", "DECLINED", "VOIDED", "VOIDED"]


def test_what_could_not_be_delivered_goes_out_again_or_is_refunded(desk: Desk) -> None:
    order = desk.shop.turned_back()
    full = pb.RedeliverRequest(id=order.id, slot_id=str(desk.shop.other_slot_id))
    desk.shop.deliveries.places[str(desk.shop.other_slot_id)] = 0
    assert reason_of(lambda: desk.support.Redeliver(full)) == "SLOT_FULL"
    closed = pb.RedeliverRequest(id=order.id, slot_id=str(uuid7()))
    assert reason_of(lambda: desk.support.Redeliver(closed)) == "SLOT_CLOSED"
    desk.shop.deliveries.places[str(desk.shop.other_slot_id)] = 1
    full.request_id = key()
    again = desk.warehouse.Redeliver(full)
    assert (state(again), again.slot.id) == ("READY", str(desk.shop.other_slot_id))
    assert desk.warehouse.Redeliver(full) == again
    desk.shop.picked_up(again)
    desk.shop.failed(again)
    cancel = pb.CancelOrderRequest(id=order.id, reason="nobody there", request_id=key())
    assert reason_of(lambda: desk.customer.CancelOrder(cancel)) == "TOO_LATE_TO_CANCEL"
    cancelled = desk.support.CancelOrder(cancel)
    assert (state(cancelled), cancelled.refunded_total) == ("CANCELLED", cancelled.captured_total)


def test_goods_come_back_the_money_goes_back_and_nobody_decides_their_own(desk: Desk) -> None:
    order = desk.shop.brought()
    lines = [pb.LineQuantity(sku="milk", quantity=2)]
    request = pb.RequestReturnRequest(id=order.id, lines=lines, reason="sour", request_id=key())
    asked = desk.customer.RequestReturn(request)
    assert desk.customer.RequestReturn(request) == asked
    assert (asked.order_return.state, asked.order_return.reason) == (pb.OrderReturn.REQUESTED, "sour")
    assert desk.as_(staff("finance")).GetOrder(pb.GetOrderRequest(id=order.id)).order_return.reason == ""
    again = pb.RequestReturnRequest(id=order.id, lines=lines, reason="sour", request_id=key())
    assert reason_of(lambda: desk.customer.RequestReturn(again)) == "RETURN_OPEN"
    oneself = Principal(desk.shop.customer.subject, frozenset({"customer", "support"}), "session")
    approve = pb.ApproveReturnRequest(id=order.id, restock=[pb.LineQuantity(sku="milk", quantity=1)], request_id=key())
    assert reason_of(lambda: desk.as_(oneself).ApproveReturn(approve)) == "OWN_RETURN"
    too_much = pb.ApproveReturnRequest(id=order.id, restock=[pb.LineQuantity(sku="milk", quantity=3)], request_id=key())
    assert reason_of(lambda: desk.support.ApproveReturn(too_much)) == "RESTOCKED_TOO_MUCH"
    approved = desk.support.ApproveReturn(approve)
    assert desk.support.ApproveReturn(approve) == approved
    assert approved.order_return.state == pb.OrderReturn.APPROVED
    assert approved.refunded_total == money_to_pb(Money(300, "USD"))
    assert [line.returned_quantity for line in approved.lines] == [2, 0]
    assert desk.shop.inventory.free["milk"] == 9
    assert reason_of(lambda: desk.customer.RequestReturn(again)) == "RETURNED_TOO_MUCH"
    desk.shop.clock.forward(timedelta(days=15))
    assert reason_of(lambda: desk.customer.RequestReturn(again)) == "RETURN_WINDOW_CLOSED"


def test_a_return_may_be_refused(desk: Desk) -> None:
    order = desk.shop.brought()
    lines = [pb.LineQuantity(sku="milk", quantity=1)]
    desk.customer.RequestReturn(pb.RequestReturnRequest(id=order.id, lines=lines, reason="sour", request_id=key()))
    refused = desk.support.RefuseReturn(pb.RefuseReturnRequest(id=order.id, reason="opened", request_id=key()))
    assert refused.order_return.state == pb.OrderReturn.REFUSED
    assert refused.refunded_total.units == 0


def test_an_erased_customer_s_goods_go_out_to_nobody_again(desk: Desk) -> None:
    order = desk.shop.turned_back()
    with desk.shop.work() as work:
        desk.shop.following.user_erased(work, UUID(desk.shop.customer.subject))
    redeliver = pb.RedeliverRequest(id=order.id, slot_id=str(desk.shop.other_slot_id))
    assert reason_of(lambda: desk.support.Redeliver(redeliver)) == "ADDRESS_ERASED"
