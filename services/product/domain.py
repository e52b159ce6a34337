"""Products, the forms they are sold in, the tree of categories they hang in, and what changes of them are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from mercato.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from mercato.ids import uuid7
from mercato.money import Money

LOW_AT = 5
"""Units at which a SKU counts as low."""

DEEPEST = 10
"""Levels that the tree of categories may have."""


class SkuTaken(AlreadyExists):
    """Another product has a variant with this SKU."""


class CategoryNameTaken(AlreadyExists):
    """A sibling has this name."""


class UnknownCategory(FailedPrecondition):
    """There is no such category."""


class CategoryCycle(FailedPrecondition):
    """A category cannot lie within itself."""


class PriceRequired(FailedPrecondition):
    """What is on sale has a variant, and every variant a price."""


class ProductArchived(FailedPrecondition):
    """An archived product does not change any more."""


class State(StrEnum):
    """Where a product stands."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class Availability(StrEnum):
    """Roughly how much there is."""

    IN_STOCK = "IN_STOCK"
    LOW = "LOW"
    OUT_OF_STOCK = "OUT_OF_STOCK"

    @classmethod
    def of(cls, units: int | None) -> "Availability":
        """What to say of so many units in the best warehouse; of a SKU that was never stocked, that there is none."""
        if not units or units < 0:
            return cls.OUT_OF_STOCK
        return cls.LOW if units <= LOW_AT else cls.IN_STOCK


