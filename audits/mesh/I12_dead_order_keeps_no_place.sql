-- I12 dead_order_keeps_no_place
-- A rejected or cancelled order that was never picked has no place in a slot when its compensation is done.
-- about: order
-- repair: compensate
-- needs: audited_order
select o.order_id as id, format('%s; hold %s is %s', o.state, h.id, h.state) as detail
from audited_order o join delivery.hold h on h.order_id = o.order_id
where o.state in ('REJECTED', 'CANCELLED') and not o.picked and h.state in ('HELD', 'CONFIRMED')
  and not exists (select from orders.process t where t.order_id = o.order_id)
