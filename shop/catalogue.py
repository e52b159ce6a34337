"""The grocery catalogue: the panel's products, cleaned, titled, placed and priced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import NamedTuple

from shop.dirt import Dirt, Report
from shop.panel import DATA, ProductRow, Sale, products, sales
from shop.words import is_vague, size, words

MOST_OF_ONE = 99
"""How many of one thing a basket may hold; whatever is above is fuel."""


class Grocery(NamedTuple):
    """A product as the shop shows it. Without a price it is a draft."""

    line: int
    sku: str
    title: str
    brand: str
    path: tuple[str, ...]
    size: str
    manufacturer: str
    price: int | None
    """In cents of a US dollar: the median unit price of 2017."""

    @property
    def active(self) -> bool:
        """Whether it can be sold."""
        return self.price is not None


@dataclass(slots=True)
class Catalogue:
    """All products of the panel, read as a stream. `sold` is known before the first; `report` fills as they pass."""

    folder: Path = DATA
    report: Report = field(default_factory=Report)
    sold: Sequence[Sale] = ()

    def __iter__(self) -> Iterator[Grocery]:
        """Each product once, in the order of the file."""
        self.report = Report()
        self.sold = list(sales(self.folder))
        prices = unit_prices(self.sold, self.report)
        listed: set[str] = set()
        for row in products(self.folder):
            listed.add(row.product_id)
            yield self._clean(row, prices)
        for sale in self.sold:
            if sale.product_id not in listed:
                self.report.note(Dirt.UNKNOWN_PRODUCT, sale.line, sale.product_id)

    def _clean(self, row: ProductRow, prices: Mapping[str, int]) -> Grocery:
        note = self.report.note
        if not row.product_id.isdigit():
            note(Dirt.ODD_ID, row.line, row.product_id)
        if not row.category.strip():
            note(Dirt.NO_CATEGORY, row.line)
        if not row.type.strip():
            note(Dirt.NO_TYPE, row.line)
        if not row.size.strip():
            note(Dirt.NO_SIZE, row.line)
        price, content = prices.get(row.product_id), size(row.size)
        if not price:
            note(Dirt.NEVER_SOLD if price is None else Dirt.BELOW_A_CENT, row.line)
        return Grocery(
            line=row.line,
            sku=sku(row.product_id),
            title=f"{_name(row.department, row.category, row.type)} {content}".strip(),
            brand=row.brand,
            path=_path(row.department, row.category, row.type),
            size=content,
            manufacturer=row.manufacturer_id,
            price=price or None,
        )


def sku(product_id: str) -> str:
    """The product's number, also where it is written like a measurement: `9e+05` is 900000."""
    if product_id.isdigit():
        return product_id
    try:
        return str(int(Decimal(product_id)))
    except InvalidOperation:
        return product_id


@cache
def _path(*levels: str) -> tuple[str, ...]:
    return tuple(words(level) for level in levels if level.strip())


@cache
def _name(department: str, category: str, type_: str) -> str:
    """What to call it, before its size: its type; the category before a type that says little by itself."""
    name = words(type_) or words(category) or words(department)
    return f"{words(category)}: {name}" if category and is_vague(type_) else name


def unit_prices(sold: Sequence[Sale], report: Report) -> dict[str, int]:
    """The median unit price of each product that was sold, in cents; 0 where that is below half a cent."""
    seen: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for sale in sold:
        if sale.quantity > MOST_OF_ONE:
            report.note(Dirt.BY_THE_THOUSANDTH, sale.line)
        if not sale.quantity:
            report.note(Dirt.NO_QUANTITY, sale.line)
        if not sale.cents:
            note_worthless(sale, report)
        elif sale.quantity:
            seen[sale.product_id].append((sale.cents, sale.quantity))
    return {product_id: median(pairs) for product_id, pairs in seen.items()}


def note_worthless(sale: Sale, report: Report) -> None:
    """Tell a value of zero from what some program left over of one."""
    if sale.paid:
        report.note(Dirt.RESIDUE, sale.line, str(sale.paid))
    else:
        report.note(Dirt.NO_VALUE, sale.line)


def median(pairs: Sequence[tuple[int, int]]) -> int:
    """The median of value / quantity, exact, then rounded half to even."""
    ordered = sorted(pairs, key=lambda pair: pair[0] / pair[1])
    (cents, units), (more, of) = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    total, twice = cents * of + more * units, 2 * units * of  # a fraction, without the price of making one a product
    whole, rest = divmod(total, twice)
    return whole + (2 * rest > twice or (2 * rest == twice and whole % 2 == 1))
