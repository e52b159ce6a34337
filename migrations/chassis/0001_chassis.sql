-- What every service's schema has beside its own tables: events on their way out, requests that were answered, and how
-- far events of others were read. Run once in each schema, which the search path names.

-- Events that are committed and not yet published. There is no cursor: what lies here is to be sent, whenever it was
-- committed, and what was sent is moved to the journal.
create table outbox (
    id bigint generated always as identity,
    bucket smallint not null,
    topic text not null,
    aggregate_id text not null,
    version bigint not null,
    event_id uuid not null,
    type text not null,
    payload bytea not null,
    headers jsonb not null,
    create_time timestamptz not null default clock_timestamp(),
    primary key (bucket, id)
);
-- Two events of one aggregate with the same version: readers would take the second for a repeat and skip it.
create unique index outbox_version_key on outbox (topic, aggregate_id, version) where topic not like '%.dlq';
-- A queue is emptied as fast as it fills: its dead rows must go before reading it means wading through them.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0);

-- What was published, by day, so that a topic can be made again and old days dropped whole.
create table outbox_journal (
    bucket smallint not null,
    id bigint not null,
    topic text not null,
    aggregate_id text not null,
    version bigint not null,
    event_id uuid not null,
    type text not null,
    payload bytea not null,
    headers jsonb not null,
    create_time timestamptz not null
) partition by range (create_time);
-- Where a row goes whose day has no partition: nothing is lost for want of housekeeping.
create table outbox_journal_rest partition of outbox_journal default;

-- Makes the partitions of today and the days to come. The service's role may not create tables; it may call this.
create function keep_journal_days(days int) returns void
    language plpgsql security definer set search_path from current as $$
declare
    day date;
begin
    for day in select current_date + n from generate_series(0, days) n loop
        if to_regclass('outbox_journal_' || to_char(day, 'YYYYMMDD')) is null then
            execute format('create table %I partition of outbox_journal for values from (%L) to (%L)',
                'outbox_journal_' || to_char(day, 'YYYYMMDD'), day, day + 1);
        end if;
    end loop;
end
$$;
revoke execute on function keep_journal_days from public;
do $$ begin
    execute format('grant execute on function keep_journal_days to %I', 'mercato_' || current_schema());
end $$;
select keep_journal_days(7);

-- Requests that named themselves, and what they made. Written in the transaction of the effect: a refused request leaves
-- no row and may be sent again.
create table idempotency (
    principal text not null,
    rpc text not null,
    key text not null,
    fingerprint bytea not null,
    resource_id text not null default '',
    create_time timestamptz not null default now(),
    primary key (principal, rpc, key)
);
create index idempotency_age on idempotency (create_time);

-- The next offset that a consumer reads. The topic's id is part of it: a topic that was made again begins anew.
create table consumer_position (
    consumer text not null,
    topic text not null,
    topic_id text not null,
    partition int not null,
    next_offset bigint not null,
    primary key (consumer, topic, topic_id, partition)
);

-- The last version of each aggregate whose effect is here: this or an earlier one that comes again is a repeat.
create table consumer_mark (
    consumer text not null,
    topic text not null,
    aggregate_id text not null,
    version bigint not null,
    primary key (consumer, topic, aggregate_id)
);

-- Events that could not be applied, and the later ones of the same aggregate, which wait for them.
create table parked_event (
    id bigint generated always as identity primary key,
    consumer text not null,
    topic text not null,
    topic_id text not null,
    partition int not null,
    record_offset bigint not null,
    -- Empty for records that do not say what they are about; nothing waits for those.
    aggregate_id text not null,
    version bigint not null,
    type text not null,
    payload bytea not null,
    headers jsonb not null,
    reason text not null,
    create_time timestamptz not null default now(),
    unique (consumer, topic, topic_id, partition, record_offset)
);
create index parked_event_key on parked_event (consumer, topic, aggregate_id, id) where aggregate_id <> '';
