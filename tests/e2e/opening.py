"""What a small shop cannot be without, put into an empty mesh by the operator: a town, a staff, products."""

from __future__ import annotations

from google.type import latlng_pb2

from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.money import Money
from mercato.rpc.call import Principal
from mercato.rpc.channel import Channels
from mercato.wire import money_to_pb
from shop import city

PRODUCTS = 60
PASSWORD = "a password of the tests, 1742"
_STAFF = Principal("00000000-0000-7000-8000-000000000001", frozenset({"warehouse"}))


class Opening:
    """Fills an empty mesh with what a shop cannot be without, as the operator."""

    def __init__(self, channels: Channels) -> None:
        self._products = channels.stub(product_pb2_grpc.ProductServiceStub)
        self._inventory = channels.stub(inventory_pb2_grpc.InventoryServiceStub)
        self._delivery = channels.stub(delivery_pb2_grpc.DeliveryServiceStub)
        self._dispatch = channels.stub(delivery_pb2_grpc.DeliveryServiceStub, _STAFF)
        self._users = channels.stub(user_pb2_grpc.UserServiceStub)

    def open(self) -> None:
        """Put up everything."""
        for house in city.WAREHOUSES:
            warehouse = inventory_pb2.Warehouse(id=house.id, name=house.name)
            self._inventory.PutWarehouse(inventory_pb2.PutWarehouseRequest(warehouse=warehouse))
        for zone in city.ZONES:
            self._delivery.PutZone(_zone(zone))
        for account in city.ACCOUNTS:
            self._hire(account)
        rows = [_row(number) for number in range(PRODUCTS)]
        reply = self._products.ImportProducts(iter([product_pb2.ImportProductsRequest(rows=rows)]))
        assert reply.created == PRODUCTS, reply

    def _hire(self, account: city.Account) -> None:
        asked = user_pb2.PutAccountRequest(
            email=account.email, password=PASSWORD, display_name=account.name, roles=[account.role]
        )
        user = self._users.PutAccount(asked)
        if account.role == "courier":
            courier = delivery_pb2.Courier(id=user.id, name=account.name)
            self._dispatch.CreateCourier(delivery_pb2.CreateCourierRequest(courier=courier, request_id=user.id))


def sku_of(number: int) -> str:
    """The product of a number."""
    return f"e2e-{number:03}"


def _row(number: int) -> product_pb2.ImportRow:
    row = product_pb2.ImportRow(
        line=number + 2, sku=sku_of(number), title=f"Biscuits {number}", category_path=["Grocery", "Biscuits"]
    )
    row.brand = row.sku  # so that it can be found by it
    row.price.CopyFrom(money_to_pb(Money(500 + number, city.CURRENCY)))
    return row


def _zone(zone: city.Zone) -> delivery_pb2.PutZoneRequest:
    corners = [latlng_pb2.LatLng(latitude=corner[0], longitude=corner[1]) for corner in zone.polygon]
    return delivery_pb2.PutZoneRequest(
        zone=delivery_pb2.Zone(
            id=zone.id,
            name=zone.name,
            time_zone=city.TIME_ZONE,
            polygon=corners,
            warehouse_ids=zone.warehouse_ids,
            delivery_fee=money_to_pb(Money(zone.delivery_fee, city.CURRENCY)),
            free_from=money_to_pb(Money(zone.free_from, city.CURRENCY)),
            minimum_total=money_to_pb(Money.zero(city.CURRENCY)),
        ),
        slot_capacity=city.SLOT_CAPACITY,
        first_hour=city.FIRST_HOUR,
        last_hour=city.LAST_HOUR,
    )
