-- I12 nothing_without_an_order
-- Stock, money and places are held for orders that exist: the order is committed before anybody is asked for anything.
-- about: order
-- repair: human
select held.order_id as id, format('there is no such order; %s %s is %s', held.what, held.id, held.state) as detail
from (
    select 'reservation' as what, id, order_id, state from inventory.reservation
    where state in ('HELD', 'COMMITTED', 'CONSUMED')
    union all
    select 'payment', id, order_id, state from payments.payment where state not in ('VOIDED', 'DECLINED')
    union all
    select 'hold', id, order_id, state from delivery.hold where state in ('HELD', 'CONFIRMED')
    union all
    select 'shipment', id, order_id, state from delivery.shipment where state <> 'CANCELLED'
) held
where not exists (select from orders.order_view v where v.order_id = held.order_id)
