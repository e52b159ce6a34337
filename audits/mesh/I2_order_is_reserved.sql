-- I2 order_is_reserved
-- Of every SKU, a confirmed order holds the units that were ordered; and the units that were picked have left the stock.
-- about: order
-- repair: human
-- needs: audited_order audited_line
with live as (
    select r.id, r.order_id from inventory.reservation r where r.state in ('COMMITTED', 'CONSUMED')
),
held as (
    select r.order_id, l.sku, sum(l.quantity) as units
    from inventory.reservation r cross join unnest(r.skus, r.quantities) as l (sku, quantity)
    where r.state in ('COMMITTED', 'CONSUMED')
    group by r.order_id, l.sku
),
gone as (
    select r.order_id, m.sku, -sum(m.on_hand_delta) as units
    from live r join inventory.movement m on m.reference = r.id::text and m.kind = 'CONSUMED'
    group by r.order_id, m.sku
),
ordered as (
    select o.order_id, l.sku, l.quantity, case when o.picked then coalesce(l.picked, 0) else 0 end as picked
    from audited_order o join audited_line l using (order_id)
    where o.state not in ('PENDING', 'REJECTED') and not (o.state = 'CANCELLED' and not o.picked)
      and not exists (select from orders.process t where t.order_id = o.order_id)
)
select o.order_id as id,
       format('%s: ordered %s, reserved %s; picked %s, left the stock %s', o.sku, o.quantity, coalesce(h.units, 0), o.picked,
              coalesce(g.units, 0)) as detail
from ordered o
left join held h on h.order_id = o.order_id and h.sku = o.sku
left join gone g on g.order_id = o.order_id and g.sku = o.sku
where coalesce(h.units, 0) <> o.quantity or coalesce(g.units, 0) <> o.picked
