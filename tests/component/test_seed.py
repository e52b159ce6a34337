"""The seed against services that only remember what they were told, enforced by the real contracts."""

from __future__ import annotations

import gzip
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from rich.console import Console

from mercato.api.delivery.v1 import delivery_pb2
from mercato.api.inventory.v1 import inventory_pb2
from mercato.api.product.v1 import product_pb2
from mercato.api.user.v1 import user_pb2
from mercato.errors import AlreadyExists, FailedPrecondition, NotFound, Unimplemented
from mercato.ids import uuid7
from mercato.rpc.call import Principal, current_call
from mercato.testing import Served, serve
from shop import city
from shop.catalogue import Catalogue
from shop.panel import DATA, sales
from shop.progress import Stages
from shop.seed import Seed, Seeded, SeedFailed, units_sold

S = TypeVar("S")
ROWS = 1_700


class Double:
    """Stands for a service of which the seed needs a few rpcs: any other is refused."""

    def __getattr__(self, rpc: str) -> Callable[..., Message]:
        if not rpc[0].isupper():
            raise AttributeError(rpc)

        def refuse(*_: object) -> Message:
            raise Unimplemented(rpc)

        return refuse


class Products(Double):
    """Remembers rows by their SKU."""

    contract: ServiceDescriptor = product_pb2.DESCRIPTOR.services_by_name["ProductService"]

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.refuse = ""
        self.begun = threading.Event()
        self.on_sale = Counter[int]()
        """Rows of what is on sale, by how much stock was booked when they came."""
        self.booked: Callable[[], int] = lambda: 0

    def ImportProducts(
        self, requests: Iterator[product_pb2.ImportProductsRequest], _context: grpc.ServicerContext
    ) -> product_pb2.ImportProductsResponse:
        reply = product_pb2.ImportProductsResponse()
        for request in requests:
            for row in request.rows:
                self._import(row, reply)
        return reply

    def _import(self, row: product_pb2.ImportRow, reply: product_pb2.ImportProductsResponse) -> None:
        self.begun.set()
        if row.HasField("price"):
            self.on_sale[self.booked()] += 1
        content = row.SerializeToString(deterministic=True)
        if row.sku == self.refuse:
            reply.failed += 1
            reply.errors.add(line=row.line, field="price", message="is odd")
        elif row.sku not in self.rows:
            reply.created += 1
        elif self.rows[row.sku] != content:
            reply.updated += 1
        else:
            reply.unchanged += 1
        self.rows[row.sku] = content


class Inventory(Double):
    """Remembers warehouses and consignments."""

    contract: ServiceDescriptor = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]

    def __init__(self) -> None:
        self.warehouses: dict[str, str] = {}
        self.levels: dict[tuple[str, str], int] = {}
        self.ready = threading.Event()
        self.ready.set()
        self.full = False

    def PutWarehouse(
        self, request: inventory_pb2.PutWarehouseRequest, _context: grpc.ServicerContext
    ) -> inventory_pb2.Warehouse:
        self.warehouses[request.warehouse.id] = request.warehouse.name
        return request.warehouse

    def GetStock(self, request: inventory_pb2.GetStockRequest, _context: grpc.ServicerContext) -> inventory_pb2.Stock:
        levels = [
            inventory_pb2.StockLevel(warehouse_id=warehouse, on_hand=quantity)
            for (warehouse, sku), quantity in self.levels.items()
            if sku == request.sku
        ]
        if not levels:
            raise NotFound("no such stock")
        return inventory_pb2.Stock(sku=request.sku, levels=levels)

    def BatchReceiveStock(
        self, request: inventory_pb2.BatchReceiveStockRequest, _context: grpc.ServicerContext
    ) -> inventory_pb2.BatchReceiveStockResponse:
        assert request.warehouse_id in self.warehouses
        assert self.ready.wait(30)
        if self.full:
            raise FailedPrecondition("no room")
        for line in request.lines:
            at = (request.warehouse_id, line.sku)
            self.levels[at] = self.levels.get(at, 0) + line.quantity
        return inventory_pb2.BatchReceiveStockResponse(received=len(request.lines))


