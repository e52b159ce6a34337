-- I12 dead_order_keeps_no_money
-- A rejected or cancelled order has no open authorization and no capture that was not given back, when its compensation is
-- done.
-- about: order
-- repair: compensate
-- needs: audited_order
select o.order_id as id, format('%s; payment %s is %s, captured %s, refunded %s', o.state, p.id, p.state, p.captured,
       p.refunded + p.refunding) as detail
from audited_order o join payments.payment p on p.order_id = o.order_id
where o.state in ('REJECTED', 'CANCELLED')
  and (p.state in ('PENDING', 'AUTHORIZED') or p.captured > p.refunded + p.refunding)
  and not exists (select from orders.process t where t.order_id = o.order_id)
