"""Levels of stock in PostgreSQL, as inventory told of them."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import class_row

from services.product.domain import Change, Level

# In the order of the key, as everywhere: two consumers with levels of the same SKUs do not deadlock.
# What is read beside the writing is the table as it was. So only one follows at a time: the second would tell of a
# change from what the first has already changed.
FOLLOW_ALONE: LiteralString = "select pg_advisory_xact_lock('level'::regclass::oid::bigint)"
FOLLOW: LiteralString = """
    with given as materialized (
        select *
        from unnest(%b::text[], %b::text[], %b::int[], %b::bigint[]) as n (sku, warehouse_id, available, sequence)
    ),
    before as materialized (
        select l.* from level l where l.sku in (select sku from given)
    ),
    written as (
        insert into level as l (sku, warehouse_id, available, sequence)
        select sku, warehouse_id, available, sequence from given order by sku, warehouse_id
        on conflict (sku, warehouse_id) do update set available = excluded.available, sequence = excluded.sequence
        where excluded.sequence > l.sequence
        returning l.sku, l.warehouse_id, l.available, l.sequence
    ),
    after as (
        select coalesce(w.sku, b.sku) as sku, b.available as was, coalesce(w.available, b.available) as available,
               coalesce(w.sequence, b.sequence) as sequence
        from written w full join before b using (sku, warehouse_id)
    )
    select sku, max(was) as before, max(available) as after, sum(sequence)::bigint as sequence,
           exists (select from variant v where v.sku = after.sku) as sold
    from after where sku in (select sku from written) group by sku order by sku
"""


class Levels:
    """What inventory told of stock."""

    def __init__(self, connection: Connection[Any]) -> None:
        """Work on the connection of an open transaction."""
        self._connection = connection

    def follow(self, levels: Iterable[Level]) -> list[Change]:
        """Note levels, unless newer ones are known; what that changes of each SKU."""
        newest: dict[tuple[str, str], Level] = {}
        for level in levels:
            place = level.sku, level.warehouse_id
            if place not in newest or newest[place].sequence < level.sequence:
                newest[place] = level
        if not newest:
            return []
        self._connection.execute(FOLLOW_ALONE)
        with self._connection.cursor(row_factory=class_row(Change)) as cursor:
            return cursor.execute(FOLLOW, _level_columns(list(newest.values()))).fetchall()


def _level_columns(levels: Sequence[Level]) -> list[list[Any]]:
    return [
        [level.sku for level in levels],
        [level.warehouse_id for level in levels],
        [level.available for level in levels],
        [level.sequence for level in levels],
    ]
