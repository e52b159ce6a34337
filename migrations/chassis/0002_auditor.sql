-- The auditor: a role that compares what all schemas say, and may only read. Each schema grants it the columns that the
-- rules (audits/) are about; what names a person, or opens anything, is not among them.
-- Roles belong to the server, not to the database: somebody may just be making it for another one.
do $$ begin
    if not exists (select from pg_roles where rolname = 'mercato_auditor') then
        create role mercato_auditor;
    end if;
exception when duplicate_object or unique_violation then null;
end $$;

do $$ begin
    execute format('grant usage on schema %I to mercato_auditor', current_schema());
end $$;

-- That something was told, and what about; not what was told.
grant select (bucket, id, topic, aggregate_id, version, event_id, type, create_time) on outbox to mercato_auditor;
grant select (bucket, id, topic, aggregate_id, version, event_id, type, create_time) on outbox_journal to mercato_auditor;
grant select on consumer_position, consumer_mark to mercato_auditor;
grant select (id, consumer, topic, topic_id, partition, record_offset, aggregate_id, version, type, create_time)
    on parked_event to mercato_auditor;
grant select (rpc, resource_id, create_time) on idempotency to mercato_auditor;
grant select on migration to mercato_auditor;
