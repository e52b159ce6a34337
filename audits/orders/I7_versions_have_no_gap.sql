-- I7 versions_have_no_gap
-- The versions of a stream are 1 to n, each once.
-- about: order
-- repair: human
select stream_id as id, format('%s events, the versions %s to %s', count(*), min(version), max(version)) as detail
from events
group by stream_id
having min(version) <> 1 or max(version) <> count(*)