@dataclass(frozen=True, slots=True)
class Shelf:
    """A category as a product knows it: its id, and the names from the top down to it."""

    id: UUID
    path: tuple[str, ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Variant:
    """One form in which a product is sold."""

    id: UUID
    sku: str
    title: str = ""
    size: str = ""
    barcode: str = ""
    price: Money | None = None
    availability: Availability = field(default=Availability.OUT_OF_STOCK, compare=False)

    @property
    def stocked(self) -> bool:
        """Whether there is any of it."""
        return self.availability is not Availability.OUT_OF_STOCK


@dataclass(frozen=True, slots=True)
class Product:
    """Something the shop sells. `version` counts its changes, `events` what was told of them: one of each when new."""

    id: UUID
    title: str
    description: str = ""
    brand: str = ""
    shelf: Shelf | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    state: State = State.DRAFT
    variants: tuple[Variant, ...] = ()
    version: int = 1
    events: int = 1
    create_time: datetime | None = field(default=None, compare=False)
    update_time: datetime | None = field(default=None, compare=False)

    @property
    def prices(self) -> list[int]:
        """What its variants cost, in minor units."""
        return [variant.price.amount for variant in self.variants if variant.price]

    def check(self) -> "Product":
        """The product, if it may be as it is. InvalidArgument, PriceRequired."""
        if not self.title.strip():
            raise InvalidArgument.of("product.title", "is required", "REQUIRED")
        each_once(self.variants)
        if self.state is State.ACTIVE and not (self.variants and len(self.prices) == len(self.variants)):
            raise PriceRequired
        return self

    def change(self, values: Mapping[str, Any]) -> "Product":
        """The product with new values of some fields. ProductArchived, PriceRequired, InvalidArgument."""
        if self.state is State.ARCHIVED:
            raise ProductArchived
        changed = replace(self, **values)
        if changed.state is not self.state and changed.state is not State.ACTIVE:
            raise InvalidArgument.of("product.state", f"cannot become {changed.state} by an update", "NOT_CHANGEABLE")
        return changed.check()

    def archive(self) -> "Product":
        """The product, out of the shop for good."""
        return replace(self, state=State.ARCHIVED)


def each_once(variants: Sequence[Variant]) -> None:
    """InvalidArgument for the first SKU that stands there twice."""
    if len(variants) < 2:  # as most products that an import brings
        return
    seen: set[str] = set()
    for number, variant in enumerate(variants):
        if variant.sku in seen:
            raise InvalidArgument.of(f"product.variants[{number}].sku", "stands there twice", "DUPLICATE")
        seen.add(variant.sku)


def keep_ids(variants: Iterable[Variant], known: Iterable[Variant]) -> tuple[Variant, ...]:
    """New variants, with the ids of the known ones that have the same SKU."""
    ids = {variant.sku: variant.id for variant in known}
    return tuple(replace(variant, id=ids.get(variant.sku, variant.id)) for variant in variants)


@dataclass(frozen=True, slots=True)
class Created:
    """A product is new."""


CREATED = Created()


@dataclass(frozen=True, slots=True)
class Updated:
    """A product changed otherwise than in price."""


@dataclass(frozen=True, slots=True)
class Repriced:
    """The price of a SKU changed."""

    sku: str
    old: Money | None
    new: Money | None


@dataclass(frozen=True, slots=True)
class Archived:
    """A product is no longer sold."""


Happening = Created | Updated | Repriced | Archived


class Told(NamedTuple):
    """Something that happened to a product, under the number that it has among its events."""

    product: Product
    happening: Happening
    number: int


def tell(before: Product | None, after: Product) -> tuple[Product, list[Told]]:
    """The product with its counters put forward, and what is to be told of the change; nothing if it is none."""
    if before is None:
        return after, [Told(after, CREATED, after.events)]
    happenings = list(_happenings(before, after))
    if not happenings:
        return after, []
    counted = replace(after, version=before.version + 1, events=before.events + len(happenings))
    return counted, [Told(counted, each, before.events + place) for place, each in enumerate(happenings, start=1)]


def latest(told: Iterable[Told]) -> list[Product]:
    """The products that are told of, each as it is in the end."""
    return list({each.product.id: each.product for each in told}.values())


def _happenings(before: Product, after: Product) -> Iterable[Happening]:
    if before == after:
        return
    if after.state is State.ARCHIVED:
        yield Archived()
    else:
        if _without_prices(before) != _without_prices(after):
            yield Updated()
        yield from _repriced(before, after)


def _repriced(before: Product, after: Product) -> Iterable[Repriced]:
    cost = {variant.sku: variant.price for variant in before.variants}
    for variant in after.variants:
        if variant.sku in cost and cost[variant.sku] != variant.price:
            yield Repriced(variant.sku, cost[variant.sku], variant.price)


def _without_prices(product: Product) -> Product:
    return replace(product, variants=tuple(replace(variant, price=None) for variant in product.variants))


@dataclass(frozen=True, slots=True)
class Category:
    """A node of the tree: `ancestry` and `path` are the ids and names from the top down to it.

    `version` counts its changes, `events` what was told of them and of changes above it.
    """

    id: UUID
    parent_id: UUID | None
    name: str
    ancestry: tuple[UUID, ...]
    path: tuple[str, ...]
    version: int = 1
    events: int = 1
    create_time: datetime | None = None
    update_time: datetime | None = None

    @classmethod
    def under(cls, parent: "Category | None", name: str) -> "Category":
        """A new category."""
        id_ = uuid7()
        ancestry, path = (parent.ancestry, parent.path) if parent else ((), ())
        return cls(id_, parent.id if parent else None, name, (*ancestry, id_), (*path, name)).check()

    def moved(self, parent: "Category | None", name: str) -> "Category":
        """The same under another name, in another place or both. CategoryCycle if that is within itself."""
        if parent and self.id in parent.ancestry:
            raise CategoryCycle
        ancestry, path = (parent.ancestry, parent.path) if parent else ((), ())
        return replace(
            self,
            parent_id=parent.id if parent else None,
            name=name,
            ancestry=(*ancestry, self.id),
            path=(*path, name),
        ).check()

    def check(self) -> "Category":
        """The category, if it may be as it is. InvalidArgument."""
        if not self.name:
            raise InvalidArgument.of("category.name", "is required", "REQUIRED")
        if len(self.path) > DEEPEST:
            raise InvalidArgument.of("category.parentId", f"would be deeper than {DEEPEST} levels", "TOO_DEEP")
        return self

    @property
    def shelf(self) -> Shelf:
        """What a product in it knows of it."""
        return Shelf(self.id, self.path)


@dataclass(frozen=True, slots=True)
class Node:
    """A category with all below it, and the active products in there."""

    category: Category
    product_count: int
    children: tuple["Node", ...]


def trees(categories: Sequence[tuple[Category, int]], roots: Sequence[UUID]) -> list[Node]:
    """The trees of some roots, from all of their categories in the order of their names with the products in each."""
    below: dict[UUID | None, list[tuple[Category, int]]] = {}
    for category, own in categories:
        below.setdefault(category.parent_id, []).append((category, own))

    def grown(category: Category, own: int) -> Node:
        children = tuple(grown(*child) for child in below.get(category.id, ()))
        return Node(category, own + sum(child.product_count for child in children), children)

    known = {category.id: (category, own) for category, own in categories}
    return [grown(*known[root]) for root in roots if root in known]


@dataclass(frozen=True, slots=True)
class Level:
    """What may be reserved of a SKU in a warehouse; of two levels the one with the greater sequence is the newer."""

    sku: str
    warehouse_id: str
    available: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Change:
    """What may be reserved of a SKU in its best warehouse, before and after inventory told of its levels.

    `sold` says whether there is a product of it, `sequence` is greater for what was told later.
    """

    sku: str
    before: int | None
    after: int
    sold: bool
    sequence: int

    @property
    def shows(self) -> bool:
        """Whether the shop says another thing of it than before."""
        return self.sold and Availability.of(self.before) is not Availability.of(self.after)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an order needs of a SKU."""

    sku: str
    product_id: UUID
    title: str
    price: Money
    availability: Availability