class Delivery(Double):
    """Remembers zones and couriers."""

    contract: ServiceDescriptor = delivery_pb2.DESCRIPTOR.services_by_name["DeliveryService"]

    def __init__(self) -> None:
        self.zones: dict[str, delivery_pb2.PutZoneRequest] = {}
        self.couriers: dict[str, str] = {}

    def PutZone(self, request: delivery_pb2.PutZoneRequest, _context: grpc.ServicerContext) -> delivery_pb2.Zone:
        self.zones[request.zone.id] = request
        return request.zone

    def CreateCourier(
        self, request: delivery_pb2.CreateCourierRequest, _context: grpc.ServicerContext
    ) -> delivery_pb2.Courier:
        assert "warehouse" in current_call().principal.roles
        if request.courier.id in self.couriers:
            raise AlreadyExists("a courier already")
        self.couriers[request.courier.id] = request.courier.name
        return request.courier


class Users(Double):
    """Remembers accounts."""

    contract: ServiceDescriptor = user_pb2.DESCRIPTOR.services_by_name["UserService"]

    def __init__(self) -> None:
        self.accounts: dict[str, user_pb2.User] = {}

    def PutAccount(self, request: user_pb2.PutAccountRequest, _context: grpc.ServicerContext) -> user_pb2.User:
        assert request.password == "open sesame"
        known = self.accounts.get(request.email)
        user = user_pb2.User(id=known.id if known else str(uuid7()), email=request.email, roles=request.roles)
        self.accounts[request.email] = user
        return user


