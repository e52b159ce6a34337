-- I6 holds_run_out
-- A reservation that nobody committed runs out when its time is over.
-- about: reservation
-- repair: human
select id, format('held for order %s until %s', order_id, expire_time) as detail
from reservation
where state = 'HELD' and expire_time < now() - :'grace'::interval
