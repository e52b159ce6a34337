"""What can be done with the catalogue. Every method is one transaction and the events that leave with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeVar
from uuid import UUID

from mercato.errors import Conflict, NotFound
from mercato.etag import check_etag, require_etag
from mercato.ids import uuid7
from mercato.rpc import Key
from services.product import encoding, messages
from services.product.domain import Availability, Category, Level, Product, Shelf, SkuTaken, State, Told, keep_ids, tell
from services.product.rows import BadRow, Batch, Report, Row, news
from services.product.store import ProductWork, spelled

REFRESHED_AT_ONCE = 20
READY_AT_ONCE = 200
LOOKS = 3
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

    def import_products(self, messages: Iterable[Sequence[Row | BadRow]]) -> Report:
        """Make products as rows say: one transaction for each message, so that what came has landed."""
        report, known = Report(), Known()
        for message in messages:
            report.refuse(row for row in message if isinstance(row, BadRow))
            if rows := [row for row in message if isinstance(row, Row)]:
                landed = self._land(rows, known)
                report.add(landed.report)
                known.note(landed)
        return report

    def _land(self, rows: Sequence[Row], known: "Known") -> "Landed":
        for _ in range(LOOKS - 1):
            try:
                return self._landed(rows, known)
            except (SkuTaken, Conflict):
                continue  # somebody created one of the products or renamed a category in between: look again
        return self._landed(rows, known)

    def _landed(self, rows: Sequence[Row], known: "Known") -> "Landed":
        with self._work() as work:
            shelves = work.categories.shelve({row.path for row in rows if row.path}, known.shelves)
            _publish_categories(work, work.categories.made)
            rest = news(rows, shelves, work.products.imported(row.sku for row in rows))
            report = Report(unchanged=len(rows) - len(rest))
            if not rest:
                return Landed(report, shelves)
            batch = _batch(work, rest, shelves)
            report.add(batch.report)
            changed = work.products.as_read(batch.changed)
            texts = spelled(changed)
            # The database works on what was sent while we make what comes next, so it is given a part at a time.
            with work.connection.pipeline():
                work.products.learn(texts - known.texts)
                for products, told in zip_longest(_parts(changed), _parts(batch.told), fillvalue=()):
                    work.products.write(products, encoding.ready, batch.marks)
                    _publish(work, told)
                    work.hand_over()
        return Landed(report, shelves, texts)


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a message's rows, and what need not be looked for again now that it is committed."""

    report: Report
    shelves: Mapping[tuple[str, ...], Shelf]
    texts: AbstractSet[str] = frozenset()


@dataclass(slots=True)
class Known:
    """What an import has found or made already."""

    shelves: Mapping[tuple[str, ...], Shelf] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    def note(self, landed: Landed) -> None:
        """Remember what is committed."""
        self.shelves = landed.shelves
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
    counted, told = tell(before, after)
    if told:
        work.products.write(work.products.as_read([counted]), encoding.ready)
        work.products.learn(spelled([counted]))
        _publish(work, told)


def _publish(work: ProductWork, told: Iterable[Told]) -> None:
    for each in told:
        work.publish(messages.event(each), str(each.product.id), each.number)


def _publish_categories(work: ProductWork, changed: Iterable[Category]) -> None:
    for each in changed:
        work.publish(messages.category_event(each), str(each.id), each.events)
