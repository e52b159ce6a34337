-- I12 live_order_has_its_shipment
-- A confirmed order has a shipment, which is packed when the order is, and is no further than the order for long.
-- about: order
-- repair: human
-- needs: audited_order
select o.order_id as id, format('%s; its shipment is %s', o.state, coalesce(s.state, 'not there')) as detail
from audited_order o left join delivery.shipment s on s.id = o.shipment_id and s.order_id = o.order_id
where o.state not in ('PENDING', 'REJECTED', 'CANCELLED')
  and not exists (select from orders.process t where t.order_id = o.order_id)
  and (s.id is null
       or case o.state
          when 'CONFIRMED' then s.state <> 'PLANNED'
          when 'PICKING' then s.state <> 'PLANNED'
          when 'PAYMENT_DUE' then s.state <> 'PLANNED'
          when 'READY' then s.state in ('PLANNED', 'CANCELLED')
              or s.state not in ('READY', 'ASSIGNED') and s.update_time < now() - :'grace'::interval
          when 'OUT_FOR_DELIVERY' then s.state not in ('PICKED_UP', 'DELIVERED', 'FAILED')
              or s.state <> 'PICKED_UP' and s.update_time < now() - :'grace'::interval
          when 'DELIVERED' then s.state <> 'DELIVERED'
          else s.state <> 'FAILED'
          end)
