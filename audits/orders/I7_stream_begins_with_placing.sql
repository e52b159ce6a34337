-- I7 stream_begins_with_placing
-- A stream begins with its placing, and has no other.
-- about: order
-- repair: human
select stream_id as id, format('%s is version %s', type, version) as detail
from events
where (version = 1) <> (type = 'OrderPlaced')
