-- I12 live_order_has_its_stock
-- A confirmed order's reservation is committed until the goods are picked, and consumed from then on.
-- about: order
-- repair: human
-- needs: audited_order
select o.order_id as id,
       format('%s, picked: %s; its reservation is %s', o.state, o.picked, coalesce(r.state, 'not there')) as detail
from audited_order o
left join (
    select order_id, string_agg(state, ' and ' order by state) as state from inventory.reservation
    where state in ('HELD', 'COMMITTED', 'CONSUMED') group by order_id
) r on r.order_id = o.order_id
where o.state not in ('PENDING', 'REJECTED', 'CANCELLED')
  and coalesce(r.state, '') <> case when o.picked then 'CONSUMED' else 'COMMITTED' end
  and not exists (select from orders.process p where p.order_id = o.order_id)
