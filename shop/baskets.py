"""Real baskets of 2017, as far as the shop sells what was in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from shop import panel
from shop.catalogue import MOST_OF_ONE, sku, unit_prices
from shop.dirt import Report


@dataclass(frozen=True, slots=True)
class Basket:
    """What somebody bought at once: SKUs with their quantities."""

    lines: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Baskets:
    """All baskets in the order of time, and why lines are missing from them."""

    baskets: list[Basket] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    emptied: int = 0
    """Baskets of which nothing was left."""


def read(folder: Path = panel.DATA) -> Baskets:
    """Every basket with the lines that can be ordered; the others are counted by reason."""
    sold = list(panel.sales(folder))
    prices = unit_prices(sold, Report())
    listed = {row.product_id for row in panel.products(folder)}
    result = Baskets()
    contents: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sale in sold:
        content = contents[sale.basket_id]
        if reason := _unfit(sale, content[sale.product_id], listed, prices):
            result.left_out[reason] += 1
        else:
            content[sale.product_id] += sale.quantity
    result.baskets = [_basket(content) for content in contents.values() if content]
    result.emptied = len(contents) - len(result.baskets)
    return result


def _unfit(sale: panel.Sale, already: int, listed: set[str], prices: dict[str, int]) -> str:
    """Why a line cannot be ordered, or nothing."""
    if sale.product_id not in listed:
        return "unknown"
    if already + sale.quantity > MOST_OF_ONE:
        return f"above {MOST_OF_ONE}"
    if not prices.get(sale.product_id):
        return "unpriced"
    return "" if sale.quantity else "none bought"


def _basket(content: Counter[str]) -> Basket:
    return Basket(tuple((sku(product_id), quantity) for product_id, quantity in content.items()))
