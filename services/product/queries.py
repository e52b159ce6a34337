"""Reads of the catalogue: each takes many at once, none locks anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import kwargs_row, scalar_row

from mercato.errors import NotFound
from mercato.money import Money, digits
from mercato.postgres import Database
from services.product import search
from services.product.domain import Availability, Category, Node, Offer, Product, State, trees
from services.product.store import LAYOUT, READ, Serialize, product_of
from services.product.tree import CATEGORY, category_of

# What a list or a search is narrowed to. Parameters that are null fold away when the statement is planned: it is
# planned for its values each time (prepare=False), for a plan that fits all of them fits none. Stock is a maximum and
# no `exists`, of which the planner would make a table of all that is in stock, for a page of twenty.
STATE: LiteralString = "p.state = %(state)s"
NARROWED: LiteralString = f"""
    {STATE}
    and (%(categories)s::uuid[] is null or p.category_id = any(%(categories)s))
    and (%(brand)s::text is null or p.brand = %(brand)s)
    and (%(least)s::bigint is null or p.highest >= %(least)s)
    and (%(most)s::bigint is null or p.lowest between 1 and %(most)s)
    and (%(least)s::bigint is null or %(most)s::bigint is null or exists (
         select from variant v where v.product_id = p.id and v.price between %(least)s and %(most)s))
    and (%(in_stock)s::boolean is null or %(in_stock)s = (
         select coalesce(max(l.available), 0) > 0 from variant v join level l using (sku) where v.product_id = p.id))
"""
# A category's subtree is looked up before: the planner then knows which categories, and how many products they have.
SUBTREE: LiteralString = "select id from category where ancestry @> array[%s::uuid]"

MATCHING: LiteralString = " and p.document @@ to_tsquery('catalog.stemmed', %(near)s)"

# A word as it was typed counts more than one that only begins with it. Whole numbers, for they stand in page tokens.
RANK: LiteralString = """
    (1000000 * (ts_rank(p.document, to_tsquery('catalog.stemmed', %(near)s))
                + 2 * ts_rank(p.document, to_tsquery('catalog.stemmed', %(whole)s))))::bigint
"""


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is ordered: by which key, of which type, which end first."""

    key: LiteralString
    type: LiteralString
    descending: bool = False


BY_NAME = Order("lower(left(p.title, 48))", "text")
BY_RANK = Order(RANK, "bigint", descending=True)
ORDERS: Mapping[str, Order] = {
    "name": BY_NAME,
    "price": Order("p.lowest", "bigint"),
    "price desc": Order("p.lowest", "bigint", descending=True),
    "createTime desc": Order("p.create_time", "timestamptz", descending=True),
}

READY_ONES: LiteralString = """
    select p.id::text, p.state, r.message || coalesce(c.message, '')
    from product p
    left join category c on c.id = p.category_id
    left join ready r on r.product_id = p.id and r.version = p.version and r.layout = %s
    where p.id = any(%s::text[]::uuid[])
"""

# At most this many matches are looked at for facets: a search for a letter must not cost more than one for a word.
FACETED = 10_000
SHOWN_FACETS = 20
BANDS = (100, 200, 500, 1000, 2000, 5000)
"""Where bands of price end, in minor units."""

FACETS: LiteralString = f"""
    with hits as materialized (
        select p.category_id, p.brand, width_bucket(p.lowest, %(bands)s::bigint[]) as band
        from product p where {NARROWED}{MATCHING} limit %(faceted)s
    ),
    counted as (
        select grouping(category_id, brand, band) as kind, category_id, brand, band, count(*) as matches
        from hits group by grouping sets ((category_id), (brand), (band))
    ),
    ranked as (
        select *, row_number() over (partition by kind order by matches desc, brand, category_id) as place from counted
    )
    select r.kind, r.category_id::text, c.name, r.brand, r.band, r.matches
    from ranked r left join category c on c.id = r.category_id
    where r.place <= %(shown)s
      and (r.kind <> 3 or r.category_id is not null) and (r.kind <> 5 or r.brand <> '')
    order by r.kind, r.place
"""
_CATEGORY, _BRAND, _BAND = 3, 5, 6  # what grouping() says of each set

# Words that may have been meant. PostgreSQL measures without swapped letters, hence one error more; we look again.
MEANT: LiteralString = """
    select t.typed, w.spelling
    from unnest(%s::text[], %s::int[]) as t (typed, errors)
    join word w on least(
        levenshtein_less_equal(t.typed, w.spelling, t.errors + 1),
        levenshtein_less_equal(t.typed, left(w.spelling, length(t.typed)), t.errors + 1)) <= t.errors + 1
"""

