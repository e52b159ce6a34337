-- I2 order_is_reserved
-- Of every SKU, a confirmed order holds the units that were ordered; and the units that were picked have left the stock.
-- about: order
-- repair: human
-- needs: audited_order audited_line
with held as (
    select r.order_id, l.sku, sum(l.quantity) as units, -sum(m.on_hand_delta) as gone
    from inventory.reservation r
    cross join unnest(r.skus, r.quantities) as l (sku, quantity)
    left join (
        select reference, sku, sum(on_hand_delta) as on_hand_delta from inventory.movement where kind = 'CONSUMED'
        group by reference, sku
    ) m on m.reference = r.id::text and m.sku = l.sku
    where r.state in ('COMMITTED', 'CONSUMED')
    group by r.order_id, l.sku
)
select o.order_id as id,
       format('%s: ordered %s, reserved %s; picked %s, left the stock %s', l.sku, l.quantity, coalesce(h.units, 0),
              coalesce(l.picked, 0), coalesce(h.gone, 0)) as detail
from audited_order o
join audited_line l using (order_id)
left join held h on h.order_id = o.order_id and h.sku = l.sku
where o.state not in ('PENDING', 'REJECTED') and not (o.state = 'CANCELLED' and not o.picked)
  and (coalesce(h.units, 0) <> l.quantity or coalesce(h.gone, 0) <> coalesce(l.picked, 0))
  and not exists (select from orders.process t where t.order_id = o.order_id)
