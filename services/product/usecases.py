"""What can be done with the catalogue. Every method is one transaction and the events that leave with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar
from uuid import UUID

from mercato.abreast import abreast
from mercato.errors import Conflict, NotFound
from mercato.etag import check_etag, require_etag
from mercato.ids import uuid7
from mercato.rpc import Key
from services.product import encoding, messages
from services.product.domain import (
    Availability,
    Category,
    Level,
    Product,
    Shelf,
    SkuTaken,
    State,
    Told,
    keep_ids,
    latest,
    tell,
)
from services.product.rows import BadRow, Batch, Report, Row, news
from services.product.store import ProductWork, spelled

REFRESHED_AT_ONCE = 20
READY_AT_ONCE = 200
LOOKS = 3
LANDING = 2
"""Messages of imports that are worked on at once: what Python makes and what the database writes takes equally long."""
WRITTEN_AT_ONCE = 250

T = TypeVar("T")


class Catalogue:
    """What can be done with products and categories."""

    def __init__(self, work: Callable[[], ProductWork]) -> None:
        """`work` opens a transaction."""
        self._work = work

    def create_product(self, values: Mapping[str, Any], key: Key | None = None) -> UUID:
        """Make a product; its id. SkuTaken, UnknownCategory, PriceRequired."""
        with self._work() as work:
            if (made := work.idempotency.find(key)) is not None:
                return UUID(made)
            product = Product(id=uuid7(), **_shelved(work, values)).check()
            _save(work, None, product)
            work.idempotency.made(key, str(product.id))
            return product.id

    def update_product(self, product_id: UUID, etag: str, values: Mapping[str, Any]) -> None:
        """Change some fields, if nobody did since they were read.

        SkuTaken, UnknownCategory, PriceRequired, ProductArchived.
        """
        with self._work() as work:
            before = work.products.lock(product_id)
            require_etag(etag, before.version)
            values = _shelved(work, values)
            if "variants" in values:
                values["variants"] = keep_ids(values["variants"], before.variants)
            _save(work, before, before.change(values))

    def archive_product(self, product_id: UUID, etag: str, key: Key | None = None) -> None:
        """Take a product out of the shop for good."""
        with self._work() as work:
            if work.idempotency.find(key) is None:
                before = work.products.lock(product_id)
                check_etag(etag, before.version)
                _save(work, before, before.archive())
                work.idempotency.made(key, str(product_id))

    def create_category(self, name: str, parent_id: UUID | None, key: Key | None = None) -> UUID:
        """Make a category; its id. UnknownCategory, CategoryNameTaken."""
        with self._work() as work:
            if (made := work.idempotency.find(key)) is not None:
                return UUID(made)
            work.categories.lock()
            category = Category.under(work.categories.get(parent_id), name)
            work.categories.add(category)
            _publish_categories(work, [category])
            work.idempotency.made(key, str(category.id))
            return category.id

    def update_category(self, category_id: UUID, etag: str, values: Mapping[str, Any]) -> None:
        """Rename or move a category with all below it. UnknownCategory, CategoryCycle, CategoryNameTaken."""
        with self._work() as work:
            work.categories.lock()
            if not (before := work.categories.find(category_id)):
                raise NotFound
            require_etag(etag, before.version)
            parent = work.categories.get(values.get("parent_id", before.parent_id))
            after = before.moved(parent, values.get("name", before.name))
            if after != before:
                _publish_categories(work, work.categories.move(before, after))

    def refresh_documents(self) -> bool:
        """Let searches find products by their category's new name; True if there may be more to do."""
        with self._work() as work:
            done: int = work.categories.refresh(REFRESHED_AT_ONCE)
        return done == REFRESHED_AT_ONCE

    def ready_products(self) -> bool:
        """Make ready for readers what is not: products of older code. True if there may be more to do."""
        with self._work() as work:
            done: int = work.products.redo(READY_AT_ONCE, encoding.ready)
        return done == READY_AT_ONCE


