-- I12 dead_order_keeps_no_stock
-- A rejected or cancelled order has no claim on stock when its compensation is done.
-- about: order
-- repair: compensate
-- needs: audited_order
select o.order_id as id, format('%s; reservation %s is %s', o.state, r.id, r.state) as detail
from audited_order o join inventory.reservation r on r.order_id = o.order_id
where o.state in ('REJECTED', 'CANCELLED') and r.state in ('HELD', 'COMMITTED')
  and not exists (select from orders.process t where t.order_id = o.order_id)
