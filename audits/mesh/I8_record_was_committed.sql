-- I8 record_was_committed
-- What lies in a topic was committed by the service that it says: no phantom of a transaction that was rolled back.
-- about: record
-- repair: human
-- needs: topic_record
with told as (
    select event_id from catalog.outbox union all select event_id from catalog.outbox_journal
    union all select event_id from inventory.outbox union all select event_id from inventory.outbox_journal
    union all select event_id from orders.outbox union all select event_id from orders.outbox_journal
    union all select event_id from payments.outbox union all select event_id from payments.outbox_journal
    union all select event_id from delivery.outbox union all select event_id from delivery.outbox_journal
    union all select event_id from users.outbox union all select event_id from users.outbox_journal
)
select format('%s/%s/%s', r.topic, r.partition, r.record_offset) as id,
       format('version %s of %s, as event %s, stands in no journal', r.version, r.aggregate_id, r.event_id) as detail
from topic_record r
where r.early and not exists (select from told t where t.event_id = r.event_id)
