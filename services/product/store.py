"""Products and their variants in PostgreSQL: every write, and the reads that writes decide by, of many at once."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.rows import kwargs_row, scalar_row

from mercato.errors import NotFound
from mercato.money import Money
from mercato.postgres import Work
from services.product import tree, vocabulary
from services.product.domain import Availability, Product, Shelf, SkuTaken, State, Variant
from services.product.levels import Levels
from services.product.tree import Categories

LAYOUT = 1
"""How ready products are made: raised with whatever changes the bytes of a product that is the same."""

Serialize = Callable[[Product], bytes]
Amend = Callable[[bytes, Mapping[str, Availability]], bytes]
"""A ready product with other availabilities of some SKUs."""

CONSTRAINTS = {"variant_sku": SkuTaken, **tree.CONSTRAINTS}

PRODUCT: LiteralString = """
    p.id, p.title, p.description, p.brand, p.category_id, c.path, p.attributes, p.state, p.version, p.events,
    p.create_time, p.update_time,
    (select json_agg(json_build_array(v.id, v.sku, v.title, v.size, v.barcode, v.price, v.currency,
                                      (select max(l.available) from level l where l.sku = v.sku)) order by v.position)
     from variant v where v.product_id = p.id) as variants
"""
READ: LiteralString = f"""
    select {PRODUCT} from product p left join category c on c.id = p.category_id where p.id = any(%b)
"""

# Locked first and read by a statement of its own: what waited for a lock would else read the variants of before.
LOCK: LiteralString = "select id from product where id = any(%b) order by id for update"
LOCK_OF: LiteralString = """
    select id from product where id in (select product_id from variant where sku = any(%b::text[]))
    order by id for update
"""

# What joins the many of a message with all that there are is planned each time. A plan that was kept from a small shop
# looks at every product for every row, and stays until rows are counted: for ever, if nothing lands meanwhile.
KEEP_PLAN = False

# Rows travel as one JSON text: made and read by C on both sides, a fifth of what arrays of values cost.
WRITE: LiteralString = """
    with given as materialized (
        select * from json_to_recordset(%s::json)
            as n (id uuid, title text, description text, brand text, category_id uuid, category text, attributes jsonb,
                  state text, lowest bigint, highest bigint, details text, version bigint, events bigint, message bytea)
    ),
    heads as materialized (
        select title, brand, category, headline(title, brand, category) as head
        from (select distinct title, brand, category from given) different
    ),
    written as (
        insert into product as p (id, title, description, brand, category_id, attributes, state, lowest, highest,
                                  document, version, events)
        select n.id, n.title, n.description, n.brand, n.category_id, n.attributes, n.state, n.lowest, n.highest,
               h.head || small_print(n.details, n.description), n.version, n.events
        from given n join heads h using (title, brand, category)
        on conflict (id) do update
        set title = excluded.title, description = excluded.description, brand = excluded.brand,
            category_id = excluded.category_id, attributes = excluded.attributes, state = excluded.state,
            lowest = excluded.lowest, highest = excluded.highest, document = excluded.document,
            version = excluded.version, events = excluded.events, update_time = now()
    )
    insert into ready (product_id, message, version, layout)
    select n.id, n.message, n.version, %s from given n where n.message is not null
    on conflict (product_id) do update
    set message = excluded.message, version = excluded.version, layout = excluded.layout
"""

# What is written as ready bytes holds what there is of a SKU, as events tell it. Whoever writes products keeps those
# events out until the end, and the other way round; before any row is locked, or the two would wait for each other.
NOW: LiteralString = "select now()"
KEEP_LEVELS: LiteralString = "select now(), pg_advisory_xact_lock_shared('level'::regclass::oid::bigint)"
UNITS: LiteralString = "select sku, max(available) from level where sku = any(%b::text[]) group by sku"

# Products whose ready bytes are missing, or are by code that saw products in another way. Drafts, most of what an
# import brings, are read by the few who write them: they need none.
STALE: LiteralString = """
    select p.id from product p left join ready r on r.product_id = p.id
    where p.state <> 'DRAFT' and (r.version is distinct from p.version or r.layout is distinct from %s)
    order by p.id limit %s
"""
REDO: LiteralString = """
    insert into ready (product_id, message, version, layout)
    select n.*, %s from unnest(%b::uuid[], %b::bytea[], %b::bigint[]) as n
    on conflict (product_id) do update
    set message = excluded.message, version = excluded.version, layout = excluded.layout
