-- I12 live_order_has_its_place
-- A confirmed order has its place in the slot for good, until it is handed over or was on its way once.
-- about: order
-- repair: human
-- needs: audited_order
select o.order_id as id, format('%s, and holds no place in slot %s', o.state, o.slot_id) as detail
from audited_order o
where o.state in ('CONFIRMED', 'PICKING', 'PAYMENT_DUE', 'READY', 'OUT_FOR_DELIVERY')
  and not exists (select from orders.process t where t.order_id = o.order_id)
  and not exists (
      select from delivery.hold h
      where h.order_id = o.order_id and h.slot_id = o.slot_id and h.state = 'CONFIRMED'
  )
