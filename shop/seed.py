"""Fills the mesh with the demo shop, by the services' own rpcs. A second time nothing changes.

Everything goes through stubs as the operator: the catalogue as a stream, the town and the stock by rpcs that exist for
operators, the couriers as a member of the warehouse's staff would create them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeVar

import grpc
from google.type import latlng_pb2

from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.api.product.v1 import product_pb2, product_pb2_grpc
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.errors import AlreadyExists, MercatoError, NotFound
from mercato.money import Money
from mercato.rpc.call import Principal
from mercato.wire import money_to_pb
from shop import city, panel
from shop.catalogue import MOST_OF_ONE, Catalogue, Grocery
from shop.progress import Advance, Stages

S = TypeVar("S")
T = TypeVar("T")

ROWS_AT_ONCE = 1000
LINES_AT_ONCE = 5000
PATIENCE = 60.0
"""Seconds that a consignment of thousands of lines may take."""

_STAFF = Principal("00000000-0000-7000-8000-000000000001", frozenset({"warehouse"}))


class SeedFailed(MercatoError):
    """The shop could not be filled as it should be."""


@dataclass(slots=True)
class Seeded:
    """What became of it."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stocked: Counter[str] = field(default_factory=Counter)
    couriers: int = 0
    dirt: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything is new since the last time."""
        return bool(self.created or self.updated or self.stocked or self.couriers)

    def __str__(self) -> str:
        lines = self.stocked.total()
        products = f"products: {self.created:,} new, {self.updated:,} changed, {self.unchanged:,} as they were"
        return f"{products}; stock: {lines:,} lines booked; couriers: {self.couriers} new"


@dataclass(frozen=True, slots=True)
class Assortment:
    """What the shop will sell or might, as it is sent."""

    drafts: Sequence[Grocery]
    on_sale: Sequence[Grocery]
    """Both with those of one category and name beside each other: what they share, the product service makes once."""
    stocked: Sequence[str]
    """SKUs, in the order of the file: the same consignments each time."""
    sold: Counter[str]
    """Units by SKU."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> Assortment:
        """All of a catalogue."""
        groceries = list(catalogue)
        stocked = [grocery.sku for grocery in groceries if grocery.active]
        together = list(_alike(groceries))
        drafts = [grocery for grocery in together if not grocery.active]
        on_sale = [grocery for grocery in together if grocery.active]
        return cls(drafts, on_sale, stocked, units_sold(catalogue.sold))

    def __len__(self) -> int:
        return len(self.drafts) + len(self.on_sale)


class Stubs(Protocol):
    """Where stubs come from: a process's channels."""

    def stub(self, cls: Callable[[grpc.Channel], S], principal: Principal | None = None) -> S:
        """A stub of a generated class, for a principal or for nobody."""


class Seed:
    """The demo shop on its way into the services behind some channels."""

    def __init__(self, channels: Stubs, password: str, stages: Stages, catalogue: Catalogue | None = None) -> None:
        self._stages = stages
        self._password = password
        self._products = channels.stub(product_pb2_grpc.ProductServiceStub)
        self._inventory = channels.stub(inventory_pb2_grpc.InventoryServiceStub)
        self._stock_room = channels.stub(inventory_pb2_grpc.InventoryServiceStub, _STAFF)
        self._delivery = channels.stub(delivery_pb2_grpc.DeliveryServiceStub)
        self._dispatch = channels.stub(delivery_pb2_grpc.DeliveryServiceStub, _STAFF)
        self._users = channels.stub(user_pb2_grpc.UserServiceStub)
        self._catalogue = catalogue or Catalogue()
        self._seeded = Seeded()

    def run(self) -> Seeded:
        """All of it, in the order in which one thing needs another; the files are read beside."""
        with ThreadPoolExecutor(1, "beside") as hands:
            reading = hands.submit(Assortment.of, self._catalogue)
            with self._stages.stage("town: two warehouses, four zones", len(city.ZONES)) as advance:
                self._town(advance)
            with self._stages.stage("people: an account for each role", len(city.ACCOUNTS)) as advance:
                self._people(advance)
            assortment = reading.result()
            steps = len(assortment) + len(city.WAREHOUSES) * len(assortment.stocked)
            with self._stages.stage(f"catalogue: {len(assortment):,} products, and stock", steps) as advance:
                stock = hands.submit(self._stock, assortment, advance)
                self._groceries(assortment, stock, advance)
        self._seeded.dirt = self._catalogue.report.summary()
        return self._seeded

    def _town(self, advance: Advance) -> None:
        for warehouse in city.WAREHOUSES:
            asked = inventory_pb2.Warehouse(id=warehouse.id, name=warehouse.name)
            self._inventory.PutWarehouse(inventory_pb2.PutWarehouseRequest(warehouse=asked))
        for zone in city.ZONES:
            self._delivery.PutZone(_zone_request(zone))
            advance(1)

    def _people(self, advance: Advance) -> None:
        for account in city.ACCOUNTS:
            user = self._users.PutAccount(
                user_pb2.PutAccountRequest(
                    email=account.email, password=self._password, display_name=account.name, roles=[account.role]
                )
            )
            if account.role == "courier":
                self._courier(user.id, account.name)
            advance(1)

    def _courier(self, user_id: str, name: str) -> None:
        courier = delivery_pb2.Courier(id=user_id, name=name)
        try:
            # Without a request id: the first answer would be given again, and say that the courier is new.
            self._dispatch.CreateCourier(delivery_pb2.CreateCourierRequest(courier=courier))
        except AlreadyExists:
            return
        self._seeded.couriers += 1

    def _groceries(self, assortment: Assortment, stock: Future[None], advance: Advance) -> None:
        reply = self._products.ImportProducts(_import_requests(assortment, stock, advance))
        stock.result()
        if reply.failed:
            first = "; ".join(f"line {bad.line}: {bad.field} {bad.message}" for bad in reply.errors[:3])
            raise SeedFailed(f"{reply.failed} products were refused: {first}")
        told = reply.created + reply.updated + reply.unchanged
        if told != len(assortment):
            raise SeedFailed(f"{told} products were told of, {len(assortment)} were sent")
        self._seeded.created, self._seeded.updated = reply.created, reply.updated
        self._seeded.unchanged = reply.unchanged

    def _stock(self, assortment: Assortment, advance: Advance) -> None:
        sold = assortment.sold
        for warehouse, least, times in ((city.RIVERSIDE, 100, 3), (city.UPTOWN, 50, 1)):
            for skus in _chunks(assortment.stocked, LINES_AT_ONCE):
                if not self._lies_in(warehouse.id, skus[0]):
                    lines = [inventory_pb2.StockLine(sku=sku, quantity=least + times * sold[sku]) for sku in skus]
                    self._receive(warehouse.id, lines)
                    self._seeded.stocked[warehouse.id] += len(lines)
                advance(len(skus))

    def _lies_in(self, warehouse_id: str, sku: str) -> bool:
        """Whether the consignment that begins with a SKU was booked: consignments land whole or not at all."""
        try:
            stock = self._stock_room.GetStock(inventory_pb2.GetStockRequest(sku=sku))
        except NotFound:
            return False
        return any(level.warehouse_id == warehouse_id for level in stock.levels)

    def _receive(self, warehouse_id: str, lines: Sequence[inventory_pb2.StockLine]) -> None:
        request = inventory_pb2.BatchReceiveStockRequest(
            warehouse_id=warehouse_id,
            lines=lines,
            reference="opening stock",
            request_id=f"seed-{warehouse_id}-{lines[0].sku}",
        )
        self._inventory.BatchReceiveStock(request, timeout=PATIENCE)


