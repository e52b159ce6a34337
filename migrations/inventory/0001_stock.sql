-- Stock: what lies where, who has a claim on it, and every change of either.

create table inventory.warehouse (
    id text primary key,
    name text not null
);

-- One row for each SKU in each warehouse that ever had it; the lock that everything about it waits for. All who need
-- several rows take them in the order of the primary key: two orders with the same goods wait instead of deadlocking.
create table inventory.stock (
    sku text collate "C" not null,
    warehouse_id text collate "C" not null constraint stock_warehouse references inventory.warehouse (id),
    on_hand integer not null default 0 constraint stock_on_hand check (on_hand between 0 and 1000000000),
    reserved integer not null default 0 constraint stock_reserved check (reserved >= 0),
    available integer not null generated always as (on_hand - reserved) stored
        constraint stock_available check (available >= 0),
    version bigint not null default 0,  -- counts changes of on_hand: the etag
    sequence bigint not null default 0, -- numbers every event that tells of this row
    primary key (sku, warehouse_id)
) with (fillfactor = 70); -- reservations rewrite the row in place: no index is touched while the page has room

-- The ledger. Its sums are the stock rows: every statement that changes one writes the other.
create table inventory.movement (
    id bigint generated always as identity,
    sku text collate "C" not null,
    warehouse_id text collate "C" not null,
    kind text not null
        constraint movement_kind check (kind in ('RECEIVED', 'ADJUSTED', 'RESERVED', 'RELEASED', 'CONSUMED', 'RESTOCKED')),
    on_hand_delta integer not null,
    reserved_delta integer not null,
    reference text not null,
    create_time timestamptz not null default now(),
    primary key (sku, id), -- read by SKU, newest first, and by nothing else
    constraint movement_moves check (on_hand_delta <> 0 or reserved_delta <> 0)
);
revoke update, delete on inventory.movement from mercato_inventory; -- a ledger is only ever added to

-- A claim. Its lines are arrays: they are written and read with the row and never apart from it.
-- No reference to the warehouse: every insert would lock that one row and make it a meeting place.
create table inventory.reservation (
    id uuid primary key,
    order_id uuid,
    warehouse_id text collate "C",
    state text not null
        constraint reservation_state check (state in ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED', 'CONSUMED')),
    skus text[] not null,
    quantities integer[] not null,
    version bigint not null default 1, -- numbers its events
    create_time timestamptz not null default now(),
    expire_time timestamptz,
    constraint reservation_lines check (cardinality(skus) = cardinality(quantities) and 0 < all (quantities)),
    -- Only a tombstone (a release that came before its reservation) has neither order, warehouse nor lines.
    constraint reservation_tombstone check (
        state = 'RELEASED'
        or (order_id is not null and warehouse_id is not null and expire_time is not null and cardinality(skus) > 0)
    )
);

create index reservation_due on inventory.reservation (expire_time) where state = 'HELD';

-- Returns that were put back already: the second telling of one changes nothing.
create table inventory.restock (
    return_id uuid primary key,
    order_id uuid not null,
    warehouse_id text not null,
    skus text[] not null,
    create_time timestamptz not null default now()
);
