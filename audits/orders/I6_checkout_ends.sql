-- I6 checkout_ends
-- A checkout has come to a yes or a no soon after its deadline.
-- about: order
-- repair: human
select order_id as id, format('its checkout was to end at %s, after %s tries', deadline_at, attempt) as detail
from process
where deadline_at < now() - greatest(interval '1 minute', :'grace'::interval)
