"""The statements that change stock, each with why it is as it is. They can be pasted into psql.

Locks are taken in one order everywhere: first reservations, then stock rows by (sku, warehouse). So nobody who holds a
stock row ever waits for a reservation, and nobody deadlocks.
"""

from typing import LiteralString

# All lines in one warehouse or nothing, in one statement: 3 to 4 times what select-then-update does on a hot row.
# `place` looks without locks for the first warehouse that serves everything, `claim` writes the reservation (and waits
# for another transaction with the same id), `level` locks the rows in order and sees what is committed by then,
# `taken` takes. If others were faster than the look, nothing is taken: the caller rolls back and looks again.
# The sequence leaves room for the events of the crossings (domain.Change.crossings).
# Arrays come in as `(select …)`: their length is hidden from the planner, so that a plan made for these values is never
# cheaper than the generic one, which is then kept; planning anew took as long as the statement itself.
RESERVE: LiteralString = """
    with want as materialized (
        select * from unnest((select %(skus)s::text[]), (select %(quantities)s::int[])) as w (sku, quantity)
    ),
    place as materialized (
        select p.warehouse_id
        from unnest((select %(warehouses)s::text[])) with ordinality as p (warehouse_id, n)
        where (select count(*) from inventory.warehouse
               where id = any((select %(warehouses)s::text[])::text[])) = cardinality(%(warehouses)s::text[])
          and (select count(*) from want w
               join inventory.stock s on s.sku = w.sku and s.warehouse_id = p.warehouse_id
               where s.available >= w.quantity) = cardinality(%(skus)s::text[])
        order by p.n
        limit 1
    ),
    claim as (
        insert into inventory.reservation as r
            (id, order_id, warehouse_id, state, skus, quantities, expire_time)
        select %(id)s, %(order_id)s, warehouse_id, 'HELD', %(skus)s::text[], %(quantities)s::int[], now() + %(hold)s
        from place
        on conflict (id) do update
            set state = 'HELD', version = r.version + 1, order_id = excluded.order_id,
                warehouse_id = excluded.warehouse_id, skus = excluded.skus, quantities = excluded.quantities,
                expire_time = excluded.expire_time
            where r.state = 'EXPIRED'
        returning r.warehouse_id, r.expire_time, r.version
    ),
    level as materialized (
        select s.sku, s.warehouse_id, s.on_hand, s.reserved, s.available, s.version, s.sequence, w.quantity
        from claim c
        join inventory.stock s on s.warehouse_id = c.warehouse_id
        join want w on w.sku = s.sku
        order by s.sku
        for update of s
    ),
    taken as (
        update inventory.stock s
        set reserved = s.reserved + l.quantity,
            sequence = s.sequence + 1
                + (s.available > %(low)s and s.available - l.quantity <= %(low)s)::int + (s.available = l.quantity)::int
        from level l
        where s.sku = l.sku and s.warehouse_id = l.warehouse_id
          and not exists (select from level where available < quantity)
        returning s.sku, s.warehouse_id, l.quantity
    ),
    noted as (
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select sku, warehouse_id, 'RESERVED', 0, quantity, %(id)s::uuid::text from taken order by sku
    )
    select c.expire_time, c.version as reservation_version, l.sku, l.warehouse_id, l.on_hand, l.reserved, l.version,
           l.sequence, exists (select from taken) as taken
    from claim c cross join level l
"""

# A reservation is named by its own columns; the lines are zipped from its arrays.
FIND: LiteralString = """
    select id, order_id, warehouse_id, state, skus, quantities, expire_time, version
    from inventory.reservation where id = %s
"""

BURY: LiteralString = """
    insert into inventory.reservation (id, state, skus, quantities) values (%s, 'RELEASED', '{}', '{}')
    on conflict (id) do nothing
"""

ADVANCE: LiteralString = "update inventory.reservation set state = %s, version = %s where id = %s"

# `skip locked`: any number of sweepers, and a commit or release under way, go past each other. Whoever has the row
# decides; what it leaves HELD is due at the next sweep.
EXPIRE: LiteralString = """
    update inventory.reservation r set state = 'EXPIRED', version = r.version + 1
    from (
        select id from inventory.reservation
        where state = 'HELD' and expire_time <= now()
        order by expire_time
        limit %s
        for update skip locked
    ) due
    where r.id = due.id
    returning r.id, r.order_id, r.warehouse_id, r.state, r.skus, r.quantities, r.expire_time, r.version
"""

# Rows must be there before they can be locked; two who bring the first goods of a SKU meet here.
# Goods that come in need no look before: they are added, whoever else adds at the same moment, and a SKU that was never
# there begins. The sequence leaves room for BackInStock.
BRING: LiteralString = """
    with came as materialized (
        select * from unnest(%(skus)b::text[], %(quantities)b::bigint[]) as c (sku, quantity) order by sku
    ),
    brought as (
        insert into inventory.stock as s (sku, warehouse_id, on_hand, version, sequence)
        select sku, %(warehouse)s, quantity, 1, 1 from came
        on conflict (sku, warehouse_id) do update
            set on_hand = s.on_hand + excluded.on_hand, version = s.version + 1,
                sequence = s.sequence + 1 + (s.available = 0)::int
        returning s.sku, s.on_hand, s.reserved, s.version, s.sequence
    ),
    noted as (
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select sku, %(warehouse)s, %(kind)s, quantity, 0, %(reference)s from came
    )
    select sku, b.on_hand, b.reserved, b.version, b.sequence, c.quantity from came c join brought b using (sku)
"""

OPEN: LiteralString = """
    insert into inventory.stock (sku, warehouse_id) values (%s, %s) on conflict do nothing
"""

LOCK: LiteralString = """
    select s.sku, s.warehouse_id, s.on_hand, s.reserved, s.version, s.sequence
    from inventory.stock s
    join unnest(%b::text[], %b::text[]) as p (sku, warehouse_id) using (sku, warehouse_id)
    order by s.sku, s.warehouse_id
    for update of s
"""

LEVELS: LiteralString = """
    select sku, warehouse_id, on_hand, reserved, version, sequence
    from inventory.stock where sku = any(%s) order by sku, warehouse_id
"""

# Stock and its ledger in one statement: no code path can write one without the other. Binary (%b): a consignment has
# thousands of rows, and as text every element is searched for quotes.
WRITE: LiteralString = """
    with noted as (
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select * from unnest(%(m_skus)b::text[], %(m_warehouses)b::text[], %(m_kinds)b::text[],
                             %(m_on_hand)b::bigint[], %(m_reserved)b::bigint[], %(m_references)b::text[])
    )
    update inventory.stock s
    set on_hand = l.on_hand, reserved = l.reserved, version = l.version, sequence = l.sequence
    from unnest(%(skus)b::text[], %(warehouses)b::text[], %(on_hand)b::bigint[], %(reserved)b::bigint[],
                %(versions)b::bigint[], %(sequences)b::bigint[])
        as l (sku, warehouse_id, on_hand, reserved, version, sequence)
    where s.sku = l.sku and s.warehouse_id = l.warehouse_id
"""

AVAILABLE: LiteralString = """
    select sku, warehouse_id, available from inventory.stock where sku = any(%s) and warehouse_id = any(%s)
"""

RESTOCK: LiteralString = """
    insert into inventory.restock (return_id, order_id, warehouse_id, skus) values (%s, %s, %s, %s)
    on conflict (return_id) do nothing
"""

PUT_WAREHOUSE: LiteralString = """
    insert into inventory.warehouse (id, name) values (%s, %s)
    on conflict (id) do update set name = excluded.name
"""
