"""What is written of products byte by byte, against protobuf's own messages."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mercato.api.product.v1 import product_events_pb2 as events
from mercato.api.product.v1 import product_pb2 as pb
from mercato.money import Money
from mercato.wire import money_to_pb, time_to_pb
from services.product import encoding
from services.product.domain import Availability, Product, Shelf, State, Variant

TEXTS = ["", "a", "Milk & Oats", "é漢😀", "x" * 127, "x" * 128, "é" * 512, "漢" * 6000]
PRICES = [None, Money(1, "USD"), Money(10**12, "BHD"), Money(5, "JPY")]
TIMES = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678, UTC)]
ID = UUID(int=7 << 100)


def products() -> Iterator[Product]:
    """Every field with each of the odd values."""
    for text in TEXTS:
        for price in PRICES:
            variants = (Variant(ID, text, text, text, text, price), Variant(ID, "second"))
            shelf = Shelf(ID, (text, "second"))
            about = {text: text, "b": "", "z": text}
            yield a_product(title=text, description=text, brand=text, shelf=shelf, variants=variants, attributes=about)
    for availability in Availability:
        yield a_product(variants=(Variant(ID, "sku", availability=availability),))
    for state in State:
        yield a_product(state=state, version=2**40)
    for time in TIMES:
        yield a_product(create_time=time)


def a_product(**values: Any) -> Product:
    given: dict[str, Any] = {"id": ID, "title": "", "create_time": TIMES[1], "update_time": TIMES[1], **values}
    return Product(**given)


def a_message(product: Product) -> pb.Product:
    assert product.create_time
    assert product.update_time
    return pb.Product(
        id=str(product.id),
        title=product.title,
        description=product.description,
        brand=product.brand,
        category_id=str(product.shelf.id) if product.shelf else "",
        category_path=product.shelf.path if product.shelf else (),
        attributes=product.attributes,
        state=pb.Product.State.Value(product.state),
        variants=[
            pb.Variant(
                id=str(each.id),
                sku=each.sku,
                title=each.title,
                size=each.size,
                barcode=each.barcode,
                price=money_to_pb(each.price) if each.price else None,
                availability=pb.Availability.Value(each.availability),
            )
            for each in product.variants
        ],
        etag=str(product.version),
        create_time=time_to_pb(product.create_time),
        update_time=time_to_pb(product.update_time),
    )


def test_a_product_says_what_its_message_would_say() -> None:
    for product in products():
        message = a_message(product)
        assert pb.Product.FromString(encoding.whole(product)) == message
        message.ClearField("category_path")
        assert pb.Product.FromString(encoding.ready(product)) == message


def test_without_a_map_the_bytes_are_those_that_protobuf_writes() -> None:
    for product in products():
        if not product.attributes:
            assert encoding.whole(product) == a_message(product).SerializeToString(deterministic=True)


def test_an_event_tells_of_a_product_what_its_message_would_tell() -> None:
    for product in products():
        told = facts(product)
        assert encoding.created(product) == events.ProductCreated(**told).SerializeToString(deterministic=True)
        assert encoding.updated(product) == events.ProductUpdated(**told).SerializeToString(deterministic=True)


def facts(product: Product) -> dict[str, Any]:
    told = a_message(product)
    return {
        "product_id": told.id,
        "title": told.title,
        "brand": told.brand,
        "category_id": told.category_id,
        "category_path": told.category_path,
        "state": product.state,
        "variants": [
            events.VariantFact(
                sku=each.sku,
                size=each.size,
                price=each.price if each.HasField("price") else None,
                availability=pb.Availability.Name(each.availability),
            )
            for each in told.variants
        ],
    }
