"""The product service among those who call it, for tests that share one database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from mercato.api.product.v1 import product_events_pb2 as events
from mercato.api.product.v1 import product_pb2 as pb
from mercato.api.product.v1.product_pb2_grpc import ProductServiceStub
from mercato.ids import uuid7
from mercato.money import Money
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.reports import Reports
from mercato.rpc import Principal
from mercato.testing import Served, a_customer, a_guest, serve, staff
from mercato.wire import money_to_pb
from services.product.domain import Level
from services.product.encoding import whole
from services.product.queries import ProductQueries
from services.product.servicer import ProductServicer
from services.product.store import LAYOUT, ProductWork
from services.product.usecases import Catalogue, Imports, StockHints

NUMBERS = count()


@dataclass
class Shop:
    """The service, and those who call it."""

    served: Served
    database: Database
    catalogue: Catalogue

    def __post_init__(self) -> None:
        self.catalog = self.stub(staff("catalog"))
        self.support = self.stub(staff("support"))
        self.admin = self.stub(staff("admin"))
        self.courier = self.stub(staff("courier"))
        self.customer = self.stub(a_customer())
        self.guest = self.stub(a_guest())
        self.anybody = self.stub(Principal())
        self.order = self.stub(Principal(), "order")
        self.operator = self.stub(Principal(), "operator")

    def stub(self, principal: Principal, caller: str = "gateway") -> Any:
        """A stub that calls as a service for somebody."""
        return self.served.stub(ProductServiceStub, principal, caller)

    def create(self, product: pb.Product, request_id: str = "") -> pb.Product:
        """Make a product."""
        request = pb.CreateProductRequest(product=product, request_id=request_id or an_id())
        created: pb.Product = self.catalog.CreateProduct(request)
        return created

    def update(self, product: pb.Product, *mask: str, **values: Any) -> pb.Product:
        """Change a product on the base of what was read."""
        base = {"id": product.id, "etag": product.etag}
        request = pb.UpdateProductRequest(product=pb.Product(**base | values), update_mask=FieldMask(paths=mask))
        updated: pb.Product = self.catalog.UpdateProduct(request)
        return updated

    def archive(self, product: pb.Product, **values: str) -> pb.Product:
        """Take a product out of the shop."""
        archived: pb.Product = self.catalog.ArchiveProduct(pb.ArchiveProductRequest(id=product.id, **values))
        return archived

    def get(self, product_id: str) -> pb.Product:
        """A product as staff see it."""
        product: pb.Product = self.catalog.GetProduct(pb.GetProductRequest(id=product_id))
        return product

    def category(self, name: str, parent_id: str = "", request_id: str = "") -> pb.Category:
        """Make a category."""
        category = pb.Category(name=name, parent_id=parent_id)
        request = pb.CreateCategoryRequest(category=category, request_id=request_id)
        created: pb.Category = self.catalog.CreateCategory(request)
        return created

    def move(self, category: pb.Category, *mask: str, **values: Any) -> pb.Category:
        """Rename or move a category."""
        base: dict[str, Any] = {"id": category.id, "etag": category.etag}
        request = pb.UpdateCategoryRequest(category=pb.Category(**base | values), update_mask=FieldMask(paths=mask))
        moved: pb.Category = self.catalog.UpdateCategory(request)
        return moved

    def bring(self, *messages: Sequence[pb.ImportRow]) -> pb.ImportProductsResponse:
        """Import rows, in so many messages."""
        requests = (pb.ImportProductsRequest(rows=rows) for rows in messages)
        report: pb.ImportProductsResponse = self.operator.ImportProducts(requests)
        return report

    def listed(self, who: Any = None, **values: Any) -> list[pb.Product]:
        """All pages of a list."""
        return self._pages((who or self.anybody).ListProducts, pb.ListProductsRequest, **values)

    def search(self, q: str, who: Any = None, **values: Any) -> list[pb.Product]:
        """All pages of a search."""
        return self._pages((who or self.anybody).SearchProducts, pb.SearchProductsRequest, q=q, **values)

    def _pages(self, call: Any, request: Any, **values: Any) -> list[pb.Product]:
        found: list[pb.Product] = []
        token = ""
        while True:
            page = call(request(page_token=token, **values))
            found += page.products
            if not (token := page.next_page_token):
                return found

    def stock(self, *levels: Level) -> None:
        """Let inventory's levels be known."""
        with ProductWork(self.database, service="product") as work:
            StockHints().follow(work, levels)

    def told(self, aggregate_id: str) -> list[tuple[int, Any]]:
        """The events of a product, a category or a SKU, with their versions."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "select version, type, payload from outbox where aggregate_id = %s order by version", [aggregate_id]
            ).fetchall()
        return [
            (version, getattr(events, type_.rpartition(".")[2]).FromString(bytes(payload)))
            for version, type_, payload in rows
        ]

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.database.reading() as connection:
            row = connection.execute(f"select count(*) from {table}").fetchone()
        assert row
        return int(row[0])


@contextmanager
def opened(database: Database) -> Iterator[Shop]:
    """The service on a database."""

    def work() -> ProductWork:
        return ProductWork(database, service="product")

    catalogue, queries = Catalogue(work), ProductQueries(database, "USD", whole)
    servicer = ProductServicer(catalogue, Imports(work), Reports(database), queries, PageTokens("secret"), "USD")
    with serve(servicer) as served:
        yield Shop(served, database, catalogue)
    assert unready(database) == []


def unready(database: Database) -> list[str]:
    """Products, drafts apart, whose ready bytes are missing, or do not say what the columns say."""
    statement = """
        select p.id, r.message || coalesce(c.message, '')
        from product p left join category c on c.id = p.category_id
        left join ready r on r.product_id = p.id and r.version = p.version and r.layout = %s
        where p.state <> 'DRAFT'
    """
    with database.reading() as connection:
        messages = dict(connection.execute(statement, [LAYOUT]).fetchall())
    products = ProductQueries(database, "USD", whole).products(list(messages), drafts=True)
    return [str(id_) for id_, each in products.items() if _read(messages[id_]) != _read(whole(each))]


def _read(message: bytes | None) -> pb.Product | None:
    return None if message is None else pb.Product.FromString(message)


def an_id() -> str:
    """One that nobody has."""
    return str(uuid7())


def a_sku() -> str:
    """One that no other test knows: they share a database."""
    return f"sku{next(NUMBERS):05}"


def a_name(word: str = "Shelf") -> str:
    """The same of names."""
    return f"{word} {next(NUMBERS)}"


def usd(cents: int) -> Any:
    """A price."""
    return money_to_pb(Money(cents, "USD"))


def a_variant(sku: str = "", cents: int | None = 199, **values: Any) -> pb.Variant:
    """A variant, of a new SKU if none is named."""
    return pb.Variant(sku=sku or a_sku(), price=None if cents is None else usd(cents), **values)


def a_product(
    *variants: pb.Variant, state: pb.Product.State.ValueType = pb.Product.ACTIVE, **values: Any
) -> pb.Product:
    """A product on sale with one variant, unless told otherwise."""
    return pb.Product(**{"title": "Milk"} | values, state=state, variants=variants or (a_variant(),))


def a_row(sku: str = "", cents: int | None = 199, line: int = 1, title: str = "Milk", **values: Any) -> pb.ImportRow:
    """A row to import."""
    price = None if cents is None else usd(cents)
    return pb.ImportRow(line=line, sku=sku or a_sku(), title=title, price=price, **values)
