"""The catalogue's rules, without a database."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument
from mercato.ids import uuid7
from mercato.money import Money
from services.product import search
from services.product.domain import (
    Archived,
    Availability,
    Category,
    CategoryCycle,
    Created,
    PriceRequired,
    Product,
    ProductArchived,
    Repriced,
    Shelf,
    State,
    Updated,
    Variant,
    keep_ids,
    latest,
    tell,
    trees,
)
from services.product.rows import BadRow, Batch, Report, Row

CENT = Money(1, "USD")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_variant(sku: str = "milk", cents: int | None = 199) -> Variant:
    return Variant(uuid7(), sku, price=None if cents is None else Money(cents, "USD"))


def a_product(*variants: Variant, state: State = State.ACTIVE) -> Product:
    return Product(uuid7(), "Milk", state=state, variants=variants or (a_variant(),))


def a_row(sku: str = "milk", cents: int | None = 199, title: str = "Milk", state: State | None = None) -> Row:
    price = None if cents is None else Money(cents, "USD")
    return Row(1, sku, title, "", "", (), "", "", price, {}, state, sku.encode())


@pytest.mark.parametrize(
    ("units", "said"),
    [
        (None, Availability.OUT_OF_STOCK),
        (0, Availability.OUT_OF_STOCK),
        (-1, Availability.OUT_OF_STOCK),
        (1, Availability.LOW),
        (5, Availability.LOW),
        (6, Availability.IN_STOCK),
    ],
)
def test_five_units_are_few(units: int | None, said: Availability) -> None:
    assert Availability.of(units) is said


@pytest.mark.parametrize("variants", [(), (a_variant(cents=None),), (a_variant("a"), a_variant("b", None))])
def test_nothing_is_on_sale_without_a_price_on_every_variant(variants: tuple[Variant, ...]) -> None:
    draft = Product(uuid7(), "Milk", variants=variants).check()
    with pytest.raises(PriceRequired):
        draft.change({"state": State.ACTIVE})


@pytest.mark.parametrize(
    ("before", "after"),
    [(State.ACTIVE, State.DRAFT), (State.ACTIVE, State.ARCHIVED), (State.DRAFT, State.ARCHIVED)],
)
def test_an_update_only_ever_puts_on_sale(before: State, after: State) -> None:
    with pytest.raises(InvalidArgument):
        a_product(state=before).change({"state": after})


def test_an_archived_product_does_not_change() -> None:
    with pytest.raises(ProductArchived):
        a_product().archive().change({"title": "Other"})


def test_a_sku_stands_once_in_a_product() -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_product(a_variant("a"), a_variant("b"), a_variant("a")).check()
    assert refused.value.fields[0].field == "product.variants[2].sku"


def test_variants_keep_their_ids_by_sku() -> None:
    old, new = a_variant("a"), a_variant("a", 250)
    other = a_variant("b")
    assert [each.id for each in keep_ids([other, new], [old])] == [other.id, old.id]


def test_what_is_told_follows_from_what_changed() -> None:
    product = a_product(a_variant("a"), a_variant("b"))
    first, second = product.variants
    dearer = replace(product, variants=(replace(first, price=CENT), second))

    def told(after: Product) -> list[object]:
        return [each.happening for each in tell(product, after)[1]]

    assert [each.happening for each in tell(None, product)[1]] == [Created()]
    assert told(product) == []
    assert told(replace(product, title="Other")) == [Updated()]
    assert told(dearer) == [Repriced("a", first.price, CENT)]
    assert told(replace(dearer, title="Other")) == [Updated(), Repriced("a", first.price, CENT)]
    assert told(replace(product, variants=(first,))) == [Updated()]
    assert told(replace(product, variants=(second, first))) == [Updated()]
    assert told(product.archive()) == [Archived()]


def test_every_event_of_a_product_has_its_own_number() -> None:
    product = a_product(a_variant("a"), a_variant("b"))
    variants = tuple(replace(each, price=CENT) for each in product.variants)
    counted, told = tell(product, replace(product, title="Other", variants=variants))
    assert [each.number for each in told] == [2, 3, 4]
    assert (counted.version, counted.events) == (2, 4)
    again, later = tell(counted, counted.archive())
    assert ([each.number for each in later], again.version) == ([5], 3)


def test_availability_is_no_change() -> None:
    product = a_product()
    [variant] = product.variants
    assert not tell(product, replace(product, variants=(replace(variant, availability=Availability.LOW),)))[1]


def test_a_category_cannot_move_below_itself() -> None:
    top = Category.under(None, "Top")
    middle = Category.under(top, "Middle")
    bottom = Category.under(middle, "Bottom")
    for parent in (top, middle, bottom):
        with pytest.raises(CategoryCycle):
            top.moved(parent, "Top")
    assert bottom.moved(top, "Bottom").path == ("Top", "Bottom")
    assert bottom.moved(None, "Free").path == ("Free",)


def test_the_tree_has_a_bottom() -> None:
    category = Category.under(None, "1")
    for name in "23456789":
        category = Category.under(category, name)
    deepest = Category.under(category, "10")
    with pytest.raises(InvalidArgument):
        Category.under(deepest, "11")


def test_products_count_in_every_category_above() -> None:
    top = Category.under(None, "Top")
    left, right = Category.under(top, "A"), Category.under(top, "B")
    [node] = trees([(top, 1), (left, 2), (right, 4)], [top.id])
    assert node.product_count == 7
    assert [(child.category.name, child.product_count) for child in node.children] == [("A", 2), ("B", 4)]
    assert [each.product_count for each in trees([(right, 4)], [right.id, uuid7()])] == [4]


# Rows


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": "no blanks"}, "sku"),
        ({"sku": "x" * 65}, "sku"),
        ({"title": "  "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"description": "x" * 10_001}, "description"),
        ({"brand": "x" * 101}, "brand"),
        ({"size": "x" * 51}, "size"),
        ({"barcode": "12a"}, "barcode"),
        ({"path": ("Dairy", " ")}, "categoryPath[1]"),
        ({"path": ("x" * 101,)}, "categoryPath[0]"),
        ({"path": tuple("abcdefghijk")}, "categoryPath"),
        ({"attributes": {"": "x"}}, "attributes"),
        ({"attributes": {"x": "y" * 501}}, "attributes[x]"),
        ({"attributes": {str(number): "" for number in range(51)}}, "attributes"),
    ],
)
def test_a_bad_row_names_the_field_at_fault(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_row()._replace(**change).check()  # type: ignore[arg-type]  # every name is a field of Row
    assert refused.value.fields[0].field == field


def test_a_row_without_a_price_is_a_draft() -> None:
    batch = Batch([], NOW)
    batch.take(a_row(cents=None), None)
    batch.take(a_row("rye"), None)
    batch.take(a_row("oat", state=State.DRAFT), None)
    assert [each.state for each in latest(batch.told)] == [State.DRAFT, State.ACTIVE, State.DRAFT]


def test_the_second_row_of_a_sku_sees_the_first() -> None:
    batch = Batch([], NOW)
    batch.take(a_row(cents=100), None)
    batch.take(a_row(cents=100), None)
    batch.take(a_row(cents=200), None)
    assert (batch.report.created, batch.report.unchanged, batch.report.updated) == (1, 1, 1)
    assert [each.number for each in batch.told] == [1, 2]
    [product] = latest(batch.told)
    assert product.prices == [200]


def test_a_row_changes_its_own_variant_alone() -> None:
    product = a_product(a_variant("a", 100), a_variant("b", 200))
    batch = Batch([product], NOW)
    batch.take(a_row("b", 300), None)
    assert [each.prices for each in latest(batch.told)] == [[100, 300]]
    assert [each.happening for each in batch.told] == [Repriced("b", Money(200, "USD"), Money(300, "USD"))]


def test_a_renamed_category_does_not_make_rows_differ() -> None:
    shelf = Shelf(uuid7(), ("Dairy",))
    batch = Batch([replace(a_product(), shelf=shelf)], NOW)
    batch.take(a_row(), Shelf(shelf.id, ("Milk & Cheese",)))
    assert batch.report.unchanged == 1


@pytest.mark.parametrize(
    ("product", "row", "reason"),
    [
        (a_product(), a_row(cents=None), "PRICE_REQUIRED"),
        (a_product(), a_row(state=State.DRAFT), "NOT_CHANGEABLE"),
        (a_product().archive(), a_row(), "PRODUCT_ARCHIVED"),
    ],
)
def test_a_row_that_cannot_be_done_is_told_and_changes_nothing(product: Product, row: Row, reason: str) -> None:
    batch = Batch([product], NOW)
    batch.take(row, None)
    assert (latest(batch.told), batch.told, batch.report.failed) == ([], [], 1)
    assert batch.report.bad[0].reason == reason


def test_a_report_counts_all_bad_rows_and_tells_of_a_hundred() -> None:
    total, part = Report(), Report()
    part.refuse(BadRow(line, "", "", "", "") for line in range(250))
    for _ in range(2):
        total.add(part)
    assert (total.failed, len(total.bad)) == (500, 100)


# Searches


@pytest.mark.parametrize(
    ("typed", "meant", "errors"),
    [("mlik", "milk", 1), ("yogrt", "yogurt", 1), ("milc", "milk", 1), ("millk", "milk", 1), ("cho", "chocolate", 0)],
)
def test_typing_errors_are_counted_as_people_make_them(typed: str, meant: str, errors: int) -> None:
    assert search.distance(typed, meant) == errors


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_no_word_is_further_from_another_than_its_length(typed: str, meant: str) -> None:
    assert 0 <= search.distance(typed, meant) <= len(typed)
    assert search.distance(typed, typed + meant) == 0


def test_only_the_closest_words_are_meant() -> None:
    assert search.nearest("mlik", ["milk", "mills", "link"]) == ["milk"]
    assert search.nearest("chip", ["chip", "chips", "ship"]) == ["chip", "chips"]
    assert search.nearest("ab", ["ac"]) == []
    assert search.nearest("zzzzzz", ["milk"]) == []


def test_a_search_is_for_words_whatever_stands_between_them() -> None:
    assert search.terms("  Milk & (milk) | !Rye:* 'oat' \0 <-> ") == ["milk", "rye", "oat"]
    assert search.terms("&|!") == []
    assert len(search.terms(" ".join(f"w{number}" for number in range(50)))) == search.MOST_WORDS
    assert search.beginnings(["milk", "rye"]) == "milk:* & rye:*"
    assert search.meanings(["mlik", "qqqq"], {"mlik": ["milk"]}) == ["(milk)", "(milk)"]
    assert search.meanings(["qqqq"], {}) == []
