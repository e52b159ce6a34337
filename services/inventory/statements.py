"""The statements that change stock, each with why it is as it is. They can be pasted into psql.

Locks are taken in one order everywhere: reservations that are there, then stock rows by (sku, warehouse), then new
reservations by id. So nobody who holds a stock row waits for somebody who needs one, and nobody deadlocks.
"""

from typing import LiteralString

# All lines in one warehouse or nothing, in one statement: 3 to 4 times what select-then-update does on a hot row.
# `place` looks without locks for the first warehouse that serves everything, `level` locks the rows in order and sees
# what is committed by then, `claim` writes the reservation if that is enough and the id is free, `taken` takes. If not,
# nothing is written and no row comes back: a basket that is not served at the first look is decided as a set of one.
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
        where not exists (select from inventory.reservation where id = %(id)s)
          and (select count(*) from inventory.warehouse
               where id = any((select %(warehouses)s::text[])::text[])) = cardinality(%(warehouses)s::text[])
          and (select count(*) from want w
               join inventory.stock s on s.sku = w.sku and s.warehouse_id = p.warehouse_id
               where s.available >= w.quantity) = cardinality(%(skus)s::text[])
        order by p.n
        limit 1
    ),
    level as materialized (
        select s.sku, s.warehouse_id, s.on_hand, s.reserved, s.available, s.version, s.sequence, w.quantity
        from place p
        join inventory.stock s on s.warehouse_id = p.warehouse_id
        join want w on w.sku = s.sku
        order by s.sku
        for update of s
    ),
    claim as (
        insert into inventory.reservation (id, order_id, warehouse_id, state, skus, quantities, expire_time)
        select %(id)s, %(order_id)s, warehouse_id, 'HELD', %(skus)s::text[], %(quantities)s::int[], now() + %(hold)s
        from place
        where (select count(*) from level where available >= quantity) = cardinality(%(skus)s::text[])
        on conflict (id) do nothing
        returning expire_time
    ),
    taken as (
        update inventory.stock s
        set reserved = s.reserved + l.quantity,
            sequence = s.sequence + 1
                + (s.available > %(low)s and s.available - l.quantity <= %(low)s)::int + (s.available = l.quantity)::int
        from level l
        where s.sku = l.sku and s.warehouse_id = l.warehouse_id and exists (select from claim)
    ),
    noted as (
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select sku, warehouse_id, 'RESERVED', 0, quantity, %(id)s::uuid::text from level
        where exists (select from claim) order by sku
    )
    select c.expire_time, l.sku, l.warehouse_id, l.on_hand, l.reserved, l.version, l.sequence
    from claim c cross join level l
"""

# What a set of baskets needs to know beforehand: until when it holds, and the reservations that there are. `= any`, for
# an outer join with the ids as a table reads all reservations.
LOOK: LiteralString = """
    select until, r.id, r.order_id, r.warehouse_id, r.state, r.skus, r.quantities, r.expire_time, r.version
    from (select now() + %(hold)s as until) t
    left join inventory.reservation r on r.id = any(%(ids)s)
"""

# A set of baskets that was decided on locked levels, written as one: the claims, the levels after all of them, and the
# ledger's notes, which follow from the claims. Says how many claims it wrote; an id that somebody else took in between
# is missing, and then all of it must be undone. What ran out and is held afresh was locked before.
# JSON, for it holds arrays of any length; the levels as arrays, for the planner takes those to be few.
HOLD: LiteralString = """
    with held as materialized (
        select * from json_to_recordset(%(held)s::json)
            as h (id uuid, order_id uuid, warehouse_id text, skus text[], quantities int[], version bigint)
    ),
    begun as (
        insert into inventory.reservation (id, order_id, warehouse_id, state, skus, quantities, expire_time)
        select id, order_id, warehouse_id, 'HELD', skus, quantities, %(until)s
        from held where version = 1 order by id
        on conflict (id) do nothing
        returning id
    ),
    afresh as (
        update inventory.reservation r
        set state = 'HELD', version = h.version, order_id = h.order_id, warehouse_id = h.warehouse_id, skus = h.skus,
            quantities = h.quantities, expire_time = %(until)s
        from held h where r.id = h.id and h.version > 1
        returning r.id
    ),
    noted as (
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select l.sku, h.warehouse_id, 'RESERVED', 0, l.quantity, h.id::text
        from held h cross join unnest(h.skus, h.quantities) as l (sku, quantity)
    ),
    taken as (
        update inventory.stock s
        set reserved = l.reserved, sequence = l.sequence
        from unnest((select %(skus)b::text[]), (select %(warehouses)b::text[]), (select %(reserved)b::bigint[]),
                    (select %(sequences)b::bigint[])) as l (sku, warehouse_id, reserved, sequence)
        where s.sku = l.sku and s.warehouse_id = l.warehouse_id
    )
    select (select count(*) from begun) + (select count(*) from afresh)
"""

# A reservation is named by its own columns; the lines are zipped from its arrays.
FIND: LiteralString = """
    select id, order_id, warehouse_id, state, skus, quantities, expire_time, version
    from inventory.reservation where id = %s
"""

BURY: LiteralString = """
    insert into inventory.reservation (id, state, skus, quantities)
    select id, 'RELEASED', '{}', '{}' from unnest((select %b::uuid[])) as t (id) order by id
    on conflict (id) do nothing
"""

LOCK_ALL: LiteralString = """
    select id, order_id, warehouse_id, state, skus, quantities, expire_time, version
    from inventory.reservation where id = any(%s) order by id for update
"""

ADVANCE: LiteralString = """
    update inventory.reservation r set state = a.state, version = a.version
    from unnest((select %b::uuid[]), (select %b::text[]), (select %b::bigint[])) as a (id, state, version)
    where r.id = a.id
"""

DUE: LiteralString = "select exists (select from inventory.reservation where state = 'HELD' and expire_time <= now())"

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

# Nobody asks for those any more: claims on goods that were sold are CONSUMED, and stay.
FORGET: LiteralString = """
    delete from inventory.reservation r
    using (
        select id from inventory.reservation
        where state in ('RELEASED', 'EXPIRED') and create_time < now() - %s
        order by create_time
        limit %s
        for update skip locked
    ) old
    where r.id = old.id
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

RESTOCK: LiteralString = """
    insert into inventory.restock (return_id, order_id, warehouse_id, skus) values (%s, %s, %s, %s)
    on conflict (return_id) do nothing
"""

PUT_WAREHOUSE: LiteralString = """
    insert into inventory.warehouse (id, name) values (%s, %s)
    on conflict (id) do update set name = excluded.name
"""
