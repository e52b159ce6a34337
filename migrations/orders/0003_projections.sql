-- Read models of orders that follow the events: lists, the staff's board, the history. The order as it is now stays in
-- order_view, written with the event; what lists and sorts orders is off that way.

-- History cannot be changed by anybody, the owner of the table included.
create function refuse_change() returns trigger language plpgsql set search_path from current as $$
begin
    raise exception 'what happened is never changed' using errcode = 'insufficient_privilege', table = tg_table_name;
end
$$;
create trigger events_are_never_changed before update or delete or truncate on events
    for each statement execute function refuse_change();

-- States of long streams, kept so that they need not be replayed whole. `schema` is the fingerprint of the state's
-- definition: what another definition wrote is not found. Nothing depends on a row; all may be deleted at any time.
create table snapshot (
    stream_id uuid primary key,
    version bigint not null check (version > 0),
    schema text not null,
    state bytea not null,
    create_time timestamptz not null default clock_timestamp()
);

-- Which orders there are, for lists. Rows of several generations lie side by side while one is rebuilt.
create table order_list (
    generation int not null,
    stream_id uuid not null,
    version bigint not null,
    customer_id uuid not null,
    state text not null,
    create_time timestamptz not null,
    primary key (generation, stream_id)
);
create index order_list_of_customer on order_list (generation, customer_id, stream_id desc);
create index order_list_in_state on order_list (generation, state, stream_id desc);

-- What is to be done: how many orders stand where and since when, and what is to be picked in which order.
create table order_board (
    generation int not null,
    stream_id uuid not null,
    version bigint not null,
    state text not null,
    state_time timestamptz not null,
    warehouse_id text not null,
    slot_start_time timestamptz not null,
    primary key (generation, stream_id)
);
create index order_board_in_state on order_board (generation, state, state_time);
create index order_board_to_pick on order_board (generation, slot_start_time, stream_id)
    where state in ('CONFIRMED', 'PICKING');

-- What customers are told of an order: one row for each event that anybody is told of, at its version.
create table order_history (
    generation int not null,
    stream_id uuid not null,
    version bigint not null,
    type text not null,
    time timestamptz not null,
    text text not null,
    data jsonb not null,
    primary key (generation, stream_id, version)
);

-- The first generation of lists and board begins as what is known now, so that nothing is missing from them while the
-- events are read.
insert into projection (name, generation, live) values
    ('order.list', 1, true), ('order.board', 1, true), ('order.history', 1, true);
insert into order_list (generation, stream_id, version, customer_id, state, create_time)
    select 1, order_id, version, customer_id, state, create_time from order_view;
insert into order_board (generation, stream_id, version, state, state_time, warehouse_id, slot_start_time)
    select 1, order_id, version, state, state_time, warehouse_id, slot_start_time from order_view;

-- Nothing sorts or filters the view any more: it is found by its key, and changing it touches no index.
drop index order_view_of_customer, order_view_in_state, order_view_since, order_view_to_pick;

grant select (stream_id, version, schema, create_time) on snapshot to mercato_auditor;
grant select on order_list, order_board, order_history to mercato_auditor;
