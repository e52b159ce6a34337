-- I10 no_effect_of_nothing
-- A consumer has read no version of an aggregate that its service has not committed: of the last days, for so long the
-- journal is kept in any case.
-- about: aggregate
-- repair: human
with marks as (
    select consumer, topic, aggregate_id, version, day from catalog.consumer_mark
    union all select consumer, topic, aggregate_id, version, day from orders.consumer_mark
    union all select consumer, topic, aggregate_id, version, day from delivery.consumer_mark
    union all select consumer, topic, aggregate_id, version, day from users.consumer_mark
),
told as (
    select topic, aggregate_id, version from catalog.outbox
    union all select topic, aggregate_id, version from catalog.outbox_journal
    union all select topic, aggregate_id, version from inventory.outbox
    union all select topic, aggregate_id, version from inventory.outbox_journal
    union all select topic, aggregate_id, version from orders.outbox
    union all select topic, aggregate_id, version from orders.outbox_journal
    union all select topic, aggregate_id, version from payments.outbox
    union all select topic, aggregate_id, version from payments.outbox_journal
    union all select topic, aggregate_id, version from delivery.outbox
    union all select topic, aggregate_id, version from delivery.outbox_journal
    union all select topic, aggregate_id, version from users.outbox
    union all select topic, aggregate_id, version from users.outbox_journal
)
select m.aggregate_id as id,
       format('%s has read version %s of %s, which was never written', m.consumer, m.version, m.topic) as detail
from marks m
where m.day >= current_date - 3
  and not exists (
      select from told t where t.topic = m.topic and t.aggregate_id = m.aggregate_id and t.version = m.version
  )
