-- I8 told_once
-- An event lies in the outbox or in the journal, and there once: it was told, or is yet to be told, and not both.
-- about: event
-- repair: human
select event_id as id,
       format('%s version %s of %s lies there %s times', min(type), min(version), min(aggregate_id), count(*)) as detail
from (
    select event_id, type, version, aggregate_id from outbox
    union all
    select event_id, type, version, aggregate_id from outbox_journal
) told
group by event_id
having count(*) > 1
