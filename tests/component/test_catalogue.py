"""The grocery catalogue against the real files: every figure here was counted in the data by other means."""

from __future__ import annotations

from collections import Counter

import pytest

from shop.catalogue import Catalogue, Grocery
from shop.dirt import Dirt, Report
from shop.panel import sales


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="module")
def groceries(catalogue: Catalogue) -> list[Grocery]:
    return list(catalogue)


@pytest.fixture(scope="module")
def report(catalogue: Catalogue, groceries: list[Grocery]) -> Report:
    assert groceries
    return catalogue.report


def test_every_product_of_the_panel_is_in_the_catalogue_once(groceries: list[Grocery]) -> None:
    assert len(groceries) == len({grocery.sku for grocery in groceries}) == 92_331


def test_a_sku_is_the_number_of_the_panel(groceries: list[Grocery]) -> None:
    assert all(grocery.sku.isdigit() for grocery in groceries)
    assert groceries[-1].sku == "900000"


def test_only_what_was_sold_for_a_cent_or_more_is_active(groceries: list[Grocery]) -> None:
    assert sum(grocery.active for grocery in groceries) == 20_790
    assert sum(not grocery.active for grocery in groceries) == 71_541
    assert all(grocery.price is None or grocery.price > 0 for grocery in groceries)


@pytest.mark.parametrize(
    ("dirt", "rows"),
    [
        (Dirt.ODD_ID, 1),
        (Dirt.NO_CATEGORY, 540),
        (Dirt.NO_TYPE, 528),
        (Dirt.NO_SIZE, 30_586),
        (Dirt.NEVER_SOLD, 71_527),
        (Dirt.BELOW_A_CENT, 14),
        (Dirt.UNKNOWN_PRODUCT, 222),
        (Dirt.NO_QUANTITY, 416),
        (Dirt.NO_VALUE, 528),
        (Dirt.RESIDUE, 1),
        (Dirt.BY_THE_THOUSANDTH, 692),
    ],
)
def test_all_dirt_is_told(report: Report, dirt: Dirt, rows: int) -> None:
    assert report.count(dirt) == rows


def test_dirt_is_told_with_its_line_and_value(report: Report) -> None:
    assert (report.lines[Dirt.ODD_ID], report.values[Dirt.ODD_ID]) == ([92_332], {"9e+05"})
    assert report.values[Dirt.UNKNOWN_PRODUCT] == {"1093587", "5126088", "5126107", "5978648", "5978656"}
    assert report.lines[Dirt.UNKNOWN_PRODUCT][0] == 221
    assert len(list(report.findings())) == sum(report.count(dirt) for dirt in Dirt)


def test_the_summary_names_each_kind_that_was_met(report: Report) -> None:
    summary = "\n".join(report.summary())
    assert "30,586 rows with no size" in summary
    assert "9e+05" in summary
    assert "products.csv.gz line 92332" in summary
    assert len(report.summary()) == len(Dirt)
    assert Report().summary() == []


def test_the_tree_has_the_panels_departments_categories_and_types(groceries: list[Grocery]) -> None:
    assert len({grocery.path[0] for grocery in groceries}) == 32
    assert len({grocery.path for grocery in groceries}) == 3_903
    depths = Counter(len(grocery.path) for grocery in groceries)
    assert depths == {3: 92_331 - 639, 2: 99 + 111, 1: 429}


def test_nothing_is_too_long_for_the_contract(groceries: list[Grocery]) -> None:
    assert max(len(grocery.title) for grocery in groceries) <= 200
    assert max(len(name) for grocery in groceries for name in grocery.path) <= 100
    assert max(len(grocery.size) for grocery in groceries) <= 50
    assert all(grocery.title and all(grocery.path) for grocery in groceries)


def test_no_title_shouts(groceries: list[Grocery]) -> None:
    shouted = {grocery.title for grocery in groceries if grocery.title.isupper() and len(grocery.title) > 4}
    assert not {title for title in shouted if any(len(word) > 4 and word.isalpha() for word in title.split())}


def test_a_known_product_reads_well(groceries: list[Grocery]) -> None:
    by_sku = {grocery.sku: grocery for grocery in groceries}
    cereal = by_sku["1000050"]
    assert (cereal.title, cereal.brand, cereal.size) == ("Kids Cereal 14.5 oz", "National", "14.5 oz")
    assert cereal.path == ("Grocery", "Cold Cereal", "Kids Cereal")
    salsa = by_sku["1000128"]
    assert (salsa.title, salsa.brand) == ("Salads: Salsa/Dips-Prepack 16 oz", "Private")
    assert salsa.path == ("Deli", "Salads/Dips", "Salads: Salsa/Dips-Prepack")


def test_the_panel_holds_75_000_lines_in_47_243_baskets() -> None:
    sold = list(sales())
    assert len(sold) == 75_000
    assert len({sale.basket_id for sale in sold}) == 47_243
    assert max(sale.quantity for sale in sold) == 32_623