class Mesh:
    """Four services, and the operator's stubs of them."""

    def __init__(self, stack: ExitStack) -> None:
        self.products, self.inventory, self.delivery, self.users = Products(), Inventory(), Delivery(), Users()
        servicers = (self.products, self.inventory, self.delivery, self.users)
        self._served: dict[str, Served] = {}
        for servicer in servicers:
            self._served[servicer.contract.name] = stack.enter_context(serve(servicer))

    def stub(self, cls: Callable[[grpc.Channel], S], principal: Principal | None = None) -> S:
        name = getattr(cls, "__name__", "").removesuffix("Stub")
        return self._served[name].stub(cls, principal, caller="operator")


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(stack)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The panel, cut short."""
    folder = tmp_path_factory.mktemp("panel")
    for name, rows in (("products.csv.gz", ROWS), ("transactions.csv.gz", 20_000)):
        with gzip.open(DATA / name, "rt") as whole, gzip.open(folder / name, "wt") as part:
            part.writelines(islice(whole, rows + 1))
    return folder


def seed(mesh: Mesh, folder: Path, told: io.StringIO | None = None) -> Seeded:
    stages = Stages(Console(file=told or io.StringIO(), width=200))
    return Seed(mesh, "open sesame", stages, Catalogue(folder)).run()


def test_everything_arrives_and_a_second_time_nothing_changes(mesh: Mesh, folder: Path) -> None:
    first = seed(mesh, folder)
    levels, zones = dict(mesh.inventory.levels), dict(mesh.delivery.zones)
    assert (first.created, first.updated, first.unchanged) == (ROWS, 0, 0)
    assert first.changed
    second = seed(mesh, folder)
    assert (second.created, second.updated, second.unchanged) == (0, 0, ROWS)
    assert not second.changed
    assert mesh.inventory.levels == levels
    assert mesh.delivery.zones == zones


def test_what_is_on_sale_lies_in_both_warehouses_and_drafts_in_none(mesh: Mesh, folder: Path) -> None:
    seed(mesh, folder)
    active = {grocery.sku for grocery in Catalogue(folder) if grocery.active}
    assert 0 < len(active) < ROWS
    assert set(mesh.inventory.levels) == {(house.id, sku) for house in city.WAREHOUSES for sku in active}
    bought = units_sold(sales(folder))
    assert all(mesh.inventory.levels["riverside", sku] >= bought[sku] + 100 for sku in active)


def test_stock_is_booked_while_drafts_come_and_before_what_is_on_sale(mesh: Mesh, folder: Path) -> None:
    mesh.inventory.ready = mesh.products.begun
    mesh.products.booked = lambda: len(mesh.inventory.levels)
    seed(mesh, folder)
    active = sum(grocery.active for grocery in Catalogue(folder))
    assert mesh.products.on_sale == {2 * active: active}


def test_what_cannot_be_stocked_is_not_put_on_sale(mesh: Mesh, folder: Path) -> None:
    mesh.inventory.full = True
    with pytest.raises(FailedPrecondition, match="no room"):
        seed(mesh, folder)
    assert not mesh.products.on_sale
    assert mesh.products.rows


def test_products_of_one_category_and_name_come_beside_each_other(mesh: Mesh, folder: Path) -> None:
    seed(mesh, folder)
    rows = [product_pb2.ImportRow.FromString(row) for row in mesh.products.rows.values()]
    names = [(row.HasField("price"), *row.category_path, row.brand, row.title) for row in rows]
    assert sum(name != after for name, after in pairwise(names)) == len(set(names)) - 1
    assert {row.line for row in rows} == {grocery.line for grocery in Catalogue(folder)}


def test_the_town_has_four_zones_an_account_for_each_role_and_its_couriers(mesh: Mesh, folder: Path) -> None:
    seed(mesh, folder)
    assert set(mesh.delivery.zones) == {zone.id for zone in city.ZONES}
    assert {(put.slot_capacity, put.first_hour, put.last_hour) for put in mesh.delivery.zones.values()} == {(60, 8, 22)}
    roles = {role for user in mesh.users.accounts.values() for role in user.roles}
    assert roles == {"customer", "support", "catalog", "warehouse", "courier", "finance", "admin"}
    couriers = {user.id for user in mesh.users.accounts.values() if "courier" in user.roles}
    assert set(mesh.delivery.couriers) == couriers


def test_a_refused_product_ends_the_seed_with_its_line(mesh: Mesh, folder: Path) -> None:
    mesh.products.refuse = next(iter(Catalogue(folder))).sku
    with pytest.raises(SeedFailed, match="line 2: price is odd"):
        seed(mesh, folder)


def test_each_stage_is_told_without_a_terminal(mesh: Mesh, folder: Path) -> None:
    told = io.StringIO()
    seeded = seed(mesh, folder, told)
    assert [line.split(":")[0].split(" ")[0] for line in told.getvalue().splitlines()] == [
        "town",
        "people",
        "catalogue",
    ]
    assert any("no size" in line for line in seeded.dirt)


def test_the_zones_share_edges_and_no_ground() -> None:
    around = {
        zone.id: {frozenset(edge) for edge in zip(zone.polygon, zone.polygon[1:] + zone.polygon[:1], strict=True)}
        for zone in city.ZONES
    }
    edges = [edge for polygon in around.values() for edge in polygon]
    assert all(edges.count(edge) <= 2 for edge in edges)
    assert sum(edges.count(edge) == 2 for edge in set(edges)) == 4


@pytest.mark.parametrize("zone", city.ZONES, ids=lambda zone: zone.id)
def test_a_doorstep_lies_in_its_zone_and_no_other(zone: city.Zone) -> None:
    assert [each.id for each in city.ZONES if inside(zone.doorstep, each.polygon)] == [zone.id]


def test_beyond_the_town_nobody_is_served() -> None:
    assert not [zone.id for zone in city.ZONES if inside((39.2000, -84.5000), zone.polygon)]


def inside(place: city.Corner, polygon: tuple[city.Corner, ...]) -> bool:
    """Whether a ray from the place to the east crosses the polygon's edges an odd number of times."""
    crossings = 0
    for (lat1, lon1), (lat2, lon2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (lat1 > place[0]) != (lat2 > place[0]):
            crossings += place[1] < lon1 + (place[0] - lat1) / (lat2 - lat1) * (lon2 - lon1)
    return crossings % 2 == 1
