"""The panel's two files, row by row with line numbers, as they are."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shop.dirt import PRODUCTS, TRANSACTIONS

DATA = Path(__file__).parent / "data"


class ProductRow(NamedTuple):
    """A product as the panel lists it."""

    line: int
    product_id: str
    manufacturer_id: str
    department: str
    brand: str
    category: str
    type: str
    size: str


class Sale(NamedTuple):
    """A line of a receipt; `paid` is for all of it, in US dollars."""

    line: int
    basket_id: str
    product_id: str
    quantity: int
    paid: float

    @property
    def cents(self) -> int:
        """What was paid, in cents: the file never has more than two decimals, but for one residue of arithmetic."""
        return round(self.paid * 100)


def products(folder: Path = DATA) -> Iterator[ProductRow]:
    """The products, in the order of the file."""
    return (ProductRow(line, *row) for line, row in _rows(folder / PRODUCTS))


def count(folder: Path = DATA) -> int:
    """How many products are listed."""
    with gzip.open(folder / PRODUCTS) as lines:
        return sum(1 for _ in lines) - 1


def sales(folder: Path = DATA) -> Iterator[Sale]:
    """The lines of all receipts, in the order of time."""
    rows = _rows(folder / TRANSACTIONS)
    return (Sale(line, row[2], row[3], int(row[4]), float(row[5])) for line, row in rows)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, with the line they stand on."""
    # Unpacked whole, a few megabytes: line by line takes as long again as all that is done with them.
    rows = csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline=""))
    next(rows)
    for row in rows:
        yield rows.line_num, row
