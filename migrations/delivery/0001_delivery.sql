-- Delivery: the zones, the slots of their days and who holds a place, and the shipments that come of it.

create table delivery.zone (
    id text collate "C" primary key,
    name text not null,
    time_zone text not null,
    area polygon not null, -- x is the longitude, y the latitude
    warehouse_ids text[] not null constraint zone_served check (cardinality(warehouse_ids) > 0),
    currency text not null,
    delivery_fee bigint not null constraint zone_fee check (delivery_fee >= 0),
    free_from bigint constraint zone_free_from check (free_from >= 0),
    minimum_total bigint not null constraint zone_minimum check (minimum_total >= 0),
    slot_capacity integer not null constraint zone_capacity check (slot_capacity > 0),
    first_hour integer not null,
    last_hour integer not null,
    constraint zone_hours check (0 <= first_hour and first_hour < last_hour and last_hour <= 24)
);

-- Finds the few zones whose frame a place lies in. The place itself is decided on in services/delivery/geometry.py:
-- PostgreSQL's own `polygon @> point` takes what is a few metres beyond a slanting edge for inside.
create index zone_frame on delivery.zone using gist (box(area));

create index zone_name on delivery.zone (name, id);

-- The row that everybody waits for who wants a place of it. `taken` counts the holds that are HELD or CONFIRMED: a
-- statement that would take one too many fails, whatever the code above it does.
create table delivery.slot (
    id uuid primary key,
    zone_id text collate "C" not null constraint slot_zone references delivery.zone (id),
    start_time timestamptz not null,
    end_time timestamptz not null,
    cutoff_time timestamptz not null,
    capacity integer not null constraint slot_capacity check (capacity >= 0),
    taken integer not null default 0,
    constraint slot_taken check (taken between 0 and capacity),
    constraint slot_times check (cutoff_time <= start_time and start_time < end_time)
) with (fillfactor = 70); -- holds rewrite the row in place

-- A zone has one slot at a time: whoever rolls the days on, any number of times, makes each once.
create unique index slot_of_zone on delivery.slot (zone_id, start_time);

-- A claim on a place. No reference to the slot: every insert would lock the one row that all are waiting for anyway.
create table delivery.hold (
    id uuid primary key,
    order_id uuid,
    slot_id uuid,
    state text not null constraint hold_state check (state in ('HELD', 'CONFIRMED', 'RELEASED', 'EXPIRED')),
    version bigint not null default 1, -- numbers its events
    create_time timestamptz not null default now(),
    expire_time timestamptz,
    -- Only a tombstone (a release that came before its hold) has neither order nor slot.
    constraint hold_tombstone check (
        state = 'RELEASED' or (order_id is not null and slot_id is not null and expire_time is not null)
    )
);

create index hold_due on delivery.hold (expire_time) where state = 'HELD';

-- Their ids are those of their users; an erased user's row goes.
create table delivery.courier (
    id uuid primary key,
    name text not null,
    create_time timestamptz not null default now()
);

create index courier_name on delivery.courier (name, id);

-- The delivery of one order. Where it goes lies in `destination`, which can be emptied.
create table delivery.shipment (
    id uuid primary key,
    order_id uuid,
    customer_id uuid,
    slot_id uuid constraint shipment_slot references delivery.slot (id),
    courier_id uuid,
    state text not null constraint shipment_state check (
        state in ('PLANNED', 'READY', 'ASSIGNED', 'PICKED_UP', 'DELIVERED', 'FAILED', 'CANCELLED')
    ),
    currency text,
    cash_due bigint constraint shipment_cash_due check (cash_due >= 0),
    cash_collected bigint constraint shipment_cash_collected check (cash_collected >= 0),
    failure_reason text not null default '',
    latitude double precision,
    longitude double precision,
    position_time timestamptz,
    version bigint not null default 1, -- numbers its events: the etag
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    -- Only a tombstone (a cancellation that came before its shipment) belongs to nobody.
    constraint shipment_tombstone check (
        state = 'CANCELLED' or (order_id is not null and customer_id is not null and slot_id is not null)
    ),
    constraint shipment_carried check (
        courier_id is not null or state in ('PLANNED', 'READY', 'CANCELLED')
    ),
    constraint shipment_collected check (cash_collected is null or state = 'DELIVERED'),
    constraint shipment_cash check (currency is not null or (cash_due is null and cash_collected is null)),
    constraint shipment_position check ((latitude is null) = (longitude is null))
);

create index shipment_newest on delivery.shipment (create_time desc, id desc);
create index shipment_of_customer on delivery.shipment (customer_id, create_time desc, id desc);
create index shipment_of_courier on delivery.shipment (courier_id, create_time desc, id desc);
create index shipment_of_order on delivery.shipment (order_id);

-- Everything here that tells who a person is and where they live.
create table delivery.destination (
    shipment_id uuid primary key references delivery.shipment (id),
    customer_id uuid not null,
    recipient text not null,
    line1 text not null,
    line2 text not null,
    postal_code text not null,
    city text not null,
    country_code text not null,
    phone text not null,
    note text not null,
    latitude double precision,
    longitude double precision
);

create index destination_of_customer on delivery.destination (customer_id);

-- Users who were erased: what arrives late about them is not written down again.
create table delivery.erased (
    user_id uuid primary key
);
