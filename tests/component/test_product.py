"""The product service as its callers see it: over gRPC, with its policy, on PostgreSQL."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.type.money_pb2 import Money

from gateway.problems import lower_camel
from mercato.api.inventory.v1 import inventory_events_pb2 as inventory
from mercato.api.product.v1 import product_events_pb2 as events
from mercato.api.product.v1 import product_pb2 as pb
from mercato.errors import (
    EtagMismatch,
    EtagRequired,
    IdempotencyKeyReused,
    InvalidArgument,
    MercatoError,
    NotFound,
    PermissionDenied,
)
from mercato.postgres import Database
from mercato.testing import all_at_once, at_once
from services.product import messages
from services.product.domain import (
    CategoryCycle,
    CategoryNameTaken,
    Level,
    PriceRequired,
    ProductArchived,
    SkuTaken,
    UnknownCategory,
)
from tests.component.product_shop import Shop, a_name, a_product, a_row, a_sku, a_variant, an_id, opened, usd

DRAFT, ACTIVE, ARCHIVED = pb.Product.DRAFT, pb.Product.ACTIVE, pb.Product.ARCHIVED


@pytest.fixture(scope="module")
def shop(product_database: Database) -> Iterator[Shop]:
    with opened(product_database) as shop:
        yield shop


def field_of(refused: pytest.ExceptionInfo[InvalidArgument]) -> str:
    return refused.value.fields[0].field


# Who may


@pytest.mark.parametrize("who", ["anybody", "guest", "customer", "courier", "support", "order"])
def test_only_catalog_changes_the_catalogue(shop: Shop, who: str) -> None:
    caller = getattr(shop, who)
    for call, request in (
        (caller.CreateProduct, pb.CreateProductRequest(product=a_product(), request_id=an_id())),
        (caller.UpdateProduct, pb.UpdateProductRequest(product=pb.Product(id=an_id()))),
        (caller.ArchiveProduct, pb.ArchiveProductRequest(id=an_id())),
        (caller.CreateCategory, pb.CreateCategoryRequest(category=pb.Category(name="x"))),
        (caller.UpdateCategory, pb.UpdateCategoryRequest(category=pb.Category(id=an_id()))),
        (caller.ImportProducts, iter([pb.ImportProductsRequest()])),
    ):
        with pytest.raises(MercatoError) as refused:
            call(request)
        assert refused.value.reason in ("FORBIDDEN", "UNAUTHENTICATED")


@pytest.mark.parametrize("who", ["anybody", "customer", "catalog", "operator"])
def test_offers_are_for_the_order_service(shop: Shop, who: str) -> None:
    with pytest.raises(PermissionDenied):
        getattr(shop, who).BatchGetOffers(pb.BatchGetOffersRequest(skus=["x"]))


@pytest.mark.parametrize("state", [DRAFT, ARCHIVED])
@pytest.mark.parametrize("who", ["anybody", "guest", "customer", "courier"])
def test_what_is_not_on_sale_is_for_staff_alone(shop: Shop, who: str, state: pb.Product.State.ValueType) -> None:
    product = shop.create(a_product(state=DRAFT))
    if state == ARCHIVED:
        product = shop.archive(product)
    caller = getattr(shop, who)
    with pytest.raises(NotFound):
        caller.GetProduct(pb.GetProductRequest(id=product.id))
    batch = caller.BatchGetProducts(pb.BatchGetProductsRequest(ids=[product.id]))
    assert (list(batch.products), list(batch.missing)) == ([], [product.id])
    with pytest.raises(PermissionDenied) as refused:
        caller.ListProducts(pb.ListProductsRequest(state=state))
    assert refused.value.reason == "FORBIDDEN"
    with pytest.raises(PermissionDenied):
        caller.SearchProducts(pb.SearchProductsRequest(q="milk", state=state))
    assert shop.support.GetProduct(pb.GetProductRequest(id=product.id)) == product
    assert product.id in [each.id for each in shop.listed(shop.support, state=state, page_size=200)]


def test_a_missing_product_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.get(an_id())


# Create


def test_a_product_reads_as_it_was_created(shop: Shop) -> None:
    top = shop.category(a_name("Dairy"))
    below = shop.category("Milk", top.id)
    given = a_product(
        a_variant(title="Large", size="1 gal", barcode="0123456789"),
        a_variant(cents=99),
        description="From cows.",
        brand="Local",
        category_id=below.id,
        attributes={"fat": "3.5 %", "origin": "ÉIRE"},
    )
    created = shop.create(given)
    assert (created.title, created.description, created.brand) == ("Milk", "From cows.", "Local")
    assert list(created.category_path) == [top.name, "Milk"]
    assert dict(created.attributes) == dict(given.attributes)
    assert [(each.sku, each.title, each.size, each.barcode, each.price) for each in created.variants] == [
        (each.sku, each.title, each.size, each.barcode, each.price) for each in given.variants
    ]
    assert {each.availability for each in created.variants} == {pb.OUT_OF_STOCK}
    assert (created.state, created.etag) == (ACTIVE, "1")
    assert created.create_time == created.update_time
    assert shop.anybody.GetProduct(pb.GetProductRequest(id=created.id)) == created


def test_a_new_product_is_a_draft_unless_it_says_otherwise(shop: Shop) -> None:
    assert shop.create(pb.Product(title="Milk")).state == DRAFT
    with pytest.raises(InvalidArgument) as refused:
        shop.create(a_product(state=ARCHIVED))
    assert field_of(refused) == "product.state"


@pytest.mark.parametrize("variants", [[], [a_variant("p-1", None)], [a_variant("p-2"), a_variant("p-3", None)]])
def test_nothing_goes_on_sale_without_prices(shop: Shop, variants: list[pb.Variant]) -> None:
    with pytest.raises(PriceRequired):
        shop.create(pb.Product(title="Milk", state=ACTIVE, variants=variants))


@pytest.mark.parametrize(
    ("product", "field"),
    [
        (a_product(title=" "), "product.title"),
        (a_product(title="a\0b"), "product.title"),
        (a_product(description="\0"), "product.description"),
        (a_product(attributes={"a": "\0"}), "product.attributes[a]"),
        (a_product(a_variant("twice"), a_variant("twice")), "product.variants[1].sku"),
        (a_product(pb.Variant(sku="no blanks")), "product.variants[0].sku"),
        (a_product(a_variant(cents=0)), "product.variants[0].price"),
        (a_product(a_variant(cents=-1)), "product.variants[0].price"),
        (
            a_product(pb.Variant(sku="x", price=Money(currency_code="EUR", units=1))),
            "product.variants[0].price.currencyCode",
        ),
        (a_product(pb.Variant(sku="x", price=Money(currency_code="USD", nanos=1))), "product.variants[0].price.nanos"),
        (a_product(category_id="x"), "product.categoryId"),
    ],
)
def test_a_wrong_field_is_named(shop: Shop, product: pb.Product, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        shop.create(product)
    assert field_of(refused) == field


def test_an_unknown_category_is_refused(shop: Shop) -> None:
    with pytest.raises(UnknownCategory):
        shop.create(a_product(category_id=an_id()))
    with pytest.raises(UnknownCategory):
        shop.update(shop.create(a_product()), "category_id", category_id=an_id())


def test_a_sku_belongs_to_one_product(shop: Shop) -> None:
    sku = a_sku()
    shop.create(a_product(a_variant(sku)))
    with pytest.raises(SkuTaken):
        shop.create(a_product(a_variant(sku)))
    other = shop.create(a_product())
    with pytest.raises(SkuTaken):
        shop.update(other, "variants", variants=[a_variant(sku)])
    assert shop.get(other.id) == other


def test_of_two_creations_with_one_sku_one_wins(shop: Shop) -> None:
    sku = a_sku()
    outcomes = at_once(lambda: shop.create(a_product(a_variant(sku))), times=2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Product", "SkuTaken"]


def test_a_repeated_creation_makes_one_product(shop: Shop) -> None:
    product, request_id = a_product(), an_id()
    first = shop.create(product, request_id)
    changed = shop.update(first, "title", title="Other")
    assert shop.create(product, request_id) == changed
    with pytest.raises(IdempotencyKeyReused):
        shop.create(a_product(), request_id)


def test_a_creation_sent_twice_at_once_makes_one_product(shop: Shop) -> None:
    product, request_id = a_product(), an_id()
    first, second = at_once(lambda: shop.create(product, request_id), times=2)
    assert first == second
    assert len(shop.told(first.id)) == 1  # type: ignore[union-attr]  # both were answered


def test_a_refused_creation_does_not_use_its_key_up(shop: Shop) -> None:
    product, request_id = a_product(category_id=an_id()), an_id()
    with pytest.raises(UnknownCategory):
        shop.create(product, request_id)
    with pytest.raises(UnknownCategory):
        shop.create(product, request_id)


# Update


def test_an_update_changes_the_fields_of_the_mask_alone(shop: Shop) -> None:
    product = shop.create(a_product(description="Old", brand="Local", attributes={"a": "1"}))
    updated = shop.update(product, "description", "attributes", "brand", title="Ignored", description="New")
    assert (updated.title, updated.description, updated.brand) == ("Milk", "New", "")
    assert (dict(updated.attributes), updated.variants) == ({}, product.variants)
    assert (updated.etag, updated.create_time) == ("2", product.create_time)
    assert updated.update_time.ToDatetime() > product.update_time.ToDatetime()


def test_without_a_mask_the_fields_that_are_set_are_meant(shop: Shop) -> None:
    product = shop.create(a_product(description="Old", brand="Local"))
    updated = shop.update(product, title="New", brand="Mine")
    assert (updated.title, updated.description, updated.brand) == ("New", "Old", "Mine")


def test_what_was_read_may_be_sent_back_whole(shop: Shop) -> None:
    product = shop.create(a_product(attributes={"a": "1"}))
    assert shop.catalog.UpdateProduct(pb.UpdateProductRequest(product=product)) == product
    assert len(shop.told(product.id)) == 1


@pytest.mark.parametrize(
    "name", ["id", "etag", "category_path", "create_time", "update_time", "variants.price", "colour"]
)
def test_a_mask_names_what_may_be_changed(shop: Shop, name: str) -> None:
    product = shop.create(a_product())
    with pytest.raises(InvalidArgument) as refused:
        shop.update(product, name)
    assert field_of(refused) == "updateMask"
    assert refused.value.message.startswith(f"updateMask: {lower_camel(name)} ")


def test_an_update_needs_the_version_that_it_is_based_on(shop: Shop) -> None:
    product = shop.create(a_product())
    with pytest.raises(EtagRequired):
        shop.update(pb.Product(id=product.id), "title", title="New")
    shop.update(product, "title", title="New")
    with pytest.raises(EtagMismatch):
        shop.update(product, "title", title="Newer")
    with pytest.raises(NotFound):
        shop.update(pb.Product(id=an_id(), etag="1"), "title", title="New")
    with pytest.raises(InvalidArgument):
        shop.update(pb.Product(id="x", etag="1"), "title", title="New")


def test_of_two_updates_of_one_version_one_wins(shop: Shop) -> None:
    product = shop.create(a_product())
    outcomes = at_once(lambda: shop.update(product, "title", title="New"), times=2)
    assert sorted(type(each).__name__ for each in outcomes) == ["EtagMismatch", "Product"]


def test_variants_are_replaced_whole_and_keep_their_ids_by_sku(shop: Shop) -> None:
    kept, gone, new = a_variant(), a_variant(), a_variant(cents=500)
    product = shop.create(a_product(kept, gone))
    dearer = a_variant(kept.sku, 250, size="1 l")
    updated = shop.update(product, "variants", variants=[new, dearer])
    assert [each.sku for each in updated.variants] == [new.sku, kept.sku]
    assert updated.variants[1].id == product.variants[0].id
    assert (updated.variants[1].price, updated.variants[1].size) == (usd(250), "1 l")
    shop.create(a_product(a_variant(gone.sku)))  # it is free again


def test_what_is_on_sale_keeps_its_prices(shop: Shop) -> None:
    product = shop.create(a_product())
    for variants in ([], [a_variant(cents=None)]):
        with pytest.raises(PriceRequired):
            shop.update(product, "variants", variants=variants)


def test_a_draft_goes_on_sale_and_nothing_else_happens_by_a_mask(shop: Shop) -> None:
    draft = shop.create(a_product(a_variant(cents=None), state=DRAFT))
    with pytest.raises(PriceRequired):
        shop.update(draft, "state", state=ACTIVE)
    on_sale = shop.update(draft, "state", "variants", state=ACTIVE, variants=[a_variant(draft.variants[0].sku)])
    assert on_sale.state == ACTIVE
    for state in (DRAFT, ARCHIVED, pb.Product.STATE_UNSPECIFIED):
        with pytest.raises(InvalidArgument) as refused:
            shop.update(on_sale, "state", state=state)
        assert field_of(refused) == "product.state"


def test_an_archived_product_stays_as_it_is(shop: Shop) -> None:
    product = shop.create(a_product())
    archived = shop.archive(product, etag=product.etag)
    assert archived.state == ARCHIVED
    assert shop.archive(archived) == archived
    with pytest.raises(ProductArchived):
        shop.update(archived, "title", title="New")
    assert [type(event).__name__ for _, event in shop.told(product.id)] == ["ProductCreated", "ProductArchived"]
    assert shop.order.BatchGetOffers(pb.BatchGetOffersRequest(skus=[product.variants[0].sku])).offers == []


def test_archiving_takes_a_version_if_one_is_named(shop: Shop) -> None:
    product = shop.create(a_product())
    with pytest.raises(EtagMismatch):
        shop.archive(product, etag="7")
    with pytest.raises(NotFound):
        shop.archive(pb.Product(id=an_id()))
    request_id = an_id()
    first = shop.archive(product, request_id=request_id)
    assert shop.archive(product, request_id=request_id) == first


# Events


def test_events_tell_what_changed_and_are_numbered(shop: Shop) -> None:
    category = shop.category(a_name())
    first, second = a_variant(cents=100), a_variant(cents=200)
    product = shop.create(a_product(first, second, category_id=category.id, brand="Local"))
    cheaper = [a_variant(first.sku, 90), a_variant(second.sku, 180)]
    product = shop.update(product, "variants", variants=cheaper)
    product = shop.update(product, "title", "variants", title="Oat", variants=[a_variant(first.sku, 80)])
    shop.archive(product)
    told = shop.told(product.id)
    assert [number for number, _ in told] == [1, 2, 3, 4, 5, 6]
    created, cut, cut_too, updated, again, archived = (event for _, event in told)
    assert isinstance(created, events.ProductCreated)
    assert (created.title, created.brand, list(created.category_path)) == ("Milk", "Local", [category.name])
    assert (created.state, [each.price for each in created.variants]) == ("ACTIVE", [usd(100), usd(200)])
    assert cut == events.PriceChanged(product_id=product.id, sku=first.sku, old_price=usd(100), new_price=usd(90))
    assert cut_too == events.PriceChanged(product_id=product.id, sku=second.sku, old_price=usd(200), new_price=usd(180))
    assert isinstance(updated, events.ProductUpdated)
    assert (updated.title, len(updated.variants)) == ("Oat", 1)
    assert again == events.PriceChanged(product_id=product.id, sku=first.sku, old_price=usd(90), new_price=usd(80))
    assert archived == events.ProductArchived(product_id=product.id, skus=[first.sku])


def test_a_first_price_has_no_older_one(shop: Shop) -> None:
    draft = shop.create(a_product(a_variant(cents=None), state=DRAFT))
    sku = draft.variants[0].sku
    shop.update(draft, "variants", variants=[a_variant(sku, 100)])
    _, (_, event) = shop.told(draft.id)
    assert event == events.PriceChanged(product_id=draft.id, sku=sku, new_price=usd(100))


# Many at once


def test_products_come_in_the_order_they_were_asked_for(shop: Shop) -> None:
    products = [shop.create(a_product()) for _ in range(3)]
    ids, missing = [each.id for each in reversed(products)], an_id()
    batch = shop.anybody.BatchGetProducts(pb.BatchGetProductsRequest(ids=[*ids, missing, missing]))
    assert [each.id for each in batch.products] == ids
    assert list(batch.missing) == [missing]


def test_offers_are_what_can_be_bought(shop: Shop) -> None:
    plain, sized = a_variant(cents=100), a_variant(cents=250, title="Large")
    product = shop.create(a_product(plain, sized, title="Oat Milk"))
    draft = shop.create(a_product(state=DRAFT))
    shop.stock(Level(sized.sku, "north", 3, 1))
    skus = [plain.sku, sized.sku, draft.variants[0].sku, "nothing"]
    offers = {each.sku: each for each in shop.order.BatchGetOffers(pb.BatchGetOffersRequest(skus=skus)).offers}
    assert offers == {
        plain.sku: pb.Offer(
            sku=plain.sku, product_id=product.id, title="Oat Milk", unit_price=usd(100), availability=pb.OUT_OF_STOCK
        ),
        sized.sku: pb.Offer(
            sku=sized.sku, product_id=product.id, title="Oat Milk Large", unit_price=usd(250), availability=pb.LOW
        ),
    }


# Availability


def availability(shop: Shop, product: pb.Product) -> str:
    shown = shop.anybody.GetProduct(pb.GetProductRequest(id=product.id))
    return pb.Availability.Name(shown.variants[0].availability)


def test_the_best_warehouse_says_how_much_there_is(shop: Shop) -> None:
    product = shop.create(a_product())
    sku = product.variants[0].sku
    assert availability(shop, product) == "OUT_OF_STOCK"
    shop.stock(Level(sku, "north", 0, 1), Level(sku, "south", 5, 1))
    assert availability(shop, product) == "LOW"
    shop.stock(Level(sku, "north", 6, 2))
    assert availability(shop, product) == "IN_STOCK"
    shop.stock(Level(sku, "north", 0, 3), Level(sku, "south", 0, 2))
    assert availability(shop, product) == "OUT_OF_STOCK"
    assert shop.get(product.id).etag == product.etag


def test_an_older_level_changes_nothing(shop: Shop) -> None:
    product = shop.create(a_product())
    sku = product.variants[0].sku
    shop.stock(Level(sku, "north", 9, 4))
    for late in (1, 3, 4):
        shop.stock(Level(sku, "north", 0, late))
    shop.stock(Level(sku, "north", 0, 2), Level(sku, "north", 9, 5), Level(sku, "north", 0, 3))
    assert availability(shop, product) == "IN_STOCK"


def test_stock_may_be_known_before_its_product(shop: Shop) -> None:
    sku = a_sku()
    shop.stock(Level(sku, "north", 50, 1))
    assert availability(shop, shop.create(a_product(a_variant(sku)))) == "IN_STOCK"


def test_levels_of_the_same_skus_come_in_any_order_at_once(shop: Shop) -> None:
    skus = [a_sku() for _ in range(20)]
    levels = [Level(sku, "north", 9, number) for number, sku in enumerate(skus, start=1)]
    acts: list[Any] = [lambda: shop.stock(*levels), lambda: shop.stock(*reversed(levels))] * 4
    assert all_at_once(acts) == [None] * 8


def test_what_the_shop_says_of_a_sku_is_told_when_it_changes(shop: Shop) -> None:
    sku = shop.create(a_product()).variants[0].sku
    for number, (warehouse, units) in enumerate(
        [("north", 9), ("north", 8), ("north", 5), ("south", 7), ("south", 0), ("north", 0), ("north", 0)], start=1
    ):
        shop.stock(Level(sku, warehouse, units, number))
    said = [event.availability for _, event in shop.told(sku)]
    assert said == ["IN_STOCK", "LOW", "IN_STOCK", "LOW", "OUT_OF_STOCK"]
    versions = [version for version, _ in shop.told(sku)]
    assert versions == sorted(set(versions))


def test_nobody_is_told_of_a_sku_that_is_not_sold_until_it_is(shop: Shop) -> None:
    sku = a_sku()
    shop.stock(Level(sku, "north", 5, 1))
    assert shop.told(sku) == []
    made = shop.create(a_product(a_variant(sku)))
    brought = found_by_import(shop, stocked := a_sku())
    assert [each.variants[0].availability for each in (made, brought)] == [
        pb.Availability.LOW,
        pb.Availability.IN_STOCK,
    ]
    for product, said in ((made, "LOW"), (brought, "IN_STOCK")):
        ((_, event),) = shop.told(product.id)
        assert [each.availability for each in event.variants] == [said]
    shop.stock(Level(sku, "north", 0, 2), Level(stocked, "north", 0, 2))
    assert [[event.availability for _, event in shop.told(each)] for each in (sku, stocked)] == [["OUT_OF_STOCK"]] * 2


def found_by_import(shop: Shop, sku: str) -> pb.Product:
    """A product that an import made of a SKU of which there was plenty."""
    shop.stock(Level(sku, "north", 50, 1))
    shop.bring([a_row(sku)])
    [product] = shop.search(sku)
    return product


def test_who_tells_the_same_levels_at_once_tells_of_one_change(shop: Shop) -> None:
    sku = shop.create(a_product()).variants[0].sku
    at_once(lambda: shop.stock(Level(sku, "north", 9, 1)), 4)
    assert [event.availability for _, event in shop.told(sku)] == ["IN_STOCK"]


def test_a_renamed_category_is_told_with_all_below_it(shop: Shop) -> None:
    top = shop.category(a_name("Food"))
    below = shop.category("Fruit", top.id)
    beside = shop.category(a_name("Drinks"))
    shop.move(top, "name", name=a_name("Groceries"))
    assert [type(event).__name__ for _, event in shop.told(top.id)] == ["CategoryCreated", "CategoryUpdated"]
    ((first, created), (second, updated)) = shop.told(below.id)
    assert (first, second) == (1, 2)
    assert created.path[-1] == updated.path[-1] == "Fruit"
    assert updated.path[0] != created.path[0]
    assert len(shop.told(beside.id)) == 1


def test_categories_that_an_import_makes_are_told(shop: Shop) -> None:
    name = a_name("Imported")
    row = a_row(brand=name, category_path=[name, "Pears"])
    shop.bring([row], [row])
    (product,) = shop.listed(brand=name)
    category = product.category_id
    ((version, event),) = shop.told(category)
    assert (version, list(event.path)) == (1, [name, "Pears"])


def test_every_event_that_moves_stock_tells_its_levels() -> None:
    level = inventory.LevelChange(sku="milk", warehouse_id="north", available=3, sequence=7)
    known = [Level("milk", "north", 3, 7)]
    for one in (inventory.StockReceived, inventory.StockAdjusted):
        assert messages.levels(one(level=level)) == known
    for many in (
        inventory.ConsignmentReceived,
        inventory.StockReserved,
        inventory.StockReleased,
        inventory.StockConsumed,
        inventory.StockRestocked,
    ):
        assert messages.levels(many(levels=[level])) == known
    assert messages.levels(inventory.StockCommitted(order_id="x")) == []


# Categories


def test_a_category_reads_as_it_was_created(shop: Shop) -> None:
    top = shop.category(a_name("Dairy"))
    below = shop.category(" Milk ", top.id)
    assert (below.name, list(below.path), below.parent_id, below.etag) == ("Milk", [top.name, "Milk"], top.id, "1")
    tree = shop.anybody.GetCategory(pb.GetCategoryRequest(id=top.id))
    assert [child.name for child in tree.children] == ["Milk"]
    with pytest.raises(NotFound):
        shop.anybody.GetCategory(pb.GetCategoryRequest(id=an_id()))


def test_siblings_have_different_names(shop: Shop) -> None:
    top, other = shop.category(a_name()), shop.category(a_name())
    first = shop.category("Milk", top.id)
    shop.category("Milk", other.id)
    acts: list[Callable[[], object]] = [
        lambda: shop.category("Milk", top.id),
        lambda: shop.category(top.name),
        lambda: shop.move(first, "parent_id", parent_id=other.id),
        lambda: shop.move(other, "name", name=top.name),
    ]
    for act in acts:
        with pytest.raises(CategoryNameTaken):
            act()


def test_a_category_needs_a_name_and_a_parent_that_exists(shop: Shop) -> None:
    with pytest.raises(InvalidArgument) as refused:
        shop.category(" ")
    assert field_of(refused) == "category.name"
    with pytest.raises(UnknownCategory):
        shop.category(a_name(), an_id())
    with pytest.raises(UnknownCategory):
        shop.move(shop.category(a_name()), "parent_id", parent_id=an_id())


def test_a_repeated_creation_makes_one_category(shop: Shop) -> None:
    name, request_id = a_name(), an_id()
    assert shop.category(name, request_id=request_id) == shop.category(name, request_id=request_id)
    with pytest.raises(IdempotencyKeyReused):
        shop.category(a_name(), request_id=request_id)


def test_what_hangs_below_moves_along(shop: Shop) -> None:
    one, two = shop.category(a_name("One")), shop.category(a_name("Two"))
    middle = shop.category("Middle", one.id)
    bottom = shop.category("Bottom", middle.id)
    product = shop.create(a_product(category_id=bottom.id))
    moved = shop.move(middle, "name", "parent_id", name="Centre", parent_id=two.id)
    assert (list(moved.path), moved.etag) == ([two.name, "Centre"], "2")
    assert [list(child.path) for child in moved.children] == [[two.name, "Centre", "Bottom"]]
    assert list(shop.get(product.id).category_path) == [two.name, "Centre", "Bottom"]
    assert [each.id for each in shop.listed(category=two.id)] == [product.id]
    assert shop.listed(category=one.id) == []
    free = shop.move(moved, "parent_id")
    assert (list(free.path), free.parent_id) == (["Centre"], "")


def test_a_renamed_category_is_found_by_its_new_name(shop: Shop) -> None:
    category = shop.category(a_name("Qwertzland"))
    product = shop.create(a_product(category_id=category.id))
    assert [each.id for each in shop.search("qwertzland")] == [product.id]
    shop.move(category, "name", name=a_name("Yxcvbnland"))
    while shop.catalogue.refresh_documents():
        pass
    assert [each.id for each in shop.search("yxcvbnland")] == [product.id]
    assert [each.id for each in shop.search(product.variants[0].sku)] == [product.id]


def test_a_category_does_not_move_below_itself(shop: Shop) -> None:
    top = shop.category(a_name())
    below = shop.category("Below", top.id)
    for parent in (top, below):
        with pytest.raises(CategoryCycle):
            shop.move(top, "parent_id", parent_id=parent.id)


def test_two_moves_at_once_make_no_circle(shop: Shop) -> None:
    one, two = shop.category(a_name()), shop.category(a_name())
    outcomes = all_at_once(
        [lambda: shop.move(one, "parent_id", parent_id=two.id), lambda: shop.move(two, "parent_id", parent_id=one.id)]
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["Category", "CategoryCycle"]


def test_a_tree_has_ten_levels_wherever_it_is_moved(shop: Shop) -> None:
    top = shop.category(a_name())
    deep = top
    for number in range(9):
        deep = shop.category(str(number), deep.id)
    other = shop.category(a_name())
    acts: list[Callable[[], object]] = [
        lambda: shop.category("x", deep.id),
        lambda: shop.move(top, "parent_id", parent_id=other.id),
    ]
    for act in acts:
        with pytest.raises(InvalidArgument) as refused:
            act()
        assert field_of(refused) == "category.parentId"


def test_a_category_changes_from_the_version_that_was_read(shop: Shop) -> None:
    category = shop.category(a_name())
    with pytest.raises(EtagRequired):
        shop.move(pb.Category(id=category.id), "name", name=a_name())
    shop.move(category, "name", name=a_name())
    with pytest.raises(EtagMismatch):
        shop.move(category, "name", name=a_name())
    with pytest.raises(NotFound):
        shop.move(pb.Category(id=an_id(), etag="1"), "name", name=a_name())
    with pytest.raises(InvalidArgument):
        shop.move(category, "path")


def test_categories_count_what_is_on_sale_in_them_and_below(shop: Shop) -> None:
    top = shop.category(a_name("AAA"))
    below = shop.category("Below", top.id)
    for category, state in ((top, ACTIVE), (below, ACTIVE), (below, ACTIVE), (below, DRAFT)):
        shop.create(a_product(category_id=category.id, state=state))
    listed: list[pb.Category] = []
    token, pages = "", 0
    while token or not pages:
        page = shop.anybody.ListCategories(pb.ListCategoriesRequest(page_size=3, page_token=token))
        listed, token, pages = [*listed, *page.categories], page.next_page_token, pages + 1
        assert len(page.categories) <= 3
    assert [each.name for each in listed] == sorted({each.name for each in listed})
    [shown] = [each for each in listed if each.id == top.id]
    assert (shown.product_count, shown.children[0].product_count) == (3, 2)
