-- I7 event_ids_differ
-- No two events have the same id.
-- about: event
-- repair: human
select event_id as id, format('in %s streams', count(*)) as detail
from events
group by event_id
having count(*) > 1
