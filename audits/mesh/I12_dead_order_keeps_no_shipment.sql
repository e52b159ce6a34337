-- I12 dead_order_keeps_no_shipment
-- No shipment of a rejected or cancelled order is on its way when its compensation is done.
-- about: order
-- repair: compensate
-- needs: audited_order
select o.order_id as id, format('%s; shipment %s is %s', o.state, s.id, s.state) as detail
from audited_order o join delivery.shipment s on s.order_id = o.order_id
where o.state in ('REJECTED', 'CANCELLED') and s.state not in ('CANCELLED', 'FAILED')
  and not exists (select from orders.process t where t.order_id = o.order_id)
