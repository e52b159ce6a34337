-- What whoever runs the shop looks at, and what keeps tables from growing for ever.

-- The last audit of this schema: one row.
create table last_audit (
    one boolean primary key default true check (one),
    time timestamptz not null,
    seconds double precision not null,
    rules int not null,
    -- How many findings there were, and the first of them.
    total int not null,
    findings jsonb not null
);

-- A mark is needed for as long as its events may come again: while Kafka or the journal has them. The day tells when an
-- aggregate was last heard of.
alter table consumer_mark add column day date not null default current_date;

-- Drops the partitions of days that are further back. The service's role may not drop tables; it may call this.
create function drop_journal_days(days int) returns int
    language plpgsql security definer set search_path from current as $$
declare
    old text;
    dropped int := 0;
begin
    -- Below a week nothing is dropped, whatever is asked for: a topic is to be made again from what is left.
    for old in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'outbox_journal'::regclass and c.relname ~ '^outbox_journal_\d{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - greatest(days, 7)
        order by c.relname
    loop
        execute format('drop table %I', old);
        dropped := dropped + 1;
    end loop;
    -- What had no partition of its day lies with the rest.
    delete from outbox_journal_rest where create_time < current_date - greatest(days, 7);
    return dropped;
end
$$;
revoke execute on function drop_journal_days from public;
do $$ begin
    execute format('grant execute on function drop_journal_days to %I', 'mercato_' || current_schema());
end $$;
