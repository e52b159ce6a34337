-- I11 open_orders_are_open
-- The user service knows which orders are not over, once their events have arrived.
-- about: order
-- repair: human
-- needs: audited_order
select coalesce(u.order_id, o.order_id) as id,
       case when u.order_id is null then format('is %s, and the user service does not know of it', o.state)
            else format('is %s, and the user service takes it for open', coalesce(o.state, 'not there')) end as detail
from users.open_orders u
full join (
    select order_id, state, state_time from audited_order
) o on o.order_id = u.order_id
where coalesce(o.state_time < now() - :'grace'::interval, true)
  and (u.order_id is null) = (coalesce(o.state, '') not in ('', 'REJECTED', 'CANCELLED', 'DELIVERED'))
  -- What is not published yet cannot have arrived: that is another rule's finding (I8).
  and not exists (
      select from orders.outbox b
      where b.topic = 'mercato.order.v1' and b.aggregate_id = coalesce(u.order_id, o.order_id)::text
  )
