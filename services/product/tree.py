"""The tree of categories in PostgreSQL: every write, and the reads that writes decide by."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import kwargs_row, scalar_row

from mercato.errors import InvalidArgument, MercatoError
from mercato.ids import uuid7
from services.product.domain import DEEPEST, Category, CategoryNameTaken, Shelf, UnknownCategory
from services.product.vocabulary import learn

CATEGORY: LiteralString = (
    "c.id, c.parent_id, c.name, c.ancestry, c.path, c.version, c.events, c.create_time, c.update_time"
)

# Who changes the tree does so alone, for a path is made of many rows. Readers and products do not wait.
LOCK_TREE: LiteralString = "lock table category in share row exclusive mode"

ADD_CATEGORY: LiteralString = """
    insert into category (id, parent_id, name, ancestry, path) values (%s, %s, %s, %s, %s)
"""

# The moved category and all below it: the beginning of their paths is another.
MOVE_CATEGORY: LiteralString = """
    update category c
    set parent_id = case when c.id = %(id)s then %(parent_id)s else c.parent_id end,
        name = case when c.id = %(id)s then %(name)s else c.name end,
        version = c.version + (c.id = %(id)s)::int,
        events = c.events + 1,
        update_time = case when c.id = %(id)s then now() else c.update_time end,
        ancestry = %(ancestry)s::uuid[] || c.ancestry[%(depth)s + 1 :],
        path = %(path)s::text[] || c.path[%(depth)s + 1 :]
    where c.ancestry @> array[%(id)s::uuid]
    returning c.id, c.parent_id, c.name, c.ancestry, c.path, c.version, c.events
"""

NOTE_RENAMED: LiteralString = """
    insert into renamed_category (category_id)
    select id from category where ancestry @> array[%s::uuid] order by id
    on conflict do nothing
"""

REFRESH: LiteralString = """
    with due as (
        delete from renamed_category
        where category_id in (select category_id from renamed_category limit %s for update skip locked)
        returning category_id
    ),
    refreshed as (
        update product p
        set document = document(
            p.title, p.brand, array_to_string(c.path, ' '),
            (select coalesce(string_agg(concat_ws(' ', v.sku, v.barcode, v.title), ' '), '')
             from variant v where v.product_id = p.id),
            p.description)
        from category c
        where c.id = p.category_id and c.id in (select category_id from due)
    )
    select count(*) from due
"""

MAKE_CATEGORIES: LiteralString = """
    insert into category (id, parent_id, name, ancestry, path)
    select w.id, w.parent_id, w.name, coalesce(p.ancestry, '{}') || w.id, coalesce(p.path, '{}') || w.name
    from unnest(%(ids)b::uuid[], %(parents)b::uuid[], %(names)b::text[]) as w (id, parent_id, name)
    left join category p on p.id = w.parent_id
    on conflict on constraint category_name do nothing
    returning id, parent_id, name, ancestry, path
"""
FIND_CATEGORIES: LiteralString = """
    select c.id, c.parent_id, c.name
    from unnest(%(parents)b::uuid[], %(names)b::text[]) as w (parent_id, name)
    join category c on c.name = w.name and c.parent_id is not distinct from w.parent_id
"""


def _too_deep() -> MercatoError:
    return InvalidArgument.of("category.parentId", f"would be deeper than {DEEPEST} levels", "TOO_DEEP")


CONSTRAINTS = {"category_name": CategoryNameTaken, "category_depth": _too_deep}


class Categories:
    """The tree in PostgreSQL."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection
        self.made: list[Category] = []
        """The categories that `shelve` made in this transaction."""

    def lock(self) -> None:
        """Let nobody else change the tree until this transaction ends."""
        self._connection.execute(LOCK_TREE)

    def find(self, category_id: UUID) -> Category | None:
        """A category as it is, which nobody renames or moves until this transaction ends."""
        statement: LiteralString = f"select {CATEGORY} from category c where c.id = %s for share"
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            return cursor.execute(statement, [category_id]).fetchone()

    def get(self, category_id: UUID | None) -> Category | None:
        """The same; None for none. UnknownCategory."""
        if category_id is None:
            return None
        if found := self.find(category_id):
            return found
        raise UnknownCategory(category_id=str(category_id))

    def add(self, category: Category) -> None:
        """Make a new one. CategoryNameTaken."""
        values = [category.id, category.parent_id, category.name, list(category.ancestry), list(category.path)]
        self._connection.execute(ADD_CATEGORY, values)
        learn(self._connection, [category.name])

    def move(self, before: Category, after: Category) -> list[Category]:
        """Write its new name and place, and the paths of all below; all of these. CategoryNameTaken."""
        values = {
            "id": after.id,
            "parent_id": after.parent_id,
            "name": after.name,
            "ancestry": list(after.ancestry),
            "path": list(after.path),
            "depth": len(before.path),
        }
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            moved = cursor.execute(MOVE_CATEGORY, values).fetchall()
        self._connection.execute(NOTE_RENAMED, [after.id])
        learn(self._connection, [after.name])
        return moved

    def shelve(
        self, paths: Collection[tuple[str, ...]], known: Mapping[tuple[str, ...], Shelf]
    ) -> dict[tuple[str, ...], Shelf]:
        """The categories of these paths and those above, made where they are missing."""
        shelves = dict(known)
        if all(path in shelves for path in paths):
            return shelves
        self.lock()
        for depth in range(1, max(map(len, paths)) + 1):
            wanted = {path[:depth] for path in paths if len(path) >= depth} - shelves.keys()
            if wanted:
                shelves |= self._shelve(sorted(wanted), shelves)
        return shelves

    def _shelve(
        self, paths: Sequence[tuple[str, ...]], above: Mapping[tuple[str, ...], Shelf]
    ) -> dict[tuple[str, ...], Shelf]:
        parents = [above[path[:-1]].id if len(path) > 1 else None for path in paths]
        places = {"parents": parents, "names": [path[-1] for path in paths]}
        with self._connection.cursor(row_factory=kwargs_row(category_of)) as cursor:
            self.made += cursor.execute(MAKE_CATEGORIES, places | {"ids": [uuid7() for _ in paths]}).fetchall()
        rows = self._connection.execute(FIND_CATEGORIES, places).fetchall()
        ids = {(parent_id, name): id_ for id_, parent_id, name in rows}
        return {path: Shelf(ids[parent, path[-1]], path) for path, parent in zip(paths, parents, strict=True)}

    def refresh(self, most: int) -> int:
        """Let products of categories that were renamed be found by the new names: how many categories are done."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return int(cursor.execute(REFRESH, [most]).fetchone() or 0)


def category_of(ancestry: list[UUID], path: list[str], **columns: Any) -> Category:
    """A row of CATEGORY."""
    return Category(ancestry=tuple(ancestry), path=tuple(path), **columns)
