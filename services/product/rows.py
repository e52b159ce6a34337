"""Rows of an import, and what becomes of products by them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from mercato.errors import InvalidArgument, MercatoError
from mercato.ids import uuid7
from mercato.money import Money
from services.product.domain import DEEPEST, PriceRequired, Product, Shelf, State, Told, Variant, tell

TOLD = 100
"""Bad rows of which a report tells more than their number."""

_SKU = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BARCODE = re.compile(r"[0-9]{0,14}")


class Row(NamedTuple):
    """One product to import."""

    line: int
    sku: str
    title: str
    description: str
    brand: str
    path: tuple[str, ...]
    size: str
    barcode: str
    price: Money | None
    attributes: Mapping[str, str]
    state: State | None
    digest: bytes
    """The same for all rows that say the same."""

    @property
    def target(self) -> State:
        """The state that it asks for."""
        return self.state or (State.ACTIVE if self.price else State.DRAFT)

    def mark(self, shelf: Shelf | None) -> bytes:
        """The same for all rows that make the same product."""
        return self.digest + shelf.id.bytes if shelf else self.digest

    def check(self) -> None:
        """InvalidArgument if no product can be as the row says: the contract's rules, which hold row by row here."""
        _matches(_SKU, "sku", self.sku)
        _matches(_BARCODE, "barcode", self.barcode)
        if not self.title.strip():
            raise InvalidArgument.of("title", "is required", "REQUIRED")
        _fits("title", self.title, 200)
        _fits("description", self.description, 10_000)
        _fits("brand", self.brand, 100)
        _fits("size", self.size, 50)
        _check_path(self.path)
        self._check_attributes()

    def _check_attributes(self) -> None:
        if len(self.attributes) > 50:
            raise InvalidArgument.of("attributes", "has more than 50 entries", "MAP_MAX_PAIRS")
        for name, value in self.attributes.items():
            if not name:
                raise InvalidArgument.of("attributes", "has an entry without a name", "REQUIRED")
            _fits("attributes", name, 50)
            if len(value) > 500 or "\0" in value:
                _fits(f"attributes[{name}]", value, 500)


@lru_cache(4096)
def _check_path(path: tuple[str, ...]) -> None:
    if len(path) > DEEPEST:
        raise InvalidArgument.of("categoryPath", f"has more than {DEEPEST} levels", "TOO_DEEP")
    for number, name in enumerate(path):
        if not name.strip():
            raise InvalidArgument.of(f"categoryPath[{number}]", "has no name", "REQUIRED")
        _fits(f"categoryPath[{number}]", name, 100)


def _matches(pattern: re.Pattern[str], name: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidArgument.of(name, f"must match {pattern.pattern}", "STRING_PATTERN")


def _fits(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidArgument.of(name, f"must be at most {most} characters", "STRING_MAX_LEN")
    if "\0" in value:
        raise InvalidArgument.of(name, "must not contain NUL", "CHARACTERS")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was refused, and why."""

    line: int
    sku: str
    field: str
    reason: str
    message: str

    @classmethod
    def of(cls, line: int, sku: str, error: MercatoError) -> "BadRow":
        """What an error says of a row."""
        sku = sku[:64].replace("\0", "")
        if error.fields:
            first = error.fields[0]
            return cls(line, sku, first.field, first.reason, first.message)
        name = {"PRICE_REQUIRED": "price", "SKU_TAKEN": "sku", "PRODUCT_ARCHIVED": "sku"}.get(error.reason, "")
        return cls(line, sku, name, error.reason, error.message)


@dataclass(slots=True)
class Report:
    """What became of the rows."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    bad: list[BadRow] = field(default_factory=list)

    def refuse(self, bad: Iterable[BadRow]) -> None:
        """Count rows that were refused, and remember the first."""
        for each in bad:
            self.failed += 1
            if len(self.bad) < TOLD:
                self.bad.append(each)

    def add(self, other: "Report") -> None:
        """Count another's rows as well."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.failed += other.failed
        self.bad += other.bad[: TOLD - len(self.bad)]


def news(rows: Sequence[Row], shelves: Mapping[tuple[str, ...], Shelf], imported: Mapping[str, bytes]) -> list[Row]:
    """The rows that may say something new: not the one of its SKU that made the product what it is."""
    times = Counter(row.sku for row in rows)

    def may_say(row: Row) -> bool:
        mark = imported.get(row.sku)
        return mark is None or times[row.sku] > 1 or mark != row.mark(shelves.get(row.path))

    return [row for row in rows if may_say(row)]


class Batch:
    """Rows on top of the products as they are; the same SKU may come twice, and its second row sees the first."""

    def __init__(self, products: Iterable[Product], now: datetime) -> None:
        """Begin with the products that have one of the rows' SKUs."""
        self._now = now
        self._products = {variant.sku: product for product in products for variant in product.variants}
        self.marks: dict[str, bytes] = {}
        """By SKU, of the rows that made products what they are."""
        self.told: list[Told] = []
        self.report = Report()

    def take(self, row: Row, shelf: Shelf | None) -> None:
        """Do what a row says, or note why not."""
        try:
            self._take(row, shelf)
        except MercatoError as error:
            self.report.refuse([BadRow.of(row.line, row.sku, error)])

    def _take(self, row: Row, shelf: Shelf | None) -> None:
        before = self._products.get(row.sku)
        after, told = tell(before, _updated(before, row, shelf) if before else _created(row, shelf, self._now))
        if before is None:
            self.report.created += 1
        elif told:
            self.report.updated += 1
        else:
            self.report.unchanged += 1
            return
        self.told += told
        for variant in after.variants:
            self._products[variant.sku] = after
            self.marks.pop(variant.sku, None)
        self.marks[row.sku] = row.mark(shelf)


def _created(row: Row, shelf: Shelf | None, now: datetime) -> Product:
    variant = Variant(uuid7(), row.sku, "", row.size, row.barcode, row.price)
    product = Product(
        *(uuid7(), row.title, row.description, row.brand, shelf, row.attributes, row.target, (variant,)),
        create_time=now,
        update_time=now,
    )
    return product.check()


def _updated(product: Product, row: Row, shelf: Shelf | None) -> Product:
    if product.state is State.ACTIVE and row.price is None:
        raise PriceRequired
    variants = tuple(
        replace(variant, size=row.size, barcode=row.barcode, price=row.price) if variant.sku == row.sku else variant
        for variant in product.variants
    )
    return product.change(
        {
            "title": row.title,
            "description": row.description,
            "brand": row.brand,
            "shelf": shelf,
            "attributes": row.attributes,
            "state": row.target,
            "variants": variants,
        }
    )
