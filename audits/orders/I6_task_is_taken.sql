-- I6 task_is_taken
-- What an order demands is taken up when it is due: no task lies due, and leased to nobody, for longer than the grace.
-- about: order
-- repair: human
select order_id as id, format('%s of version %s is due since %s, after %s tries', kind, version, next_run_at, attempt)
       as detail
from process
where next_run_at < now() - :'grace'::interval and lease_until < now() - :'grace'::interval
