"""Products, categories, offers and events as protobuf messages, and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from mercato.api.inventory.v1 import inventory_events_pb2 as inventory
from mercato.api.product.v1 import product_events_pb2 as events
from mercato.api.product.v1 import product_pb2 as pb
from mercato.errors import InvalidArgument
from mercato.ids import uuid7
from mercato.money import Money
from mercato.outgoing import Written
from mercato.rpc.ready import Ready, varint
from mercato.rpc.validation import unchangeable
from mercato.wire import money_from_pb, money_to_pb, time_to_pb
from services.product import encoding
from services.product.domain import (
    Archived,
    Availability,
    Category,
    Change,
    Created,
    Level,
    Node,
    Offer,
    Product,
    Repriced,
    State,
    Told,
    Updated,
    Variant,
)
from services.product.queries import Facet, Facets, Wanted
from services.product.rows import BadRow, Report, Row

CHANGEABLE = ("title", "description", "brand", "category_id", "attributes", "state", "variants")
MOVABLE = ("name", "parent_id")
ROW_STATES = frozenset((pb.Product.STATE_UNSPECIFIED, pb.Product.DRAFT, pb.Product.ACTIVE))


def product_to_pb(product: Product) -> pb.Product:
    return pb.Product.FromString(encoding.whole(product))


def with_availability(message: bytes, availabilities: Mapping[str, Availability]) -> bytes:
    """A ready product that says how much there is of some SKUs now."""
    product = pb.Product.FromString(message)
    for variant in product.variants:
        if availability := availabilities.get(variant.sku):
            variant.availability = _availability(availability)
    return product.SerializeToString(deterministic=True)


def with_products(rest: Message, products: Iterable[bytes]) -> Ready:
    """A reply with these ready products as its `products`, and with the rest of it."""
    start = bytes([rest.DESCRIPTOR.fields_by_name["products"].number << 3 | 2])
    items = chain.from_iterable((start, varint(len(each)), each) for each in products)
    return Ready(b"".join((*items, rest.SerializeToString())))


def _price(price: Money | None) -> Any:
    return money_to_pb(price) if price else None


def _availability(availability: Availability) -> pb.Availability.ValueType:
    return pb.Availability.Value(availability)


def node_to_pb(node: Node) -> pb.Category:
    category = node.category
    assert category.create_time
    assert category.update_time
    return pb.Category(
        id=str(category.id),
        name=category.name,
        parent_id=str(category.parent_id or ""),
        path=category.path,
        product_count=node.product_count,
        children=map(node_to_pb, node.children),
        etag=str(category.version),
        create_time=time_to_pb(category.create_time),
        update_time=time_to_pb(category.update_time),
    )


def offer_to_pb(offer: Offer) -> pb.Offer:
    return pb.Offer(
        sku=offer.sku,
        product_id=str(offer.product_id),
        title=offer.title,
        unit_price=money_to_pb(offer.price),
        availability=_availability(offer.availability),
    )


def facets_to_pb(facets: Facets) -> pb.Facets:
    return pb.Facets(
        category=map(_facet_to_pb, facets.category),
        brand=map(_facet_to_pb, facets.brand),
        price=map(_facet_to_pb, facets.price),
    )


def _facet_to_pb(facet: Facet) -> pb.Facet:
    return pb.Facet(value=facet.value, label=facet.label, count=facet.count)


def narrowed(wanted: Wanted, request: pb.ListProductsRequest | pb.SearchProductsRequest, currency: str) -> Wanted:
    """What a request narrows a list or a search to."""
    return replace(
        wanted,
        category=UUID(request.category) if request.category else None,
        brand=_text("brand", request.brand) or None,
        least=_amount("minPrice", request.min_price, currency),
        most=_amount("maxPrice", request.max_price, currency),
        in_stock=request.in_stock if request.HasField("in_stock") else None,
    )


def state_of(state: int) -> State | None:
    """The state that is named; None if none is."""
    return State(pb.Product.State.Name(pb.Product.State.ValueType(state))) if state else None


def _amount(field: str, text: str, currency: str) -> int | None:
    if not text:
        return None
    try:
        return Money.parse(text, currency).amount
    except ValueError:
        raise InvalidArgument.of(field, f"is not an amount in {currency}", "PRECISION") from None


def new_product(given: pb.Product, currency: str) -> dict[str, Any]:
    """The fields of a product to create."""
    if given.state == pb.Product.ARCHIVED:
        raise InvalidArgument.of("product.state", "a new product is DRAFT or ACTIVE", "NOT_CHANGEABLE")
    values = {name: _value(given, name, currency) for name in CHANGEABLE if name != "state"}
    return values | {"state": state_of(given.state) or State.DRAFT}


def product_changes(given: pb.Product, mask: Iterable[str], currency: str) -> dict[str, Any]:
    """What an update changes: the fields of the mask, or, without one, those that are set."""
    return {name: _value(given, name, currency) for name in masked(given, mask, CHANGEABLE)}


def category_changes(given: pb.Category, mask: Iterable[str]) -> dict[str, Any]:
    """The same of a category."""
    values = category_values(given)
    return {name: values[name] for name in masked(given, mask, MOVABLE)}


def category_values(given: pb.Category) -> dict[str, Any]:
    """The fields of a category that a client may set."""
    parent_id = UUID(given.parent_id) if given.parent_id else None
    return {"name": _text("category.name", given.name).strip(), "parent_id": parent_id}


def masked(given: Message, mask: Iterable[str], changeable: Sequence[str]) -> list[str]:
    """The fields that an update is about. InvalidArgument for one that is not the client's to change."""
    names = list(dict.fromkeys(mask))
    for name in names:
        if name not in changeable:
            raise unchangeable(name)
    return names or [field.name for field, _ in given.ListFields() if field.name in changeable]


