"""The real baskets, as far as they can be ordered: figures counted in the data by other means."""

from __future__ import annotations

import pytest

from shop.baskets import Baskets, read
from shop.catalogue import Catalogue


@pytest.fixture(scope="module")
def result() -> Baskets:
    return read()


def test_every_line_is_in_a_basket_or_counted_as_left_out(result: Baskets) -> None:
    assert sum(len(basket.lines) for basket in result.baskets) + result.left_out.total() == 75_000
    assert result.left_out == {"above 99": 692, "unknown": 222, "none bought": 129, "unpriced": 101}


def test_every_basket_has_lines_or_is_counted_as_emptied(result: Baskets) -> None:
    assert len(result.baskets) + result.emptied == 47_243
    assert all(basket.lines for basket in result.baskets)


def test_a_basket_names_each_product_once_and_at_most_99_times(result: Baskets) -> None:
    for basket in result.baskets:
        assert len(dict(basket.lines)) == len(basket.lines)
        assert all(0 < quantity <= 99 for _, quantity in basket.lines)


def test_whatever_is_in_a_basket_is_on_sale(result: Baskets) -> None:
    on_sale = {grocery.sku for grocery in Catalogue() if grocery.active}
    assert {sku for basket in result.baskets for sku, _ in basket.lines} <= on_sale
