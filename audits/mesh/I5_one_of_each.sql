-- I5 one_of_each
-- An order has at most one reservation and one payment that hold or took anything.
-- about: order
-- repair: human
select order_id as id, format('%s live %ss', count(*), what) as detail
from (
    select 'reservation' as what, order_id from inventory.reservation where state in ('HELD', 'COMMITTED', 'CONSUMED')
    union all
    select 'payment', order_id from payments.payment where state in ('AUTHORIZED', 'CAPTURED')
) live
where not exists (select from orders.process t where t.order_id = live.order_id)
group by order_id, what
having count(*) > 1
