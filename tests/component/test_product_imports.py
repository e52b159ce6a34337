"""Rows that come again: the same one is not looked at, and nothing else is ever taken for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

import pytest

from mercato.api.product.v1 import product_pb2 as pb
from mercato.postgres import Database
from mercato.testing import all_at_once
from services.product.levels import FOLLOW_ALONE
from services.product.store import ProductWork
from services.product.usecases import WRITTEN_AT_ONCE
from tests.component.product_shop import Shop, a_name, a_product, a_row, a_sku, a_variant, opened
from tests.component.reader import LONG, until


@pytest.fixture(scope="module")
def shop(product_database: Database) -> Iterator[Shop]:
    with opened(product_database) as shop:
        yield shop


def found(shop: Shop, sku: str) -> pb.Product:
    """The product of a SKU."""
    [product] = shop.search(sku)
    return product


def counts(report: pb.ImportProductsResponse) -> tuple[int, int, int, int]:
    return report.created, report.updated, report.unchanged, report.failed


def test_the_same_rows_on_other_lines_and_in_other_messages_change_nothing(shop: Shop) -> None:
    rows = [a_row(a_sku(), line=line, category_path=[a_name(), "Below"], brand="Own") for line in range(4)]
    assert counts(shop.bring(rows)) == (4, 0, 0, 0)
    before = [found(shop, row.sku) for row in rows]
    for row in rows:
        row.line += 100
    assert counts(shop.bring(rows[2:], rows[:2])) == (0, 0, 4, 0)
    assert [found(shop, row.sku) for row in rows] == before
    assert [len(shop.told(each.id)) for each in before] == [1, 1, 1, 1]


@pytest.mark.parametrize("change", [{"title": "Oats"}, {"brand": "Other"}, {"size": "9 l"}, {"attributes": {"a": "b"}}])
def test_a_row_that_says_another_thing_changes_the_product_and_the_first_one_changes_it_back(
    shop: Shop, change: dict[str, object]
) -> None:
    sku = a_sku()
    assert counts(shop.bring([a_row(sku)])) == (1, 0, 0, 0)
    assert counts(shop.bring([a_row(sku, **change)])) == (0, 1, 0, 0)  # type: ignore[arg-type]  # fields of the row
    assert counts(shop.bring([a_row(sku)])) == (0, 1, 0, 0)
    assert found(shop, sku).title == "Milk"


def test_what_staff_changed_the_same_row_changes_back(shop: Shop) -> None:
    sku = a_sku()
    shop.bring([a_row(sku)])
    shop.update(found(shop, sku), "title", title="Rye")
    assert counts(shop.bring([a_row(sku)])) == (0, 1, 0, 0)
    assert found(shop, sku).title == "Milk"


def test_what_code_changed_that_leaves_marks_alone_the_same_row_changes_back(shop: Shop) -> None:
    sku = a_sku()
    shop.bring([a_row(sku)])
    with shop.database.transaction() as connection:
        connection.execute(
            "update product set title = 'Rye', version = version + 1, events = events + 1 where id = %s",
            [found(shop, sku).id],
        )
    assert counts(shop.bring([a_row(sku)])) == (0, 1, 0, 0)
    assert found(shop, sku).title == "Milk"


def test_a_row_whose_category_has_another_name_now_makes_its_own_again(shop: Shop) -> None:
    sku, name = a_sku(), a_name()
    shop.bring([a_row(sku, category_path=[name])])
    renamed = shop.catalog.GetCategory(pb.GetCategoryRequest(id=found(shop, sku).category_id))
    shop.move(renamed, "name", name=a_name())
    assert counts(shop.bring([a_row(sku, category_path=[name])])) == (0, 1, 0, 0)
    assert list(found(shop, sku).category_path) == [name]


def test_of_one_message_the_last_row_of_a_sku_stands(shop: Shop) -> None:
    sku = a_sku()
    shop.bring([a_row(sku)])
    assert counts(shop.bring([a_row(sku, title="Rye"), a_row(sku)])) == (0, 2, 0, 0)
    assert found(shop, sku).title == "Milk"
    assert counts(shop.bring([a_row(sku, title="Rye")], [a_row(sku)])) == (0, 2, 0, 0)
    assert found(shop, sku).title == "Milk"


def test_a_long_message_lands_whole_and_tells_of_each_row_in_its_order(shop: Shop) -> None:
    name, rows = a_name(), [a_row(cents=None) for _ in range(2 * WRITTEN_AT_ONCE + 1)]
    rows.append(a_row(rows[0].sku, title=name))
    assert counts(shop.bring(rows)) == (len(rows) - 1, 1, 0, 0)
    [product] = shop.search(name, who=shop.catalog, state=pb.Product.ACTIVE)
    told = [(version, event.DESCRIPTOR.name) for version, event in shop.told(product.id)]
    assert told == [(1, "ProductCreated"), (2, "ProductUpdated"), (3, "PriceChanged")]
    assert counts(shop.bring(rows[1:-1])) == (0, 0, len(rows) - 2, 0)


def test_messages_without_a_common_sku_land_beside_each_other(shop: Shop) -> None:
    """The first one cannot land before the second has: somebody holds its product until then."""
    held = found(shop, shop.create(a_product(a_variant(a_sku()))).variants[0].sku)
    late, prompt = a_row(held.variants[0].sku, title="Rye"), a_row(cents=None)

    def landed() -> bool:
        return bool(shop.search(prompt.sku, who=shop.catalog, state=pb.Product.DRAFT))

    with ThreadPoolExecutor(1) as hands:
        with ProductWork(shop.database, service="product") as work:
            work.products.lock(UUID(held.id))
            brought = hands.submit(shop.bring, [late], [prompt])
            until(landed)
            assert not brought.done()
        assert counts(brought.result(LONG)) == (1, 1, 0, 0)


def test_imports_of_the_same_rows_in_other_orders_at_once_make_each_product_once(shop: Shop) -> None:
    name = a_name()
    rows = [a_row(brand=name, category_path=[name]) for _ in range(2 * WRITTEN_AT_ONCE)]
    orders = [rows, rows[::-1], rows[WRITTEN_AT_ONCE:] + rows[:WRITTEN_AT_ONCE], rows[::2] + rows[1::2]]
    reports = all_at_once([partial(shop.bring, order[: len(rows) // 2], order[len(rows) // 2 :]) for order in orders])
    assert not [each for each in reports if isinstance(each, Exception)]
    told = [counts(each) for each in reports if not isinstance(each, Exception)]
    assert [sum(column) for column in zip(*told, strict=True)] == [len(rows), 0, 3 * len(rows), 0]
    assert {version for each in shop.listed(brand=name) for version, _ in shop.told(each.id)} == {1}


def test_what_an_import_looks_for_is_planned_for_the_shop_as_it_is_now(product_database: Database) -> None:
    """A plan that was kept from a small shop would not come to an end in a large one."""
    with ProductWork(product_database, service="product") as work:
        for _ in range(10):
            work.products.imported(["milk"])
            work.products.lock_of(["milk"], drafts=False)
        kept = work.connection.execute("select statement from pg_prepared_statements").fetchall()
    assert not [statement for (statement,) in kept if "join" in statement or "for update" in statement]


def test_drafts_land_while_levels_change(shop: Shop) -> None:
    drafts = [a_row(cents=None), a_row(state=pb.Product.DRAFT)]
    with shop.database.transaction() as connection:
        connection.execute(FOLLOW_ALONE)
        assert counts(shop.bring(drafts)) == (2, 0, 0, 0)


def test_of_a_product_in_two_forms_the_row_that_came_last_stands(shop: Shop) -> None:
    first, second = a_sku(), a_sku()
    shop.create(a_product(a_variant(first), a_variant(second)))
    shop.bring([a_row(first, title="Oats"), a_row(second, title="Rye")])
    assert found(shop, first).title == "Rye"
    assert counts(shop.bring([a_row(first, title="Oats")])) == (0, 1, 0, 0)
    assert found(shop, second).title == "Oats"


def test_an_archived_product_refuses_the_row_that_made_it(shop: Shop) -> None:
    sku = a_sku()
    shop.bring([a_row(sku)])
    shop.archive(found(shop, sku))
    assert counts(shop.bring([a_row(sku)])) == (0, 0, 0, 1)
