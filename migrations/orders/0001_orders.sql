-- Orders as streams of events, the order as it is now, what an event still demands, and what is personal.

-- An order is its stream. The primary key is the optimistic lock: of two who write the same version, one fails.
create table events (
    stream_id uuid not null,
    version bigint not null check (version > 0),
    event_id uuid not null,
    type text not null,
    schema int not null check (schema > 0),
    payload bytea not null,
    time timestamptz not null default clock_timestamp(),
    -- Subscriptions read in commit order: by the writer's transaction, then by this number.
    xid xid8 not null default pg_current_xact_id(),
    position bigint generated always as identity,
    primary key (stream_id, version)
);
create unique index events_event_id on events (event_id);
create index events_in_commit_order on events (xid, position);

-- The order as it is now, written in the transaction that appends, so that whoever wrote reads it. `document` is the
-- public message without what is personal.
create table order_view (
    order_id uuid primary key,
    customer_id uuid not null,
    state text not null check (state in (
        'PENDING', 'CONFIRMED', 'PICKING', 'PAYMENT_DUE', 'READY', 'OUT_FOR_DELIVERY', 'DELIVERED', 'DELIVERY_FAILED',
        'REJECTED', 'CANCELLED')),
    version bigint not null check (version > 0),
    warehouse_id text not null,
    slot_start_time timestamptz not null,
    create_time timestamptz not null,
    state_time timestamptz not null,
    document bytea not null
);
-- Ids begin with the time at which they were made: by id is by time.
create index order_view_of_customer on order_view (customer_id, order_id desc);
create index order_view_in_state on order_view (state, order_id desc);
create index order_view_since on order_view (state, state_time);
create index order_view_to_pick on order_view (slot_start_time, order_id) where state in ('CONFIRMED', 'PICKING');

-- All that an order knows of a person, and the only place where it lies. Erasing the person empties the row; the order's
-- history stays.
create table personal (
    order_id uuid primary key references order_view,
    customer_id uuid not null,
    recipient text not null default '',
    line1 text not null default '',
    line2 text not null default '',
    postal_code text not null default '',
    city text not null default '',
    country_code text not null default '',
    phone text not null default '',
    latitude double precision,
    longitude double precision,
    note text not null default '',
    cancel_reason text not null default '',
    return_reason text not null default '',
    refusal_reason text not null default '',
    erase_time timestamptz,
    check ((latitude is null) = (longitude is null)),
    check (erase_time is null or (latitude is null
        and recipient || line1 || line2 || postal_code || city || country_code || phone || note = ''
        and cancel_reason || return_reason || refusal_reason = ''))
);
create index personal_of_customer on personal (customer_id);

-- Customers who were erased. An order that was on its way in at that moment finds its customer here, and stays out.
create table erased_customer (
    customer_id uuid primary key,
    erase_time timestamptz not null default clock_timestamp()
);

-- What the event at a version of an order still demands of the neighbours. The row goes when it is done. Whoever does it
-- holds the lease; its token fences off one who was paused for longer.
create table process (
    order_id uuid not null,
    version bigint not null,
    kind text not null check (kind in (
        'CHECK_OUT', 'SHIP', 'COMPENSATE', 'FINISH', 'REDELIVER', 'SETTLE', 'TAKE_BACK')),
    next_run_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null,
    lease_token bigint not null default 1,
    attempt int not null default 0 check (attempt >= 0),
    deadline_at timestamptz,
    request_id text not null,
    create_time timestamptz not null default clock_timestamp(),
    primary key (order_id, version),
    foreign key (order_id, version) references events (stream_id, version)
);
create index process_due on process (next_run_at);

-- What somebody means to order: the lines in one document, for they are always read and written together.
create table cart (
    owner text primary key,
    version bigint not null check (version > 0),
    lines jsonb not null check (jsonb_typeof(lines) = 'array' and jsonb_array_length(lines) <= 100),
    -- Whose cart took over this guest's lines. They are taken over once.
    merged_into text,
    update_time timestamptz not null default clock_timestamp()
);

-- What happened is never changed, whoever asks for it.
revoke update, delete, truncate on events from mercato_orders;