"""

# Products with one of the SKUs. Whoever follows levels does so alone, and nobody writes products meanwhile.
READY_OF: LiteralString = """
    select product_id, message from ready
    where product_id in (select product_id from variant where sku = any(%b::text[])) and layout = %s
    order by product_id
"""
RENEW: LiteralString = """
    update ready r set message = n.message
    from unnest(%b::uuid[], %b::bytea[]) as n (product_id, message) where r.product_id = n.product_id
"""

DROP_VARIANTS: LiteralString = """
    delete from variant where product_id = any(%s::uuid[]) and id <> all (%s::uuid[])
"""

WRITE_VARIANTS: LiteralString = """
    insert into variant (id, product_id, position, sku, title, size, barcode, price, currency, imported,
                         imported_version)
    select * from json_to_recordset(%s::json)
        as n (id uuid, product_id uuid, position int, sku text, title text, size text, barcode text, price bigint,
              currency text, imported bytea, imported_version bigint)
    on conflict (id) do update
    set position = excluded.position, title = excluded.title, size = excluded.size, barcode = excluded.barcode,
        price = excluded.price, currency = excluded.currency, imported = excluded.imported,
        imported_version = excluded.imported_version
"""

IMPORTED: LiteralString = """
    select v.sku, v.imported from variant v join product p on p.id = v.product_id and p.version = v.imported_version
    where v.sku = any(%b::text[])
"""


class Products:
    """Products and their variants in PostgreSQL."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection
        self._now: datetime | None = None

    def lock(self, product_id: UUID) -> Product:
        """A product that nobody else changes until this transaction ends. NotFound."""
        self._begin()
        self._connection.execute(LOCK, [[product_id]])
        for product in self._read([product_id]):
            return product
        raise NotFound

    def imported(self, skus: Iterable[str]) -> Mapping[str, bytes]:
        """The marks of the rows that made products what they are, of those SKUs that nobody changed since."""
        with self._connection.cursor(binary=True) as cursor:
            return dict(cursor.execute(IMPORTED, [list(skus)], prepare=KEEP_PLAN).fetchall())

    def lock_of(self, skus: Sequence[str], *, drafts: bool) -> list[Product]:
        """The products that have one of the SKUs, locked.

        Where nothing but drafts will be written, which are not kept ready, levels may change meanwhile.
        """
        self._begin(NOW if drafts else KEEP_LEVELS)
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            ids = cursor.execute(LOCK_OF, [list(skus)], prepare=KEEP_PLAN).fetchall()
        return self._read(ids) if ids else []

    def as_read(self, products: Sequence[Product]) -> list[Product]:
        """Products that are about to be written, as they will be read: when that was, and what there is of them."""
        now = self._begin()
        skus = [variant.sku for product in products for variant in product.variants]
        units = dict(self._connection.execute(UNITS, [skus]).fetchall()) if skus else {}
        return [_as_read(product, now, units) for product in products]

    def write(self, products: Sequence[Product], ready: Serialize) -> None:
        """Write products as they shall be, new or not, and those on sale ready to be read; their variants come next."""
        if products:
            self._connection.execute(WRITE, [_json([_product_row(product, ready) for product in products]), LAYOUT])

    def write_variants(self, products: Sequence[Product], marks: Mapping[str, bytes] | None = None) -> None:
        """Write the variants of products that were written. SkuTaken.

        `marks` are of rows of an import, by SKU. Whoever meets another's new SKU waits for what becomes of it. All of a
        transaction's are written at once and in their order, or two with the same SKUs would wait for each other.
        """
        if old := [product.id for product in products if product.version > 1]:
            kept = [variant.id for product in products for variant in product.variants]
            self._connection.execute(DROP_VARIANTS, [old, kept])
        rows = [row for product in products for row in _variant_rows(product, marks or {})]
        if rows:
            self._connection.execute(WRITE_VARIANTS, [_json(sorted(rows, key=itemgetter("sku")))])

    def learn(self, texts: Collection[str]) -> None:
        """Let who mistypes a word of these texts be led to it."""
        if texts:
            vocabulary.learn(self._connection, texts)

    def redo(self, most: int, ready: Serialize) -> int:
        """Make ready what is not, of as many products; how many there were."""
        self._begin()
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            ids = cursor.execute(STALE, [LAYOUT, most]).fetchall()
        if ids:
            self._connection.execute(LOCK, [ids])
            found = self._read(ids)
            columns = [[each.id for each in found], list(map(ready, found)), [each.version for each in found]]
            self._connection.execute(REDO, [LAYOUT, *columns])
        return len(ids)

    def renew(self, availabilities: Mapping[str, Availability], change: Amend) -> None:
        """Let ready products say what there is of some SKUs now."""
        if availabilities:
            found = self._connection.execute(READY_OF, [list(availabilities), LAYOUT]).fetchall()
            self._connection.execute(
                RENEW, [[id_ for id_, _ in found], [change(message, availabilities) for _, message in found]]
            )

    @property
    def now(self) -> datetime:
        """The time of this transaction."""
        return self._begin()

    def _begin(self, statement: LiteralString = KEEP_LEVELS) -> datetime:
        """The time of this transaction; levels stay as they are until it ends."""
        if self._now is None:
            row = self._connection.execute(statement).fetchone()
            assert row
            self._now = row[0]
        return self._now

    def _read(self, ids: Sequence[UUID]) -> list[Product]:
        with self._connection.cursor(row_factory=kwargs_row(product_of)) as cursor:
            return cursor.execute(READ, [list(ids)], prepare=KEEP_PLAN).fetchall()


