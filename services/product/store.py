"""The tables of the catalogue: every write, and the reads that writes decide by. All of it takes many at once."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.rows import class_row, kwargs_row, scalar_row

from mercato.errors import InvalidArgument, MercatoError, NotFound
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Work
from services.product import search
from services.product.domain import (
    DEEPEST,
    Availability,
    Category,
    CategoryNameTaken,
    Change,
    Level,
    Product,
    Shelf,
    SkuTaken,
    State,
    UnknownCategory,
    Variant,
)


def _too_deep() -> MercatoError:
    return InvalidArgument.of("category.parentId", f"would be deeper than {DEEPEST} levels", "TOO_DEEP")


LAYOUT = 1
"""How ready products are made: raised with whatever changes the bytes of a product that is the same."""

Serialize = Callable[[Product], bytes]
Amend = Callable[[bytes, Mapping[str, Availability]], bytes]
"""A ready product with other availabilities of some SKUs."""

CONSTRAINTS = {"variant_sku": SkuTaken, "category_name": CategoryNameTaken, "category_depth": _too_deep}

PRODUCT: LiteralString = """
    p.id, p.title, p.description, p.brand, p.category_id, c.path, p.attributes, p.state, p.version, p.events,
    p.create_time, p.update_time,
    (select json_agg(json_build_array(v.id, v.sku, v.title, v.size, v.barcode, v.price, v.currency,
                                      (select max(l.available) from level l where l.sku = v.sku)) order by v.position)
     from variant v where v.product_id = p.id) as variants
"""
CATEGORY: LiteralString = (
    "c.id, c.parent_id, c.name, c.ancestry, c.path, c.version, c.events, c.create_time, c.update_time"
)

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

# In the order of the words: two transactions that learn the same ones wait for each other instead of deadlocking.
LEARN: LiteralString = """
    insert into word (spelling)
    select distinct s.spelling
    from unnest(%s::text[]) as t (given),
         unnest(tsvector_to_array(to_tsvector('catalog.spelled', t.given))) as s (spelling)
    where length(s.spelling) between 3 and 40
      and not exists (select from word w where w.spelling = s.spelling collate "C")
    order by s.spelling
    on conflict do nothing
"""

# Who changes the tree does so alone, for a path is made of many rows. Readers and products do not wait.
LOCK_TREE: LiteralString = "lock table category in share row exclusive mode"

ADD_CATEGORY: LiteralString = """
    insert into category (id, parent_id, name, ancestry, path) values (%s, %s, %s, %s, %s)
"""

# The moved category and all below it: the beginning of their paths is another.
MOVE_CATEGORY: LiteralString = """
    update category c
    set parent_id = case when c.id = %(id)s then %(parent_id)s else c.parent_id end,
        name = case when c.id = %(id)s then %(name)s else c.name end,
        version = c.version + (c.id = %(id)s)::int,
        events = c.events + 1,
        update_time = case when c.id = %(id)s then now() else c.update_time end,
        ancestry = %(ancestry)s::uuid[] || c.ancestry[%(depth)s + 1 :],
        path = %(path)s::text[] || c.path[%(depth)s + 1 :]
    where c.ancestry @> array[%(id)s::uuid]
    returning c.id, c.parent_id, c.name, c.ancestry, c.path, c.version, c.events
"""

NOTE_RENAMED: LiteralString = """
    insert into renamed_category (category_id)
    select id from category where ancestry @> array[%s::uuid] order by id
    on conflict do nothing
"""

REFRESH: LiteralString = """
    with due as (
        delete from renamed_category
        where category_id in (select category_id from renamed_category limit %s for update skip locked)
        returning category_id
    ),
    refreshed as (
        update product p
        set document = document(
            p.title, p.brand, array_to_string(c.path, ' '),
            (select coalesce(string_agg(concat_ws(' ', v.sku, v.barcode, v.title), ' '), '')
             from variant v where v.product_id = p.id),
            p.description)
        from category c
        where c.id = p.category_id and c.id in (select category_id from due)
    )
    select count(*) from due
"""

MAKE_CATEGORIES: LiteralString = """
    insert into category (id, parent_id, name, ancestry, path)
    select w.id, w.parent_id, w.name, coalesce(p.ancestry, '{}') || w.id, coalesce(p.path, '{}') || w.name
    from unnest(%(ids)b::uuid[], %(parents)b::uuid[], %(names)b::text[]) as w (id, parent_id, name)
    left join category p on p.id = w.parent_id
    on conflict on constraint category_name do nothing
    returning id, parent_id, name, ancestry, path
"""
FIND_CATEGORIES: LiteralString = """
    select c.id, c.parent_id, c.name
    from unnest(%(parents)b::uuid[], %(names)b::text[]) as w (parent_id, name)
    join category c on c.name = w.name and c.parent_id is not distinct from w.parent_id