def units_sold(sold: Iterable[panel.Sale]) -> Counter[str]:
    """How many of each product the panel bought: what goes well is stocked well."""
    units: Counter[str] = Counter()
    for sale in sold:
        if sale.quantity <= MOST_OF_ONE:
            units[sale.product_id] += sale.quantity
    return units


def _alike(groceries: Iterable[Grocery]) -> Iterable[Grocery]:
    """The same, those of one category and name beside each other."""
    alike: defaultdict[tuple[object, ...], list[Grocery]] = defaultdict(list)
    for grocery in groceries:
        alike[grocery.path, grocery.brand, grocery.title].append(grocery)
    return chain.from_iterable(alike.values())


def _chunks(items: Sequence[T], length: int) -> Iterable[Sequence[T]]:
    return (items[start : start + length] for start in range(0, len(items), length))


def _import_requests(
    assortment: Assortment, stock: Future[None], advance: Advance
) -> Iterator[product_pb2.ImportProductsRequest]:
    """Drafts while the stock is booked; what is on sale after it, so that it is not told later that it is there."""
    yield from _requests_of(assortment.drafts, advance)
    wait([stock])
    if not stock.exception():
        yield from _requests_of(assortment.on_sale, advance)


def _requests_of(groceries: Sequence[Grocery], advance: Advance) -> Iterator[product_pb2.ImportProductsRequest]:
    for chunk in _chunks(groceries, ROWS_AT_ONCE):
        yield product_pb2.ImportProductsRequest(rows=map(import_row, chunk))
        advance(len(chunk))


def import_row(grocery: Grocery) -> product_pb2.ImportRow:
    """What the product service is told of a product."""
    row = product_pb2.ImportRow(
        line=grocery.line,
        sku=grocery.sku,
        title=grocery.title,
        brand=grocery.brand,
        category_path=grocery.path,
        size=grocery.size,
        attributes={"manufacturer": grocery.manufacturer},
    )
    if grocery.price is not None:
        row.price.CopyFrom(money_to_pb(Money(grocery.price, city.CURRENCY)))
    return row


def _zone_request(zone: city.Zone) -> delivery_pb2.PutZoneRequest:
    return delivery_pb2.PutZoneRequest(
        zone=delivery_pb2.Zone(
            id=zone.id,
            name=zone.name,
            time_zone=city.TIME_ZONE,
            polygon=[latlng_pb2.LatLng(latitude=corner[0], longitude=corner[1]) for corner in zone.polygon],
            warehouse_ids=zone.warehouse_ids,
            delivery_fee=money_to_pb(Money(zone.delivery_fee, city.CURRENCY)),
            free_from=money_to_pb(Money(zone.free_from, city.CURRENCY)),
            minimum_total=money_to_pb(Money.zero(city.CURRENCY)),
        ),
        slot_capacity=city.SLOT_CAPACITY,
        first_hour=city.FIRST_HOUR,
        last_hour=city.LAST_HOUR,
    )
