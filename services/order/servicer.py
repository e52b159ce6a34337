"""The order service on the wire."""

from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from grpc import ServicerContext

from mercato.api.order.v1 import order_pb2 as pb
from mercato.pagination import PageTokens
from mercato.rpc import current_call
from mercato.wire import money_from_pb, time_from_pb
from services.order.carts import Carts
from services.order.messages import board_to_pb, cart_to_pb, lines_from_pb, order_to_pb, picked_from_pb
from services.order.public_events import entry_to_pb
from services.order.queries import Filter, OrderQueries, OrderShown
from services.order.usecases import Orders, Placement


class OrderServicer:
    """Translates between protobuf and the use cases; decides nothing."""

    contract = pb.DESCRIPTOR.services_by_name["OrderService"]
    # What a caller who presents a consistency token waits for. The history is replayed where it is behind.
    projected = {"ListOrders": ("order.list",), "GetOrderBoard": ("order.board",)}

    def __init__(self, orders: Orders, carts: Carts, queries: OrderQueries, page_tokens: PageTokens) -> None:
        self._orders = orders
        self._carts = carts
        self._queries = queries
        self._page_tokens = page_tokens

    def GetCart(self, request: pb.GetCartRequest, context: ServicerContext) -> pb.Cart:
        return cart_to_pb(self._carts.get_cart())

    def SetCartLine(self, request: pb.SetCartLineRequest, context: ServicerContext) -> pb.Cart:
        return cart_to_pb(self._carts.set_cart_line(request.sku, request.quantity, request.etag))

    def RemoveCartLine(self, request: pb.RemoveCartLineRequest, context: ServicerContext) -> Empty:
        self._carts.remove_cart_line(request.sku)
        return Empty()

    def ClearCart(self, request: pb.ClearCartRequest, context: ServicerContext) -> Empty:
        self._carts.clear_cart()
        return Empty()

    def PlaceOrder(self, request: pb.PlaceOrderRequest, context: ServicerContext) -> pb.Order:
        seen = request.HasField("expected_total")
        wanted = Placement(
            lines=lines_from_pb(request.lines, "lines"),
            address_id=UUID(request.address_id),
            slot_id=UUID(request.slot_id),
            payment_method=request.payment_method,
            expected_total=money_from_pb(request.expected_total, "expectedTotal") if seen else None,
            note=request.note,
        )
        return _shown(self._orders.place_order(wanted))

    def ListOrders(self, request: pb.ListOrdersRequest, context: ServicerContext) -> pb.ListOrdersResponse:
        page = self._page_tokens.page(request)
        before = UUID(page.after[0]) if page.after else None
        found = page.of(self._orders.list_orders(_filter(request), before, page.most), lambda row: [str(row.order_id)])
        return pb.ListOrdersResponse(orders=map(_shown, found.items), next_page_token=found.next_page_token)

    def GetOrderBoard(self, request: pb.GetOrderBoardRequest, context: ServicerContext) -> pb.OrderBoard:
        return board_to_pb(self._queries.counts(), self._queries.pick_list(request.warehouse_id))

    def GetOrder(self, request: pb.GetOrderRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.get_order(UUID(request.id)))

    def ListOrderEvents(
        self, request: pb.ListOrderEventsRequest, context: ServicerContext
    ) -> pb.ListOrderEventsResponse:
        entries = self._orders.list_order_events(UUID(request.id), request.after_version)
        return pb.ListOrderEventsResponse(events=map(entry_to_pb, entries))

    def BatchGetOrderVersions(
        self, request: pb.BatchGetOrderVersionsRequest, context: ServicerContext
    ) -> pb.BatchGetOrderVersionsResponse:
        found = self._queries.versions([UUID(each) for each in request.ids])
        versions = (pb.OrderVersion(id=str(order_id), version=version) for order_id, version in found)
        return pb.BatchGetOrderVersionsResponse(versions=versions)

    def CancelOrder(self, request: pb.CancelOrderRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.cancel_order(UUID(request.id), request.reason, request.etag))

    def StartPicking(self, request: pb.StartPickingRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.start_picking(UUID(request.id)))

    def FinishPicking(self, request: pb.FinishPickingRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.finish_picking(UUID(request.id), picked_from_pb(request.lines)))

    def RetryPayment(self, request: pb.RetryPaymentRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.retry_payment(UUID(request.id), request.payment_method))

    def Redeliver(self, request: pb.RedeliverRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.redeliver(UUID(request.id), UUID(request.slot_id)))

    def RequestReturn(self, request: pb.RequestReturnRequest, context: ServicerContext) -> pb.Order:
        lines = lines_from_pb(request.lines, "lines")
        return _shown(self._orders.request_return(UUID(request.id), lines, request.reason))

    def ApproveReturn(self, request: pb.ApproveReturnRequest, context: ServicerContext) -> pb.Order:
        restock = lines_from_pb(request.restock, "restock")
        return _shown(self._orders.approve_return(UUID(request.id), restock))

    def RefuseReturn(self, request: pb.RefuseReturnRequest, context: ServicerContext) -> pb.Order:
        return _shown(self._orders.refuse_return(UUID(request.id), request.reason))


def _filter(request: pb.ListOrdersRequest) -> Filter:
    return Filter(
        customer_id=UUID(request.customer_id) if request.customer_id else None,
        state=pb.Order.State.Name(request.state) if request.state else None,
        since=time_from_pb(request.since, "since") if request.HasField("since") else None,
    )


def _shown(row: OrderShown) -> pb.Order:
    """An order with as much of the person as the caller may see."""
    who = current_call().principal
    return order_to_pb(row.document, row.personal.shown_to(who.subject, who.roles, str(row.customer_id)))
