"""Prices and ids of the grocery catalogue."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.catalogue import median, sku


@pytest.mark.parametrize(("given_id", "meant"), [("1000002", "1000002"), ("9e+05", "900000"), ("odd", "odd")])
def test_an_odd_id_is_read_as_the_number_it_means(given_id: str, meant: str) -> None:
    assert sku(given_id) == meant


def test_a_half_cent_goes_to_the_even_side() -> None:
    assert median([(5, 2)]) == 2
    assert median([(7, 2)]) == 4
    assert median([(1, 1), (2, 1)]) == 2


@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 99)), min_size=1, max_size=9))
def test_half_of_all_prices_lie_on_either_side_of_the_median(pairs: list[tuple[int, int]]) -> None:
    prices = [Fraction(*pair) for pair in pairs]
    half = Fraction(1, 2)
    assert 2 * sum(price <= median(pairs) + half for price in prices) >= len(prices)
    assert 2 * sum(price >= median(pairs) - half for price in prices) >= len(prices)