class Imports:
    """What brings many products at once."""

    def __init__(self, work: Callable[[], ProductWork]) -> None:
        """`work` opens a transaction."""
        self._work = work
        self._hands = ThreadPoolExecutor(LANDING, "landing")

    def import_products(self, messages: Iterable[Sequence[Row | BadRow]]) -> Report:
        """Make products as rows say: one transaction for each message, so that what came has landed.

        Messages land abreast: the database writes one while another is made. Those with a SKU in common land in turn.
        """
        report, known = Report(), Known()
        land, parcels = partial(self._land, known), map(Parcel.of, messages)
        for landed in abreast(self._hands, LANDING, land, parcels, Parcel.apart):
            report.add(landed.report)
            known.note(landed)
        return report

    def _land(self, known: "Known", parcel: "Parcel") -> "Landing":
        if not parcel.rows:
            return Landing(parcel.report(), known.shelves)
        for _ in range(LOOKS - 1):
            try:
                return self._landed(parcel, known)
            except (SkuTaken, Conflict):
                continue  # somebody created one of the products in between: look again
        return self._landed(parcel, known)

    def _landed(self, parcel: "Parcel", known: "Known") -> "Landing":
        landing = self._sort_out(parcel, known)
        if landing.rows:
            with self._work() as work:
                batch = _batch(work, landing.rows, landing.shelves)
                landing.report.add(batch.report)
                told = _as_read(work, batch.told)
                changed = latest(told)
                # The database works on what was sent while we make what comes next: it is given a part at a time.
                with work.connection.pipeline():
                    for products, events in zip_longest(_parts(changed), _parts(told), fillvalue=()):
                        work.products.write(products, encoding.ready)
                        _publish(work, events)
                        work.hand_over()
                    work.products.write_variants(changed, batch.marks)
        return landing

    def _sort_out(self, parcel: "Parcel", known: "Known") -> "Landing":
        """What there is to do. Categories and words that are new are made at once: others need not wait for them."""
        with self._work() as work:
            shelves = work.categories.shelve({row.path for row in parcel.rows if row.path}, known.shelves)
            _publish_categories(work, work.categories.made)
            rows = news(parcel.rows, shelves, work.products.imported(parcel.skus))
            texts = {text for row in rows for text in (row.title, row.brand, *row.path)}
            work.products.learn(texts - known.texts)
        return Landing(parcel.report(unchanged=len(parcel.rows) - len(rows)), shelves, texts, rows)


@dataclass(frozen=True, slots=True)
class Parcel:
    """The rows of a message."""

    rows: Sequence[Row]
    bad: Sequence[BadRow]
    skus: AbstractSet[str]

    @classmethod
    def of(cls, message: Iterable[Row | BadRow]) -> "Parcel":
        """Good rows and bad ones."""
        rows, bad = list[Row](), list[BadRow]()
        for row in message:
            rows.append(row) if isinstance(row, Row) else bad.append(row)
        return cls(rows, bad, {row.sku for row in rows})

    def apart(self, other: "Parcel") -> bool:
        """Whether it has no SKU in common with another."""
        return self.skus.isdisjoint(other.skus)

    def report(self, unchanged: int = 0) -> Report:
        """What is to be told before any row lands."""
        report = Report(unchanged=unchanged)
        report.refuse(self.bad)
        return report


@dataclass(frozen=True, slots=True)
class Landing:
    """A message on its way into the catalogue."""

    report: Report
    """What became of its rows."""
    shelves: Mapping[tuple[str, ...], Shelf]
    texts: AbstractSet[str] = frozenset()
    """Those whose words are known now, as the shelves are."""
    rows: Sequence[Row] = ()
    """Those that may say something new."""


@dataclass(slots=True)
class Known:
    """What an import has found or made already."""

    shelves: Mapping[tuple[str, ...], Shelf] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    def note(self, landed: Landing) -> None:
        """Remember what is committed."""
        self.shelves = {**self.shelves, **landed.shelves}
        self.texts |= landed.texts


def _batch(work: ProductWork, rows: Sequence[Row], shelves: Mapping[tuple[str, ...], Shelf]) -> Batch:
    drafts = all(row.target is State.DRAFT for row in rows)  # a row that asks for one makes nothing else, or is refused
    batch = Batch(work.products.lock_of([row.sku for row in rows], drafts=drafts), work.products.now)
    for row in rows:
        batch.take(row, shelves.get(row.path))
    return batch


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + WRITTEN_AT_ONCE] for start in range(0, len(items), WRITTEN_AT_ONCE))


class StockHints:
    """Roughly how much there is of what is sold."""

    def follow(self, work: ProductWork, levels: Iterable[Level]) -> None:
        """Note what inventory told; of what is older than what is known, nothing."""
        changes = [change for change in work.levels.follow(levels) if change.shows]
        work.products.renew({each.sku: Availability.of(each.after) for each in changes}, messages.with_availability)
        for change in changes:
            work.publish(messages.availability_event(change), change.sku, change.sequence)


def _shelved(work: ProductWork, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the category that an id stands for."""
    rest = {name: value for name, value in values.items() if name != "category_id"}
    if "category_id" not in values:
        return rest
    category = work.categories.get(values["category_id"])
    return rest | {"shelf": category.shelf if category else None}


def _save(work: ProductWork, before: Product | None, after: Product) -> None:
    told = _as_read(work, tell(before, after)[1])
    if told:
        written = latest(told)
        work.products.write(written, encoding.ready)
        work.products.write_variants(written)
        work.products.learn(spelled(written))
        _publish(work, told)


def _as_read(work: ProductWork, told: Sequence[Told]) -> list[Told]:
    """What is told, of products as they will be read."""
    products = work.products.as_read([each.product for each in told])
    return [each._replace(product=product) for each, product in zip(told, products, strict=True)]


def _publish(work: ProductWork, told: Iterable[Told]) -> None:
    for each in told:
        work.publish(messages.event(each), str(each.product.id), each.number)


def _publish_categories(work: ProductWork, changed: Iterable[Category]) -> None:
    for each in changed:
        work.publish(messages.category_event(each), str(each.id), each.events)
