-- I10 nothing_parked
-- Every event had its effect: none lies parked for longer than the grace. A parked one waits for `mercato dlq`.
-- about: parked event
-- repair: human
select id, format('%s does without version %s of %s %s, since %s', consumer, version, topic, aggregate_id, create_time)
       as detail
from parked_event
where create_time < now() - :'grace'::interval
