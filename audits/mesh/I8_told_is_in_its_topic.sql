-- I8 told_is_in_its_topic
-- What a journal says was published lies in its topic.
-- about: event
-- repair: human
-- needs: topic_record
with told as (
    select event_id, topic, aggregate_id, version, create_time from catalog.outbox_journal
    union all select event_id, topic, aggregate_id, version, create_time from inventory.outbox_journal
    union all select event_id, topic, aggregate_id, version, create_time from orders.outbox_journal
    union all select event_id, topic, aggregate_id, version, create_time from payments.outbox_journal
    union all select event_id, topic, aggregate_id, version, create_time from delivery.outbox_journal
    union all select event_id, topic, aggregate_id, version, create_time from users.outbox_journal
)
select t.event_id as id, format('version %s of %s is not in %s', t.version, t.aggregate_id, t.topic) as detail
from told t
where t.topic not like '%.dlq' and t.create_time > (select since + interval '1 minute' from topic_window)
  and not exists (select from topic_record r where r.event_id = t.event_id)
