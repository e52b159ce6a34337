-- I3 no_more_sold_than_came
-- The units of a SKU that confirmed orders have, or had, are no more than ever came: received, corrected, put back.
-- about: SKU
-- repair: human
-- needs: audited_order audited_line
select sold.sku as id, format('%s sold, %s came', sold.units, coalesce(came.units, 0)) as detail
from (
    select l.sku, sum(case when o.picked then coalesce(l.picked, 0) else l.quantity end) as units
    from audited_order o join audited_line l using (order_id)
    where o.state not in ('PENDING', 'REJECTED') and not (o.state = 'CANCELLED' and not o.picked)
    group by l.sku
) sold
left join (
    select sku, sum(on_hand_delta) as units from inventory.movement where kind <> 'CONSUMED' group by sku
) came on came.sku = sold.sku
where sold.units > coalesce(came.units, 0)
