-- I6 pending_is_worked_on
-- Somebody is to see to every order that waits for us: a pending one to its checkout, a confirmed one to its shipment, one
-- whose picking is over to its money.
-- about: order
-- repair: requeue
select v.order_id as id, format('%s since %s, and nothing is to be done about it', v.state, v.state_time) as detail
from order_view v
where not exists (select from process p where p.order_id = v.order_id)
  and (v.state = 'PENDING'
       or v.state = 'CONFIRMED'
          and not exists (select from events e where e.stream_id = v.order_id and e.type = 'ShipmentPlanned')
       or v.state = 'PICKING' and exists (select from events e where e.stream_id = v.order_id and e.type = 'OrderPicked'))
