"""Products that lie ready to be read: after whatever was written, their bytes say what the columns say."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import grpc
import pytest

from mercato.api.batch.v1 import batch_pb2
from mercato.api.product.v1 import product_pb2 as pb
from mercato.money import Money
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.rpc.travel import BATCH
from mercato.testing import a_customer, staff
from services.product.domain import Level, Product, Shelf, State, Variant
from services.product.encoding import ready
from services.product.store import LAYOUT, ProductWork
from services.product.usecases import READY_AT_ONCE
from tests.component.product_shop import Shop, a_name, a_product, a_row, a_sku, a_variant, an_id, opened, unready, usd

NONE = pb.Availability.OUT_OF_STOCK


@pytest.fixture(scope="module")
def shop(product_database: Database) -> Iterator[Shop]:
    with opened(product_database) as shop:
        yield shop


def read(shop: Shop, product_id: str) -> pb.Product:
    """A product by its columns."""
    message = pb.Product()
    message.CopyFrom(shop.get(product_id))
    assert unready(shop.database) == []
    return message


def test_after_every_way_to_write_the_bytes_say_what_the_columns_say(shop: Shop) -> None:
    category, sku = shop.category(a_name()), a_sku()
    product = shop.create(a_product(a_variant(sku), a_variant(), category_id=category.id, state=pb.Product.ACTIVE))
    assert read(shop, product.id) == product
    product = shop.update(product, "title", title="Another")
    assert read(shop, product.id).title == "Another"
    product = shop.update(product, "variants", variants=[a_variant(sku, 250, title="large")])
    assert read(shop, product.id).variants[0].price == usd(250)
    shop.move(category, "name", name=f"{category.name} é")
    assert list(read(shop, product.id).category_path) == [f"{category.name} é"]
    shop.bring([a_row(sku, title="Imported", category_path=["Top", "Below"]), a_row(a_sku())])
    assert read(shop, product.id).title == "Imported"
    assert list(read(shop, product.id).category_path) == ["Top", "Below"]
    shop.stock(Level(sku, "w1", 3, 1))
    assert read(shop, product.id).variants[0].availability == pb.Availability.LOW
    shop.archive(product)
    assert read(shop, product.id).state == pb.Product.ARCHIVED


def test_a_product_says_what_was_known_of_its_skus_before_there_was_one(shop: Shop) -> None:
    skus = [a_sku(), a_sku()]
    shop.stock(*(Level(sku, "w1", 80, 1) for sku in skus))
    product = shop.create(a_product(a_variant(skus[0])))
    shop.bring([a_row(skus[1])])
    assert product.variants[0].availability == pb.Availability.IN_STOCK
    assert shop.search(skus[1])[0].variants[0].availability == pb.Availability.IN_STOCK
    assert unready(shop.database) == []


def test_levels_wait_for_products_that_are_being_written(shop: Shop) -> None:
    sku = a_sku()
    product = shop.create(a_product(a_variant(sku)))
    heard = threading.Thread(target=shop.stock, args=[Level(sku, "w1", 80, 1)])
    with ProductWork(shop.database, service="product") as work:
        locked = work.products.lock(UUID(product.id))
        changed = work.products.as_read([locked])
        heard.start()
        while not waits(shop.database):
            threading.Event().wait(0.005)  # looks again; how long that takes decides nothing
        work.products.write(changed, ready)
    heard.join(30)
    assert shop.get(product.id).variants[0].availability == pb.Availability.IN_STOCK
    assert unready(shop.database) == []


def waits(database: Database) -> bool:
    """Whether somebody waits for the levels."""
    with database.reading() as connection:
        found = connection.execute("select from pg_locks where locktype = 'advisory' and not granted").fetchall()
    return bool(found)


LOST: dict[str, LiteralString] = {
    "missing": "delete from ready where product_id = %s",
    "of another version": "update ready set message = '', version = version + 1 where product_id = %s",
    "of older code": "update ready set message = '', layout = layout - 1 where product_id = %s",
}


@pytest.mark.parametrize("how", LOST)
def test_what_is_not_ready_is_read_from_the_columns_and_made_ready(shop: Shop, how: str) -> None:
    category = shop.category(a_name())
    product = shop.create(a_product(a_variant(), category_id=category.id, brand=a_name(), state=pb.Product.ACTIVE))
    with shop.database.transaction() as connection:
        connection.execute(LOST[how], [product.id])
    assert unready(shop.database) == [product.id]
    assert shop.get(product.id) == product
    assert shop.listed(brand=product.brand) == [product]
    assert list(shop.anybody.BatchGetProducts(pb.BatchGetProductsRequest(ids=[product.id])).products) == [product]
    assert shop.catalogue.ready_products() is False
    assert unready(shop.database) == []


def test_a_draft_is_read_from_the_columns_and_nobody_makes_it_ready(shop: Shop) -> None:
    product = shop.create(a_product(a_variant(), category_id=shop.category(a_name()).id, state=pb.Product.DRAFT))
    shop.catalogue.ready_products()
    with shop.database.reading() as connection:
        assert not connection.execute("select from ready where product_id = %s", [product.id]).fetchall()
    assert product.state == pb.Product.DRAFT
    assert shop.get(product.id) == product


def test_many_that_are_not_ready_are_made_so_some_at_a_time(shop: Shop) -> None:
    shop.bring([a_row(a_sku()) for _ in range(READY_AT_ONCE + 1)])
    with shop.database.transaction() as connection:
        connection.execute("delete from ready")
    while shop.catalogue.ready_products():
        pass
    assert unready(shop.database) == []


def test_whatever_changes_the_bytes_raises_the_layout() -> None:
    id_, then = UUID(int=7), datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    variant = Variant(id_, "sku", "large", "1 l", "0401", Money(199, "USD"))
    shelf, about = Shelf(id_, ("a", "b")), {"z": "1", "a": "2"}
    product = Product(id_, "Milk", "White.", "Cow", shelf, about, State.ACTIVE, (variant,), 3, 4, then, then)
    digest = hashlib.sha256(ready(product)).hexdigest()[:16]
    assert (LAYOUT, digest) == (1, "cb54777c86b45f38"), "raise LAYOUT: products that lie ready are to be made again"


@pytest.mark.parametrize("who", [Principal(), a_customer(), staff("support")], ids=["anybody", "customer", "staff"])
def test_many_get_in_one_message_what_each_would_get_alone(shop: Shop, who: Principal) -> None:
    draft = shop.create(a_product(a_variant()))
    active = shop.create(a_product(a_variant(), brand=a_name(), state=pb.Product.ACTIVE))
    asked: list[tuple[str, Any]] = [
        ("GetProduct", pb.GetProductRequest(id=each)) for each in (active.id, draft.id, an_id(), active.id)
    ]
    asked += [
        ("ListProducts", pb.ListProductsRequest(page_size=2, **values))
        for values in (
            {"brand": active.brand},
            {},
            {},
            {"state": pb.Product.DRAFT},
            {"page_token": "x"},
            {"brand": "\0"},
        )
    ]
    with grpc.insecure_channel(shop.served.address) as channel:
        call, mine = caller(shop, channel, who), caller(shop, channel, Principal())
        alone = [call(f"/mercato.api.product.v1.ProductService/{rpc}", request) for rpc, request in asked]
        items = [
            batch_pb2.Item(
                method=f"/mercato.api.product.v1.ProductService/{rpc}",
                request=request.SerializeToString(),
                metadata=["authorization", bearer(shop, who)],
            )
            for rpc, request in asked
        ]
        _, raw = mine(BATCH, batch_pb2.CallRequest(items=items))
    outcomes = batch_pb2.CallResponse.FromString(raw).outcomes
    assert [(each.code, each.reply or each.details) for each in outcomes] == alone
    assert {code for code, _ in alone} >= {0, 3, 5}


def bearer(shop: Shop, who: Principal) -> str:
    return f"Bearer {shop.served.signer('gateway').token('product', who)}"


def caller(shop: Shop, channel: grpc.Channel, who: Principal) -> Callable[[str, Any], tuple[int, bytes]]:
    """Calls for somebody: the code, and the bytes of the reply or of the refusal."""

    def call(path: str, request: Any) -> tuple[int, bytes]:
        rpc: Any = channel.unary_unary(path)
        try:
            reply = rpc(request.SerializeToString(), metadata=[("authorization", bearer(shop, who))], timeout=20)
            return 0, reply
        except grpc.RpcError as refused:
            told: Any = refused
            return told.code().value[0], dict(told.trailing_metadata())["grpc-status-details-bin"]

    return call
