"""What was found wrong in the panel's rows, and what was done about it: nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

PRODUCTS = "products.csv.gz"
TRANSACTIONS = "transactions.csv.gz"
_EXAMPLES = 4


class Dirt(Enum):
    """A kind of dirt: the file it is in, what it is, and what became of the row."""

    ODD_ID = (PRODUCTS, "an id written like a measurement", "read as the number it means")
    NO_CATEGORY = (PRODUCTS, "no category", "placed under its department, by its type where it has one")
    NO_TYPE = (PRODUCTS, "no type", "titled by its category or department")
    NO_SIZE = (PRODUCTS, "no size", "left without one")
    NEVER_SOLD = (PRODUCTS, "no sale in 2017, hence no price", "a draft")
    BELOW_A_CENT = (PRODUCTS, "a price that rounds to 0.00", "a draft")
    UNKNOWN_PRODUCT = (TRANSACTIONS, "a product that the panel does not list", "not sold here")
    NO_QUANTITY = (TRANSACTIONS, "a quantity of zero", "says nothing about the price")
    NO_VALUE = (TRANSACTIONS, "a value of zero", "says nothing about the price")
    RESIDUE = (TRANSACTIONS, "a value that is a residue of arithmetic", "read as zero")
    BY_THE_THOUSANDTH = (TRANSACTIONS, "fuel, counted by the thousandth of a gallon", "priced so, hence a draft")

    @property
    def file(self) -> str:
        """The file that it is in."""
        return str(self.value[0])

    @property
    def meaning(self) -> str:
        """What is wrong."""
        return str(self.value[1])

    @property
    def remedy(self) -> str:
        """What became of the row."""
        return str(self.value[2])


@dataclass(slots=True)
class Report:
    """Every finding with its line; the header is line 1."""

    lines: dict[Dirt, list[int]] = field(default_factory=lambda: {dirt: [] for dirt in Dirt})
    values: dict[Dirt, set[str]] = field(default_factory=lambda: {dirt: set() for dirt in Dirt})

    def note(self, dirt: Dirt, line: int, value: str = "") -> None:
        """Remember a finding, and the value that was odd."""
        self.lines[dirt].append(line)
        if value:
            self.values[dirt].add(value)

    def count(self, dirt: Dirt) -> int:
        """How many rows have it."""
        return len(self.lines[dirt])

    def findings(self) -> Iterator[tuple[str, int, Dirt]]:
        """Every finding as (file, line, what)."""
        return ((dirt.file, line, dirt) for dirt, lines in self.lines.items() for line in lines)

    def summary(self) -> list[str]:
        """One sentence for each kind that was met, with the first lines that have it."""
        return [self._sentence(dirt) for dirt in Dirt if self.lines[dirt]]

    def _sentence(self, dirt: Dirt) -> str:
        first = ", ".join(map(str, self.lines[dirt][:_EXAMPLES]))
        more = ", …" if self.count(dirt) > _EXAMPLES else ""
        odd = f" ({', '.join(sorted(self.values[dirt]))})" if 0 < len(self.values[dirt]) <= 2 * _EXAMPLES else ""
        where = f"{dirt.file} line {first}{more}"
        rows = "rows" if self.count(dirt) > 1 else "row"
        return f"{self.count(dirt):>6,} {rows} with {dirt.meaning}{odd}: {dirt.remedy} [{where}]"
