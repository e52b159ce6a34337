"""InventoryService: requests to use cases and queries, their answers to messages."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from grpc import ServicerContext

from mercato.api.inventory.v1 import inventory_pb2 as pb
from mercato.group_commit import GroupCommit, Turn
from mercato.pagination import PageTokens
from mercato.rpc import current_call
from mercato.rpc.set_form import Item, SetForm
from services.inventory import messages
from services.inventory.domain import Place
from services.inventory.queries import StockQueries
from services.inventory.usecases import Inventory


class InventoryServicer:
    """The inventory service's rpcs."""

    contract = pb.DESCRIPTOR.services_by_name["InventoryService"]

    def __init__(self, inventory: Inventory, queries: StockQueries, pages: PageTokens) -> None:
        """Serve these."""
        self._inventory = inventory
        self._reserving = GroupCommit(inventory.reserve_stock, inventory.reserve_together)
        self._committing = GroupCommit(inventory.commit_reservation, inventory.commit_together)
        self._releasing = GroupCommit(inventory.release_reservation, inventory.release_together)
        self._queries = queries
        self._pages = pages

    @property
    def together(self) -> Mapping[str, SetForm]:
        """Rpcs of which one transaction does many."""
        return {
            "ReserveStock": self.reserve_stock,
            "CommitReservation": self.commit_reservation,
            "ReleaseReservation": self.release_reservation,
        }

    def reserve_stock(self, items: Sequence[Item]) -> Sequence[pb.Reservation | Exception]:
        """Hold stock for orders that asked in one message, and for those that wait here already."""
        turns = [Turn(messages.basket(item.request), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._reserving.do_all(turns)))

    def commit_reservation(self, items: Sequence[Item]) -> Sequence[pb.Reservation | Exception]:
        """Make reservations firm whose orders asked in one message."""
        turns = [Turn(UUID(item.request.reservation_id), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._committing.do_all(turns)))

    def release_reservation(self, items: Sequence[Item]) -> Sequence[pb.Reservation | Exception]:
        """Give back the stock of orders that asked in one message."""
        turns = [Turn(UUID(item.request.reservation_id), item.call, item.context) for item in items]
        return list(map(messages.outcome_to_pb, self._releasing.do_all(turns)))

    def BatchGetAvailability(
        self, request: pb.BatchGetAvailabilityRequest, context: ServicerContext
    ) -> pb.BatchGetAvailabilityResponse:
        """Roughly how much there is of each SKU."""
        found = self._queries.availability(request.skus)
        return pb.BatchGetAvailabilityResponse(availabilities=[messages.availability_to_pb(*each) for each in found])

    def ListWarehouses(self, request: pb.ListWarehousesRequest, context: ServicerContext) -> pb.ListWarehousesResponse:
        """The warehouses, by id."""
        page = self._pages.page(request)
        listed = page.of(self._queries.list_warehouses(page.after, page.most), lambda last: (last.id,))
        return pb.ListWarehousesResponse(
            warehouses=map(messages.warehouse_to_pb, listed.items), next_page_token=listed.next_page_token
        )

    def ListStock(self, request: pb.ListStockRequest, context: ServicerContext) -> pb.ListStockResponse:
        """The stock of every SKU, by SKU."""
        page = self._pages.page(request)
        stock = self._queries.list_stock(request.warehouse_id, page.after, page.most)
        listed = page.of(stock, lambda last: (last.sku,))
        return pb.ListStockResponse(
            stock=map(messages.stock_to_pb, listed.items), next_page_token=listed.next_page_token
        )

    def GetStock(self, request: pb.GetStockRequest, context: ServicerContext) -> pb.Stock:
        """The stock of one SKU."""
        return messages.stock_to_pb(self._queries.stock(request.sku))

    def ListMovements(self, request: pb.ListMovementsRequest, context: ServicerContext) -> pb.ListMovementsResponse:
        """What moved one SKU, the newest first."""
        page = self._pages.page(request)
        movements = self._queries.list_movements(request.sku, page.after, page.most)
        listed = page.of(movements, lambda last: (last.id,))
        return pb.ListMovementsResponse(
            movements=map(messages.movement_to_pb, listed.items), next_page_token=listed.next_page_token
        )

    def ReserveStock(self, request: pb.ReserveStockRequest, context: ServicerContext) -> pb.Reservation:
        """Hold stock for an order, all lines in one warehouse or none."""
        return messages.reservation_to_pb(self._reserving.do(messages.basket(request)))

    def CommitReservation(self, request: pb.CommitReservationRequest, context: ServicerContext) -> pb.Reservation:
        """Make a reservation firm."""
        return messages.reservation_to_pb(self._committing.do(UUID(request.reservation_id)))

    def ReleaseReservation(self, request: pb.ReleaseReservationRequest, context: ServicerContext) -> pb.Reservation:
        """Give the stock back."""
        return messages.reservation_to_pb(self._releasing.do(UUID(request.reservation_id)))

    def ConsumeReservation(self, request: pb.ConsumeReservationRequest, context: ServicerContext) -> pb.Reservation:
        """Take what was picked, give the rest back."""
        picked = messages.claims(request.lines)
        return messages.reservation_to_pb(self._inventory.consume_reservation(UUID(request.reservation_id), picked))

    def GetReservation(self, request: pb.GetReservationRequest, context: ServicerContext) -> pb.Reservation:
        """One reservation."""
        return messages.reservation_to_pb(self._queries.reservation(UUID(request.reservation_id)))

    def RestockReturn(self, request: pb.RestockReturnRequest, context: ServicerContext) -> pb.RestockReturnResponse:
        """Put returned goods back."""
        stock = self._inventory.restock_return(
            UUID(request.return_id), UUID(request.order_id), request.warehouse_id, messages.claims(request.lines)
        )
        return pb.RestockReturnResponse(stock=map(messages.stock_to_pb, stock))

    def ReceiveStock(self, request: pb.ReceiveStockRequest, context: ServicerContext) -> pb.Stock:
        """Book goods that came in."""
        place = Place(request.sku, request.warehouse_id)
        key = current_call().key
        return messages.stock_to_pb(self._inventory.receive_stock(place, request.quantity, request.reference, key))

    def BatchReceiveStock(
        self, request: pb.BatchReceiveStockRequest, context: ServicerContext
    ) -> pb.BatchReceiveStockResponse:
        """Book a consignment."""
        received = self._inventory.batch_receive_stock(
            request.warehouse_id, messages.claims(request.lines), request.reference, current_call().key
        )
        return pb.BatchReceiveStockResponse(received=received)

    def AdjustStock(self, request: pb.AdjustStockRequest, context: ServicerContext) -> pb.Stock:
        """Correct the books."""
        place, reason = Place(request.sku, request.warehouse_id), pb.AdjustStockRequest.Reason.Name(request.reason)
        key = current_call().key
        return messages.stock_to_pb(self._inventory.adjust_stock(place, request.delta, reason, request.etag, key))

    def PutWarehouse(self, request: pb.PutWarehouseRequest, context: ServicerContext) -> pb.Warehouse:
        """Create a warehouse or rename it."""
        warehouse = self._inventory.put_warehouse(messages.warehouse_from_pb(request.warehouse))
        return messages.warehouse_to_pb(warehouse)
