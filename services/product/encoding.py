"""The bytes of products, and of events that tell all of one: written as protobuf writes them, without its objects.

Making a message costs ten times what its bytes do, and an import makes two of every row. So nothing else says what of a
product stands in which field: whoever needs the message parses the bytes. Numbers of fields are the contract's.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mercato.api.product.v1 import product_events_pb2 as events
from mercato.api.product.v1 import product_pb2 as pb
from mercato.money import Money
from mercato.rpc.ready import varint
from mercato.wire import money_to_pb, time_to_pb
from services.product.domain import Availability, Product, Shelf, State, Variant

_KNOWN = 1024
_LENGTHS = [varint(length) for length in range(_KNOWN)]
_PRODUCT, _VARIANT = pb.Product.DESCRIPTOR, pb.Variant.DESCRIPTOR
_VARINT, _BYTES = 0, 2


def _tag(message: Descriptor, name: str) -> bytes:
    field = message.fields_by_name[name]
    wire = _VARINT if field.type == FieldDescriptor.TYPE_ENUM else _BYTES
    return varint(field.number << 3 | wire)


def _within(tag: bytes, message: bytes) -> bytes:
    length = len(message)
    return tag + (_LENGTHS[length] if length < _KNOWN else varint(length)) + message


def _text(message: Descriptor, name: str) -> Callable[[str], bytes]:
    """What writes a text into a field; an empty one is not written."""
    tag = _tag(message, name)
    return lambda text: _within(tag, text.encode()) if text else b""


def _price(message: Descriptor, name: str) -> Callable[[Money | None], bytes]:
    tag = _tag(message, name)
    return lru_cache(1024)(lambda price: _within(tag, money_to_pb(price).SerializeToString()) if price else b"")


def _shelf(message: Descriptor) -> Callable[[Shelf | None, bool], bytes]:
    """What writes the category of a product, with its path or without: many products have the same."""
    category_id, step = _text(message, "category_id"), _tag(message, "category_path")

    @lru_cache(4096)
    def write(id_: UUID, path: tuple[str, ...]) -> bytes:
        return b"".join((category_id(str(id_)), *(_within(step, name.encode()) for name in path)))

    return lambda shelf, path: write(shelf.id, shelf.path if path else ()) if shelf else b""


def _time(name: str) -> Callable[[datetime], bytes]:
    tag = _tag(_PRODUCT, name)
    return lru_cache(64)(lambda time: _within(tag, time_to_pb(time).SerializeToString()))


_id, _title = _text(_PRODUCT, "id"), _text(_PRODUCT, "title")
_description, _brand = _text(_PRODUCT, "description"), _text(_PRODUCT, "brand")
_category = _shelf(_PRODUCT)
_etag, _created_at, _updated_at = _text(_PRODUCT, "etag"), _time("create_time"), _time("update_time")
_attributes, _variants = _tag(_PRODUCT, "attributes"), _tag(_PRODUCT, "variants")
_states = {each: _tag(_PRODUCT, "state") + varint(pb.Product.State.Value(each)) for each in State}

_variant_id, _sku, _variant_title = _text(_VARIANT, "id"), _text(_VARIANT, "sku"), _text(_VARIANT, "title")
_size, _barcode, _variant_price = _text(_VARIANT, "size"), _text(_VARIANT, "barcode"), _price(_VARIANT, "price")
_availabilities = {each: _tag(_VARIANT, "availability") + varint(pb.Availability.Value(each)) for each in Availability}


def whole(product: Product) -> bytes:
    """A Product."""
    return _product(product, path=True)


def ready(product: Product) -> bytes:
    """A product as it is kept for readers: all of it but the path of its category, which lies with the category."""
    return _product(product, path=False)


def _product(product: Product, *, path: bool) -> bytes:
    assert product.create_time
    assert product.update_time
    return b"".join(
        (
            _id(str(product.id)),
            _title(product.title),
            _description(product.description),
            _brand(product.brand),
            _category(product.shelf, path),
            *_pairs(product.attributes),
            _states[product.state],
            *(_within(_variants, _variant(variant)) for variant in product.variants),
            _etag(str(product.version)),
            _created_at(product.create_time),
            _updated_at(product.update_time),
        )
    )


def _variant(variant: Variant) -> bytes:
    return b"".join(
        (
            _variant_id(str(variant.id)),
            _sku(variant.sku),
            _variant_title(variant.title),
            _size(variant.size),
            _barcode(variant.barcode),
            _variant_price(variant.price),
            _availabilities[variant.availability],
        )
    )


def _pairs(attributes: Mapping[str, str]) -> Iterable[bytes]:
    # Entries of a map are messages of two fields, both of them written even where they are empty.
    for name, value in sorted(attributes.items()):
        yield _within(_attributes, _within(b"\x0a", name.encode()) + _within(b"\x12", value.encode()))


def _facts(message: Descriptor) -> Callable[[Product], bytes]:
    """What writes an event that tells all of a product."""
    fact = events.VariantFact.DESCRIPTOR
    product_id, title, brand, state = (_text(message, each) for each in ("product_id", "title", "brand", "state"))
    states = {each: state(each) for each in State}
    availabilities = {each: _text(fact, "availability")(each) for each in Availability}
    category, variants = _shelf(message), _tag(message, "variants")
    sku, size, price = _text(fact, "sku"), _text(fact, "size"), _price(fact, "price")

    @lru_cache(1024)
    def name(given_title: str, given_brand: str) -> bytes:
        # An import brings those of one name beside each other.
        return title(given_title) + brand(given_brand)

    def write(product: Product) -> bytes:
        told = (
            sku(each.sku) + size(each.size) + price(each.price) + availabilities[each.availability]
            for each in product.variants
        )
        return b"".join(
            (
                product_id(str(product.id)),
                name(product.title, product.brand),
                category(product.shelf, True),
                states[product.state],
                *(_within(variants, each) for each in told),
            )
        )

    return write


created = _facts(events.ProductCreated.DESCRIPTOR)
"""A ProductCreated."""

updated = _facts(events.ProductUpdated.DESCRIPTOR)
"""A ProductUpdated."""