OFFERS: LiteralString = """
    select v.sku, v.product_id, concat_ws(' ', p.title, nullif(v.title, '')), v.price, v.currency,
           (select max(l.available) from level l where l.sku = v.sku)
    from variant v join product p on p.id = v.product_id
    where v.sku = any(%s::text[]) and p.state = 'ACTIVE' and v.price is not null
"""

ROOTS: LiteralString = """
    select c.id, c.name from category c
    where c.parent_id is null and (%(after)s::text is null or c.name > %(after)s)
    order by c.name limit %(most)s
"""

TREES: LiteralString = f"""
    with counted as (
        select category_id, count(*) as own from product
        where state = 'ACTIVE' and category_id is not null group by category_id
    )
    select {CATEGORY}, coalesce(n.own, 0) as own
    from category c left join counted n on n.category_id = c.id
    where c.ancestry && %s::uuid[]
    order by c.name
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list or a search is narrowed to. A category means its subtree; prices are in minor units."""

    state: State = State.ACTIVE
    category: UUID | None = None
    brand: str | None = None
    least: int | None = None
    most: int | None = None
    in_stock: bool | None = None
    near: str = ""
    """A tsquery that products match."""
    whole: str = ""
    """A tsquery that makes them better matches."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A product, and its place in a list."""

    id: UUID
    message: bytes
    key: str | int


@dataclass(frozen=True, slots=True)
class Kept:
    """A product as bytes, and whether it is on sale."""

    on_sale: bool
    message: bytes


@dataclass(frozen=True, slots=True)
class Facet:
    """One value and how many matches have it."""

    value: str
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """How the matches of a search spread."""

    category: list[Facet]
    brand: list[Facet]
    price: list[Facet]


class ProductQueries:
    """Reads on the schema `catalog`."""

    def __init__(self, database: Database, currency: str, serialize: Serialize) -> None:
        """Read from this database, of a shop with this currency; `serialize` makes what is not ready yet."""
        self._database = database
        self._serialize = serialize
        self._currency = currency

    def products(self, ids: Sequence[UUID], *, drafts: bool = False) -> dict[UUID, Product]:
        """Those of the products that are there; drafts and archived ones only if asked for."""
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(product_of)) as cursor:
            found = cursor.execute(READ, [list(ids)])
            return {product.id: product for product in found if drafts or product.state is State.ACTIVE}

    def ready(self, ids: Sequence[str]) -> dict[str, Kept]:
        """Those of the products that are there, serialized as they were written, by their ids in small letters."""
        # Ids stay texts, which PostgreSQL reads faster than we make UUIDs of them.
        with self._database.reading() as connection, connection.cursor(binary=True) as cursor:
            rows = cursor.execute(READY_ONES, [LAYOUT, ids]).fetchall()
        late = self._made([UUID(id_) for id_, _, message in rows if message is None])
        return {id_: Kept(state == State.ACTIVE, message or late[UUID(id_)]) for id_, state, message in rows}

    def _made(self, ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """Products of older code, which are not ready."""
        return {id_: self._serialize(each) for id_, each in self.products(ids, drafts=True).items()} if ids else {}

    def product(self, product_id: UUID, *, drafts: bool = False) -> Product:
        """One product. NotFound."""
        if product := self.products([product_id], drafts=drafts).get(product_id):
            return product
        raise NotFound

    def list_products(self, wanted: Wanted, order: Order, after: Sequence[Any], most: int) -> list[Placed]:
        """Products in an order, after a place in it."""
        with self._database.reading() as connection:
            rows = _page(connection, wanted, order, after, most)
        late = self._made([id_ for id_, message, _ in rows if message is None])
        return [Placed(id_, message or late[id_], _key(key)) for id_, message, key in rows]

    def meaning(self, q: str, state: State) -> Wanted | None:
        """What the words stand for among products in a state; None if nothing matches.

        As typed if anything has them all, else what is close to all of them, else to one of them.
        """
        terms = search.terms(q)
        if not terms:
            return None
        with self._database.reading() as connection:
            as_typed = search.beginnings(terms)
            if _any(connection, state, as_typed):
                return Wanted(state, near=as_typed, whole=search.whole(terms))
            for near in search.meanings(terms, _meant(connection, terms)):
                if _any(connection, state, near):
                    return Wanted(state, near=near, whole=near)
        return None

    def facets(self, wanted: Wanted) -> Facets:
        """How the matches spread."""
        values: dict[str, Any] = {"bands": list(BANDS), "faceted": FACETED, "shown": SHOWN_FACETS}
        with self._database.reading() as connection:
            values |= _parameters(connection, wanted)
            rows = connection.execute(FACETS, values, prepare=False).fetchall()
        spread: dict[int, list[Facet]] = {_CATEGORY: [], _BRAND: [], _BAND: []}
        for kind, category_id, name, brand, band, matches in sorted(rows, key=lambda row: (row[0], row[4] or 0)):
            value = category_id or brand or self._band(band)
            spread[kind].append(Facet(value, name or value, matches))
        return Facets(spread[_CATEGORY], spread[_BRAND], spread[_BAND])

    def _band(self, number: int) -> str:
        ends = (0, *BANDS)
        texts = [f"{Decimal(end).scaleb(-digits(self._currency)):f}" for end in ends[number : number + 2]]
        return "-".join(texts) if len(texts) == 2 else f"{texts[0]}-"

    def offers(self, skus: Iterable[str]) -> list[Offer]:
        """What can be bought of these; what cannot is left out."""
        with self._database.reading() as connection:
            rows = connection.execute(OFFERS, [list(skus)]).fetchall()
        return [
            Offer(sku, product_id, title, Money(price, currency), Availability.of(units))
            for sku, product_id, title, price, currency, units in rows
        ]

    def list_categories(self, after: Sequence[str], most: int) -> list[tuple[UUID, str]]:
        """The top categories' ids and names after one of them."""
        with self._database.reading() as connection:
            values = {"after": after[0] if after else None, "most": most}
            return [(id_, name) for id_, name in connection.execute(ROOTS, values)]

    def trees(self, roots: Sequence[UUID]) -> list[Node]:
        """Categories with all below them, in the order of their ids in `roots`."""
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(_counted)) as cursor:
            return trees(cursor.execute(TREES, [list(roots)]).fetchall(), roots)

    def tree(self, category_id: UUID) -> Node:
        """A category with all below it. NotFound."""
        for node in self.trees([category_id]):
            return node
        raise NotFound


