-- I6 holds_run_out
-- A place that nobody confirmed is given back when its time is over.
-- about: hold
-- repair: human
select id, format('held for order %s until %s', order_id, expire_time) as detail
from hold
where state = 'HELD' and expire_time < now() - :'grace'::interval
