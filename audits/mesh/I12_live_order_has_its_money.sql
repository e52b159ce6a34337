-- I12 live_order_has_its_money
-- A confirmed order's payment is authorized, in full, until the goods are packed; then what was picked is captured, or due
-- at the door, and every other payment of the order is given up.
-- about: order
-- repair: human
-- needs: audited_order
with paid as (
    select o.order_id,
           count(*) filter (where p.state in ('AUTHORIZED', 'CAPTURED', 'REFUNDED')) as live,
           sum(p.authorized) filter (where p.state in ('AUTHORIZED', 'CAPTURED', 'REFUNDED')) as authorized,
           sum(p.captured) as captured
    from audited_order o join payments.payment p on p.order_id = o.order_id
    group by o.order_id
)
select o.order_id as id,
       format('%s: total %s, due %s; %s live payments, authorized %s, captured %s', o.state, o.total, o.due,
              coalesce(p.live, 0), p.authorized, p.captured) as detail
from audited_order o left join paid p on p.order_id = o.order_id
where not exists (select from orders.process t where t.order_id = o.order_id)
  and case
      when o.state in ('CONFIRMED', 'PICKING') then p.live is distinct from 1 or p.authorized <> o.total or p.captured <> 0
      when o.state in ('READY', 'OUT_FOR_DELIVERY', 'DELIVERED', 'DELIVERY_FAILED')
          then p.live is distinct from 1 or p.authorized < o.due
               or not (p.captured = o.due or o.cash and p.captured < o.due and (p.captured = 0 or o.state = 'DELIVERED'))
      when o.state = 'PAYMENT_DUE' then coalesce(p.captured, 0) <> 0
      else false
      end