class ProductWork(Work):
    """One transaction on the catalogue, and the events that leave with it."""

    products: Products
    categories: Categories
    levels: Levels

    def opened(self) -> None:
        """Give every store the connection."""
        self.products = Products(self.connection)
        self.categories = Categories(self.connection)
        self.levels = Levels(self.connection)


def product_of(
    category_id: UUID | None, path: list[str] | None, state: str, variants: list[Any] | None, **columns: Any
) -> Product:
    """A row of PRODUCT."""
    shelf = Shelf(category_id, tuple(path or ())) if category_id else None
    return Product(
        shelf=shelf, state=State(state), variants=tuple(variant_of(*each) for each in variants or ()), **columns
    )


def variant_of(
    id_: str, sku: str, title: str, size: str, barcode: str, price: int | None, currency: str, units: int | None
) -> Variant:
    """A variant, its availability that of its best warehouse."""
    money = None if price is None else Money(price, currency)
    return Variant(UUID(id_), sku, title, size, barcode, money, Availability.of(units))


def _as_read(product: Product, now: datetime, units: Mapping[str, int]) -> Product:
    stocked = any(variant.sku in units or variant.stocked for variant in product.variants)
    if product.update_time is now and not stocked:
        return product
    variants = (replace(each, availability=Availability.of(units.get(each.sku))) for each in product.variants)
    return replace(
        product,
        variants=tuple(variants) if stocked else product.variants,
        create_time=product.create_time or now,
        update_time=now,
    )


def spelled(products: Iterable[Product]) -> set[str]:
    """The texts whose words a search may be for."""
    shelves = {product.shelf for product in products if product.shelf}
    texts = {text for product in products for text in (product.title, product.brand)}
    return texts.union(*(shelf.path for shelf in shelves))


def _product_row(product: Product, ready: Serialize) -> dict[str, Any]:
    shelf, prices = product.shelf, product.prices
    return {
        "id": product.id,
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category_id": shelf.id if shelf else None,
        "category": " ".join(shelf.path) if shelf else "",
        "attributes": dict(product.attributes),
        "state": product.state,
        "lowest": min(prices, default=0),
        "highest": max(prices, default=0),
        "details": " ".join(f"{variant.sku} {variant.barcode} {variant.title}" for variant in product.variants),
        "version": product.version,
        "events": product.events,
        "message": None if product.state is State.DRAFT else f"\\x{ready(product).hex()}",
    }


def _variant_rows(product: Product, marks: Mapping[str, bytes]) -> Iterable[dict[str, Any]]:
    for position, variant in enumerate(product.variants):
        mark = marks.get(variant.sku)
        yield _variant_row(product, position, variant) | {
            "imported": mark and f"\\x{mark.hex()}",
            "imported_version": mark and product.version,
        }


def _variant_row(product: Product, position: int, variant: Variant) -> dict[str, Any]:
    return {
        "id": variant.id,
        "product_id": product.id,
        "position": position,
        "sku": variant.sku,
        "title": variant.title,
        "size": variant.size,
        "barcode": variant.barcode,
        "price": variant.price.amount if variant.price else None,
        "currency": variant.price.currency if variant.price else None,
    }


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