def _page(
    connection: Connection[Any], wanted: Wanted, order: Order, after: Sequence[Any], most: int
) -> list[tuple[UUID, bytes | None, Any]]:
    values = _parameters(connection, wanted) | {
        "key": after[0] if after else None,
        "id": after[1] if after else None,
        "page": most,
        "layout": LAYOUT,
    }
    # Without anything but an order, the plan is the same for all values, and making it costs more than the list.
    plain = wanted == Wanted(wanted.state)
    narrowed = STATE if plain else NARROWED + MATCHING if wanted.near else NARROWED
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(_listing(order, narrowed, goes_on=bool(after)), values, prepare=plain).fetchall()


@cache
def _listing(order: Order, narrowed: LiteralString, *, goes_on: bool) -> LiteralString:
    # Put together from fragments: which index serves a list is decided by its order, which no parameter can name.
    key, beyond, end = order.key, "<" if order.descending else ">", "desc" if order.descending else "asc"
    after: LiteralString = f"and ({key}, p.id) {beyond} (%(key)s::{order.type}, %(id)s::uuid)" if goes_on else ""
    return f"""
        with page as materialized (
            select p.id, p.version, p.category_id, {key} as key from product p
            where {narrowed} {after}
            order by {key} {end}, p.id {end}
            limit %(page)s
        )
        select page.id, r.message || coalesce(c.message, ''), page.key
        from page
        left join category c on c.id = page.category_id
        left join ready r on r.product_id = page.id and r.version = page.version and r.layout = %(layout)s
        order by page.key {end}, page.id {end}
    """


def _key(key: Any) -> str | int:
    return key if isinstance(key, str | int) else str(key.isoformat())


def _counted(own: int, **columns: Any) -> tuple[Category, int]:
    return category_of(**columns), own


def _parameters(connection: Connection[Any], wanted: Wanted) -> dict[str, Any]:
    values = {name: getattr(wanted, name) for name in Wanted.__slots__} | {"state": wanted.state.value}
    categories = connection.execute(SUBTREE, [wanted.category]).fetchall() if wanted.category else None
    return values | {"categories": None if categories is None else [id_ for (id_,) in categories]}


def _any(connection: Connection[Any], state: State, near: str) -> bool:
    statement: LiteralString = f"select exists (select from product p where p.state = %(state)s{MATCHING})"
    with connection.cursor(row_factory=scalar_row) as cursor:
        return bool(cursor.execute(statement, {"state": state.value, "near": near}, prepare=False).fetchone())


def _meant(connection: Connection[Any], terms: Sequence[str]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for typed, spelling in connection.execute(MEANT, [list(terms), [search.allowance(term) for term in terms]]):
        known.setdefault(typed, []).append(spelling)
    return known
