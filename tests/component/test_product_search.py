"""Lists, searches and imports of the product service, among some hundred products of its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from mercato.api.product.v1 import product_pb2 as pb
from mercato.errors import InvalidArgument, InvalidPageToken
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import all_at_once
from services.product.domain import Level, SkuTaken
from tests.component.product_shop import Shop, a_name, a_product, a_row, a_sku, a_variant, an_id, opened, usd

FRUITS = ("Apple", "Banana", "Cherry", "Strawberry", "Crème Fraîche")


@pytest.fixture(scope="module")
def shop(product_database: Database) -> Iterator[Shop]:
    with opened(product_database) as shop:
        yield shop


class Market:
    """Two hundred products in a department of their own: fruits in forms, two prices each, some in stock."""

    def __init__(self, shop: Shop) -> None:
        self.name = a_name("Market")
        rows = [
            a_row(
                cents=100 + 7 * (number % 40),
                title=f"{FRUITS[number % 5]} {form}",
                brand=("Northern", "Southern")[number % 2],
                category_path=[self.name, FRUITS[number % 5]],
            )
            for number, form in enumerate(f"Form {number:03}" for number in range(200))
        ]
        report = shop.bring(rows[:120], rows[120:])
        assert report.created == 200
        self.skus = [row.sku for row in rows]
        shop.stock(*(Level(sku, "north", 9, 1) for sku in self.skus[:50]))
        tree = next(
            each
            for each in shop.anybody.ListCategories(pb.ListCategoriesRequest(page_size=200)).categories
            if each.name == self.name
        )
        self.category = tree.id
        self.below = {child.name: child.id for child in tree.children}


@pytest.fixture(scope="module")
def market(shop: Shop) -> Market:
    return Market(shop)


# Lists


@pytest.mark.parametrize(
    ("order_by", "key", "backwards"),
    [
        ("", lambda each: each.title.lower(), False),
        ("name", lambda each: each.title.lower(), False),
        ("price", lambda each: each.variants[0].price.units * 10**9 + each.variants[0].price.nanos, False),
        ("price desc", lambda each: each.variants[0].price.units * 10**9 + each.variants[0].price.nanos, True),
        ("createTime desc", lambda each: each.create_time.ToNanoseconds(), True),
    ],
)
@pytest.mark.parametrize("page_size", [7, 200])
def test_every_order_pages_through_all_once(
    shop: Shop, market: Market, order_by: str, key: Any, backwards: bool, page_size: int
) -> None:
    listed = shop.listed(category=market.category, order_by=order_by, page_size=page_size)
    assert sorted(each.variants[0].sku for each in listed) == sorted(market.skus)
    assert [key(each) for each in listed] == sorted(map(key, listed), reverse=backwards)


def test_a_category_includes_what_is_below_it(shop: Shop, market: Market) -> None:
    apples = shop.listed(category=market.below["Apple"], page_size=200)
    assert len(apples) == 40
    assert {each.title.split()[0] for each in apples} == {"Apple"}
    assert shop.listed(category=an_id()) == []


def test_filters_narrow_together(shop: Shop, market: Market) -> None:
    def skus(**values: Any) -> set[str]:
        return {each.variants[0].sku for each in shop.listed(category=market.category, page_size=200, **values)}

    assert len(skus(brand="Northern")) == 100
    assert skus(in_stock=True) == set(market.skus[:50])
    assert skus(in_stock=False) == set(market.skus[50:])
    assert skus(brand="Northern", in_stock=True) == set(market.skus[:50:2])
    cheap = {sku for number, sku in enumerate(market.skus) if 107 <= 100 + 7 * (number % 40) <= 121}
    assert skus(min_price="1.07", max_price="1.21") == cheap
    assert skus(min_price="3.74") == set()
    assert skus(max_price="0.99") == set()
    assert skus(brand="nobody") == set()


def test_a_price_range_is_about_one_variant(shop: Shop) -> None:
    brand = a_name("Brand")
    shop.create(a_product(a_variant(cents=100), a_variant(cents=900), brand=brand))
    assert len(shop.listed(brand=brand, min_price="1", max_price="1")) == 1
    assert len(shop.listed(brand=brand, min_price="2", max_price="8")) == 0
    assert len(shop.listed(brand=brand, min_price="9.00")) == 1


def test_a_page_token_belongs_to_its_query(shop: Shop, market: Market) -> None:
    first = shop.anybody.ListProducts(pb.ListProductsRequest(category=market.category, page_size=2))
    token = first.next_page_token
    for request in (
        pb.ListProductsRequest(page_token=token),
        pb.ListProductsRequest(category=market.category, brand="Northern", page_token=token),
        pb.ListProductsRequest(category=market.category, order_by="price", page_token=token),
        pb.ListProductsRequest(category=market.category, page_token=f"{token[:-2]}xx"),
    ):
        with pytest.raises(InvalidPageToken):
            shop.anybody.ListProducts(request)
    bigger = pb.ListProductsRequest(category=market.category, page_size=5, page_token=token)
    assert len(shop.customer.ListProducts(bigger).products) == 5


def test_the_longest_title_fits_into_a_page_token(shop: Shop) -> None:
    brand = a_name("Brand")
    for _ in range(3):
        shop.create(a_product(title="\N{GRINNING FACE}" * 200, brand=brand))
    assert len(shop.listed(brand=brand, page_size=1)) == 3


def test_a_page_has_twenty_products_and_never_more_than_two_hundred(shop: Shop, market: Market) -> None:
    assert len(shop.anybody.ListProducts(pb.ListProductsRequest()).products) == 20
    assert len(shop.anybody.ListProducts(pb.ListProductsRequest(page_size=1000)).products) == 200
    with pytest.raises(InvalidArgument):
        shop.anybody.ListProducts(pb.ListProductsRequest(page_size=-1))
    with pytest.raises(InvalidArgument):
        shop.anybody.ListProducts(pb.ListProductsRequest(order_by="colour"))
    with pytest.raises(InvalidArgument):
        shop.anybody.ListProducts(pb.ListProductsRequest(min_price="1.999"))


# Searches


@pytest.mark.parametrize(
    ("q", "fruit"),
    [
        ("strawberry", "Strawberry"),
        ("STRAWBERRIES", "Strawberry"),
        ("straw", "Strawberry"),
        ("strawbery", "Strawberry"),
        ("starwberry", "Strawberry"),
        ("banan", "Banana"),
        ("bannana", "Banana"),
        ("chrery", "Cherry"),
        ("creme fraiche", "Crème Fraîche"),
        ("crème", "Crème Fraîche"),
        ("form/banana", "Banana"),
    ],
)
def test_words_are_found_as_people_type_them(shop: Shop, market: Market, q: str, fruit: str) -> None:
    found = shop.search(q, category=market.category, page_size=200)
    assert len(found) == 40
    assert {each.title.partition(" Form")[0] for each in found} == {fruit}


def test_the_word_that_was_typed_comes_before_longer_ones(shop: Shop) -> None:
    longer = shop.create(a_product(title="Hamzwiebelburger"))
    exact = shop.create(a_product(title="Hamzwiebel with much else in a long title"))
    assert [each.id for each in shop.search("hamzwiebel")] == [exact.id, longer.id]


def test_all_words_are_better_than_one(shop: Shop, market: Market) -> None:
    assert [each.title for each in shop.search("banana 001")] == ["Banana Form 001"]
    found = shop.search("banana qqqqqqqq", category=market.category, page_size=200)
    assert {each.title.split()[0] for each in found} == {"Banana"}


@pytest.mark.parametrize("q", ["qqqqqqqq", "&|!():*", "\N{GRINNING FACE}", "' or 1=1 --qqqq", "a\0b" * 3])
def test_what_nobody_sells_is_not_found(shop: Shop, market: Market, q: str) -> None:
    reply = shop.anybody.SearchProducts(pb.SearchProductsRequest(q=q, brand=a_name("nobody")))
    assert (list(reply.products), reply.next_page_token) == ([], "")


def test_a_product_is_found_by_brand_category_and_sku(shop: Shop) -> None:
    word, brand = f"x{a_sku()}", f"y{a_sku()}"
    category = shop.category(word)
    product = shop.create(a_product(a_variant(barcode="98765432101"), brand=brand, category_id=category.id))
    for q in (word, brand, product.variants[0].sku, "98765432101"):
        assert [each.id for each in shop.search(q)] == [product.id]


@pytest.mark.parametrize("order_by", ["", "name", "price", "price desc", "createTime desc"])
def test_a_search_pages_through_all_matches_once(shop: Shop, market: Market, order_by: str) -> None:
    found = shop.search("form", category=market.category, order_by=order_by, page_size=33)
    assert sorted(each.variants[0].sku for each in found) == sorted(market.skus)


def test_facets_say_how_all_matches_spread(shop: Shop, market: Market) -> None:
    request = pb.SearchProductsRequest(q="form", category=market.category, page_size=5)
    facets = shop.anybody.SearchProducts(request).facets
    assert {(each.value, each.label, each.count) for each in facets.category} == {
        (id_, name, 40) for name, id_ in market.below.items()
    }
    assert sorted((each.value, each.count) for each in facets.brand) == [("Northern", 100), ("Southern", 100)]
    prices = [100 + 7 * (number % 40) for number in range(200)]
    bands = {"1.00-2.00": (100, 200), "2.00-5.00": (200, 500)}
    assert {each.value: each.count for each in facets.price} == {
        band: sum(low <= price < high for price in prices) for band, (low, high) in bands.items()
    }
    request.brand = "Northern"
    narrowed = shop.anybody.SearchProducts(request).facets
    assert [(each.value, each.count) for each in narrowed.brand] == [("Northern", 100)]


def test_drafts_are_searched_by_staff_that_ask(shop: Shop) -> None:
    word = f"z{a_sku()}"
    draft = shop.create(a_product(title=word, state=pb.Product.DRAFT))
    assert shop.search(word) == []
    assert [each.id for each in shop.search(word, shop.support, state=pb.Product.DRAFT)] == [draft.id]


# Imports


def test_an_import_makes_products_and_categories(shop: Shop) -> None:
    top = a_name("Dairy")
    priced = a_row(
        cents=349,
        brand="Local",
        size="1 gal",
        barcode="123",
        category_path=[top, "Milk"],
        attributes={"manufacturer": "69"},
    )
    draft = a_row(cents=None, category_path=[top])
    assert shop.bring([priced, draft]) == pb.ImportProductsResponse(created=2)
    [product] = shop.search(priced.sku)
    assert (product.title, product.brand, list(product.category_path)) == ("Milk", "Local", [top, "Milk"])
    assert (dict(product.attributes), product.state) == ({"manufacturer": "69"}, pb.Product.ACTIVE)
    [variant] = product.variants
    assert (variant.sku, variant.size, variant.barcode, variant.price) == (priced.sku, "1 gal", "123", usd(349))
    [undone] = shop.search(draft.sku, shop.support, state=pb.Product.DRAFT)
    assert list(undone.category_path) == [top]


def test_the_same_rows_again_change_nothing_and_tell_nothing(shop: Shop) -> None:
    top = a_name()
    rows = [a_row(line=line, title=f"Thing {line}", category_path=[top, str(line % 7)]) for line in range(300)]
    assert shop.bring(rows[:200], rows[200:]) == pb.ImportProductsResponse(created=300)
    before = {table: shop.count(table) for table in ("product", "variant", "category", "outbox")}
    assert shop.bring(rows[:50], rows[50:]) == pb.ImportProductsResponse(unchanged=300)
    assert {table: shop.count(table) for table in before} == before


def test_an_import_changes_what_differs(shop: Shop) -> None:
    same, dearer, renamed = a_row(), a_row(), a_row()
    shop.bring([same, dearer, renamed])
    dearer.price.CopyFrom(usd(250))
    renamed.title = "Oat Milk"
    new = a_row()
    assert shop.bring([same, dearer, renamed, new]) == pb.ImportProductsResponse(created=1, updated=2, unchanged=1)
    [product] = shop.search(dearer.sku)
    assert (product.variants[0].price, product.etag) == (usd(250), "2")
    assert [type(event).__name__ for _, event in shop.told(product.id)] == ["ProductCreated", "PriceChanged"]
    [other] = shop.search(renamed.sku)
    assert [type(event).__name__ for _, event in shop.told(other.id)] == ["ProductCreated", "ProductUpdated"]


def test_an_import_keeps_the_other_variants(shop: Shop) -> None:
    product = shop.create(a_product(a_variant(cents=100), a_variant(cents=200, title="Large")))
    row = a_row(product.variants[1].sku, 300)
    assert shop.bring([row]).updated == 1
    changed = shop.get(product.id)
    assert [each.id for each in changed.variants] == [each.id for each in product.variants]
    assert [each.price for each in changed.variants] == [usd(100), usd(300)]
    assert changed.variants[1].title == "Large"


def test_a_row_twice_in_a_stream_counts_twice(shop: Shop) -> None:
    row = a_row()
    report = shop.bring([row, row], [row])
    assert report == pb.ImportProductsResponse(created=1, unchanged=2)


def test_good_rows_land_and_bad_ones_are_told(shop: Shop) -> None:
    good, archived = a_row(line=1), shop.archive(shop.create(a_product()))
    euros = a_row(line=4)
    euros.price.currency_code = "EUR"
    bad = [
        a_row("no blanks", line=2),
        a_row(line=3, title=" "),
        euros,
        a_row(line=5, cents=0),
        a_row(archived.variants[0].sku, line=6),
        a_row(line=7, state=pb.Product.ARCHIVED),
        a_row(line=8, cents=None, state=pb.Product.ACTIVE),
        a_row(line=9, title="nul\0"),
    ]
    report = shop.bring([good, *bad])
    assert (report.created, report.failed) == (1, 8)
    told = [(each.line, each.field, each.reason) for each in sorted(report.errors, key=lambda each: each.line)]
    assert told == [
        (2, "sku", "STRING_PATTERN"),
        (3, "title", "REQUIRED"),
        (4, "price.currencyCode", "CURRENCY"),
        (5, "price", "RANGE"),
        (6, "sku", "PRODUCT_ARCHIVED"),
        (7, "state", "ENUM"),
        (8, "price", "PRICE_REQUIRED"),
        (9, "title", "CHARACTERS"),
    ]
    assert all(each.message for each in report.errors)
    assert len(shop.search(good.sku)) == 1


def test_a_hundred_bad_rows_are_told_of_a_thousand(shop: Shop) -> None:
    report = shop.bring([a_row("no blanks", line=line) for line in range(700)])
    assert (report.failed, len(report.errors)) == (700, 100)
    assert [each.line for each in report.errors] == list(range(100))


def test_an_empty_import_is_one(shop: Shop) -> None:
    assert shop.bring() == pb.ImportProductsResponse()
    assert shop.bring([]) == pb.ImportProductsResponse()


def test_a_message_takes_a_thousand_rows(shop: Shop) -> None:
    with pytest.raises(InvalidArgument):
        shop.bring([pb.ImportRow(sku="x")] * 1001)


def test_two_imports_of_the_same_rows_at_once_make_each_product_once(shop: Shop) -> None:
    top = a_name()
    rows = [a_row(line=line, category_path=[top, str(line % 3)]) for line in range(60)]
    messages = [rows[start : start + 20] for start in (0, 20, 40)]
    reports = all_at_once([lambda: shop.bring(*messages), lambda: shop.bring(*reversed(messages))])
    assert all(isinstance(each, pb.ImportProductsResponse) for each in reports), reports
    made = [each for each in reports if isinstance(each, pb.ImportProductsResponse)]
    assert sum(each.created for each in made) == 60
    assert sum(each.unchanged for each in made) == 60
    assert len(shop.search(top, page_size=200)) == 60


def test_an_import_and_a_creation_with_one_sku_at_once_make_one_product(shop: Shop) -> None:
    sku = a_sku()
    brought, created = all_at_once([lambda: shop.bring([a_row(sku)]), lambda: shop.create(a_product(a_variant(sku)))])
    assert isinstance(brought, pb.ImportProductsResponse), brought
    assert brought.failed == 0
    assert brought.created == isinstance(created, SkuTaken)
    assert len(shop.search(sku)) == 1


def test_thousands_of_products_are_imported_listed_and_searched(shop: Shop) -> None:
    top, word = a_name("Depot"), f"bulk{uuid7().hex}"
    rows = [
        a_row(line=line, title=f"{word} {line}", cents=100 + line, category_path=[top, str(line % 100)])
        for line in range(3000)
    ]
    assert shop.bring(*(rows[start : start + 500] for start in range(0, 3000, 500))).created == 3000
    first = shop.anybody.SearchProducts(pb.SearchProductsRequest(q=word, order_by="price", page_size=3))
    assert [each.variants[0].price for each in first.products] == [usd(100), usd(101), usd(102)]
    assert sum(each.count for each in first.facets.price) == 3000
    assert len(first.facets.category) == 20
    [depot] = {each.category_path[0] for each in first.products}
    assert depot == top