"""

# In the order of the key, as everywhere: two consumers with levels of the same SKUs do not deadlock.
# What is read beside the writing is the table as it was. So only one follows at a time: the second would tell of a
# change from what the first has already changed.
FOLLOW_ALONE: LiteralString = "select pg_advisory_xact_lock('level'::regclass::oid::bigint)"
FOLLOW: LiteralString = """
    with given as materialized (
        select *
        from unnest(%b::text[], %b::text[], %b::int[], %b::bigint[]) as n (sku, warehouse_id, available, sequence)
    ),
    before as materialized (
        select l.* from level l where l.sku in (select sku from given)
    ),
    written as (
        insert into level as l (sku, warehouse_id, available, sequence)
        select sku, warehouse_id, available, sequence from given order by sku, warehouse_id
        on conflict (sku, warehouse_id) do update set available = excluded.available, sequence = excluded.sequence
        where excluded.sequence > l.sequence
        returning l.sku, l.warehouse_id, l.available, l.sequence
    ),
    after as (
        select coalesce(w.sku, b.sku) as sku, b.available as was, coalesce(w.available, b.available) as available,
               coalesce(w.sequence, b.sequence) as sequence
        from written w full join before b using (sku, warehouse_id)
    )
    select sku, max(was) as before, max(available) as after, sum(sequence)::bigint as sequence,
           exists (select from variant v where v.sku = after.sku) as sold
    from after where sku in (select sku from written) group by sku order by sku
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
            _learn(self._connection, texts)

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


class Categories:
    """The tree in PostgreSQL."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection
        self.made: list[Category] = []
        """The categories that `shelve` made in this transaction."""

    def lock(self) -> None:
        """Let nobody else change the tree until this transaction ends."""
        self._connection.execute(LOCK_TREE)

    def find(self, category_id: UUID) -> Category | None:
        """A category as it is, which nobody renames or moves until this transaction ends."""
        statement: LiteralString = f"select {CATEGORY} from category c where c.id = %s for share"
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            return cursor.execute(statement, [category_id]).fetchone()

    def get(self, category_id: UUID | None) -> Category | None:
        """The same; None for none. UnknownCategory."""
        if category_id is None:
            return None
        if found := self.find(category_id):
            return found
        raise UnknownCategory(category_id=str(category_id))

    def add(self, category: Category) -> None:
        """Make a new one. CategoryNameTaken."""
        values = [category.id, category.parent_id, category.name, list(category.ancestry), list(category.path)]
        self._connection.execute(ADD_CATEGORY, values)
        _learn(self._connection, [category.name])

    def move(self, before: Category, after: Category) -> list[Category]:
        """Write its new name and place, and the paths of all below; all of these. CategoryNameTaken."""
        values = {
            "id": after.id,
            "parent_id": after.parent_id,
            "name": after.name,
            "ancestry": list(after.ancestry),
            "path": list(after.path),
            "depth": len(before.path),
        }
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            moved = cursor.execute(MOVE_CATEGORY, values).fetchall()
        self._connection.execute(NOTE_RENAMED, [after.id])
        _learn(self._connection, [after.name])
        return moved

    def shelve(
        self, paths: Collection[tuple[str, ...]], known: Mapping[tuple[str, ...], Shelf]
    ) -> dict[tuple[str, ...], Shelf]:
        """The categories of these paths and those above, made where they are missing."""
        shelves = dict(known)
        if all(path in shelves for path in paths):
            return shelves
        self.lock()
        for depth in range(1, max(map(len, paths)) + 1):
            wanted = {path[:depth] for path in paths if len(path) >= depth} - shelves.keys()
            if wanted:
                shelves |= self._shelve(sorted(wanted), shelves)
        return shelves

    def _shelve(
        self, paths: Sequence[tuple[str, ...]], above: Mapping[tuple[str, ...], Shelf]
    ) -> dict[tuple[str, ...], Shelf]:
        parents = [above[path[:-1]].id if len(path) > 1 else None for path in paths]
        places = {"parents": parents, "names": [path[-1] for path in paths]}
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            self.made += cursor.execute(MAKE_CATEGORIES, places | {"ids": [uuid7() for _ in paths]}).fetchall()
        rows = self._connection.execute(FIND_CATEGORIES, places).fetchall()
        ids = {(parent_id, name): id_ for id_, parent_id, name in rows}
        return {path: Shelf(ids[parent, path[-1]], path) for path, parent in zip(paths, parents, strict=True)}

    def refresh(self, most: int) -> int:
        """Let products of categories that were renamed be found by the new names: how many categories are done."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return int(cursor.execute(REFRESH, [most]).fetchone() or 0)


class Levels:
    """What inventory told of stock."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection

    def follow(self, levels: Iterable[Level]) -> list[Change]:
        """Note levels, unless newer ones are known; what that changes of each SKU."""
        newest: dict[tuple[str, str], Level] = {}
        for level in levels:
            place = level.sku, level.warehouse_id
            if place not in newest or newest[place].sequence < level.sequence:
                newest[place] = level
        if not newest:
            return []
        self._connection.execute(FOLLOW_ALONE)
        with self._connection.cursor(row_factory=class_row(Change)) as cursor:
            return cursor.execute(FOLLOW, _level_columns(list(newest.values()))).fetchall()


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


def category_of(ancestry: list[UUID], path: list[str], **columns: Any) -> Category:
    """A row of CATEGORY."""
    return Category(ancestry=tuple(ancestry), path=tuple(path), **columns)


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


def _level_columns(levels: Sequence[Level]) -> list[list[Any]]:
    return [
        [level.sku for level in levels],
        [level.warehouse_id for level in levels],
        [level.available for level in levels],
        [level.sequence for level in levels],
    ]


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _learn(connection: Connection[Any], texts: Iterable[str]) -> None:
    # Split here: of the thousand texts of an import's message there are a few hundred different words.
    connection.execute(LEARN, [list(search.words(" ".join(set(texts))))])