def _value(given: pb.Product, name: str, currency: str) -> Any:
    match name:
        case "category_id":
            return UUID(given.category_id) if given.category_id else None
        case "attributes":
            return {
                _text("product.attributes", each): _attribute(each, value) for each, value in given.attributes.items()
            }
        case "state":
            if state := state_of(given.state):
                return state
            raise InvalidArgument.of("product.state", "is required", "REQUIRED")
        case "variants":
            return tuple(_variant(number, each, currency) for number, each in enumerate(given.variants))
    return _text(f"product.{name}", getattr(given, name))


def _attribute(name: str, value: str) -> str:
    return _text(f"product.attributes[{name}]", value)


def _text(field: str, value: str) -> str:
    """A text that the database can hold."""
    if "\0" in value:
        raise InvalidArgument.of(field, "must not contain NUL", "CHARACTERS")
    return value


def _variant(number: int, given: pb.Variant, currency: str) -> Variant:
    field = f"product.variants[{number}]"
    price = price_from_pb(given.price, f"{field}.price", currency) if given.HasField("price") else None
    return Variant(uuid7(), given.sku, _text(f"{field}.title", given.title), given.size, given.barcode, price)


def price_from_pb(given: Any, field: str, currency: str) -> Money:
    """What one costs. InvalidArgument if that is nothing, inexact, or in another currency than the shop's."""
    price = money_from_pb(given, field)
    if price.currency != currency:
        raise InvalidArgument.of(f"{field}.currencyCode", f"must be {currency}, as everywhere in this shop", "CURRENCY")
    if price.amount <= 0:
        raise InvalidArgument.of(field, "must be more than nothing", "RANGE")
    return price


def row_from_pb(given: pb.ImportRow, currency: str) -> Row | BadRow:
    """A row of an import, if it may be as it is."""
    line = given.line
    try:
        row = Row(
            line=line,
            sku=given.sku,
            title=given.title,
            description=given.description,
            brand=given.brand,
            path=tuple(given.category_path),
            size=given.size,
            barcode=given.barcode,
            price=price_from_pb(given.price, "price", currency) if given.HasField("price") else None,
            attributes=dict(given.attributes),
            state=_row_state(given.state),
            digest=_digest(given),
        )
        row.check()
    except InvalidArgument as error:
        return BadRow.of(line, given.sku, error)
    return row


def _digest(given: pb.ImportRow) -> bytes:
    """What tells a row from any other, wherever it stands."""
    given.ClearField("line")
    return blake2b(given.SerializeToString(deterministic=True), digest_size=16).digest()


def _row_state(state: int) -> State | None:
    if state not in ROW_STATES:
        raise InvalidArgument.of("state", "must be DRAFT or ACTIVE", "ENUM")
    return state_of(state)


def report_to_pb(report: Report) -> pb.ImportProductsResponse:
    errors = [
        pb.ImportError(line=bad.line, sku=bad.sku, field=bad.field, reason=bad.reason, message=bad.message)
        for bad in report.bad
    ]
    return pb.ImportProductsResponse(
        created=report.created,
        updated=report.updated,
        unchanged=report.unchanged,
        failed=report.failed,
        errors=errors,
    )


def event(told: Told) -> Message | Written:
    """The event of something that happened."""
    product = told.product
    match told.happening:
        case Created():
            return Written(events.ProductCreated.DESCRIPTOR.full_name, encoding.created(product))
        case Updated():
            return Written(events.ProductUpdated.DESCRIPTOR.full_name, encoding.updated(product))
        case Repriced(sku, old, new):
            return events.PriceChanged(
                product_id=str(product.id), sku=sku, old_price=_price(old), new_price=_price(new)
            )
        case Archived():
            return events.ProductArchived(
                product_id=str(product.id), skus=[variant.sku for variant in product.variants]
            )


def category_event(category: Category) -> Message:
    """The event of a category that is new, or has another name or path."""
    kind = events.CategoryCreated if category.events == 1 else events.CategoryUpdated
    return kind(
        category_id=str(category.id), name=category.name, parent_id=str(category.parent_id or ""), path=category.path
    )


def availability_event(change: Change) -> events.AvailabilityChanged:
    """The event of a SKU of which the shop says another thing than before."""
    return events.AvailabilityChanged(sku=change.sku, availability=Availability.of(change.after))


def _levels_of_many(event: Any) -> Iterable[inventory.LevelChange]:
    levels: Iterable[inventory.LevelChange] = event.levels
    return levels


def _level_of_one(event: Any) -> Iterable[inventory.LevelChange]:
    return (event.level,)


TELLS_OF_LEVELS: Mapping[type[Message], Callable[[Any], Iterable[inventory.LevelChange]]] = {
    inventory.StockReceived: _level_of_one,
    inventory.ConsignmentReceived: _levels_of_many,
    inventory.StockAdjusted: _level_of_one,
    inventory.StockReserved: _levels_of_many,
    inventory.StockReleased: _levels_of_many,
    inventory.StockConsumed: _levels_of_many,
    inventory.StockRestocked: _levels_of_many,
}
"""Events of inventory that change what may be reserved. Those of borders that were crossed come with one of these."""


def levels(event: Message) -> list[Level]:
    """The levels that an event of inventory tells of; none if that is not what it is about."""
    find = TELLS_OF_LEVELS.get(type(event))
    return [
        Level(level.sku, level.warehouse_id, level.available, level.sequence) for level in (find(event) if find else ())
    ]
