-- I9 versions_rise
-- The events of an aggregate were published in the order of their versions, each version once.
-- about: aggregate
-- repair: human
select aggregate_id as id, format('%s: version %s was published after version %s', topic, version, before) as detail
from (
    select topic, aggregate_id, version, lag(version) over (partition by topic, aggregate_id order by id) as before
    from outbox_journal
    where topic not like '%.dlq'
) published
where version <= before
