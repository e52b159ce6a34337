-- I2 restocked_was_returned
-- No more units of an order were put back on sale than came back.
-- about: order
-- repair: human
-- needs: audited_line
select b.order_id as id, format('%s of %s put back, %s came back', b.units, b.sku, coalesce(l.returned, 0)) as detail
from (
    select r.order_id, m.sku, sum(m.on_hand_delta) as units
    from inventory.restock r join inventory.movement m on m.reference = r.return_id::text and m.kind = 'RESTOCKED'
    group by r.order_id, m.sku
) b
left join audited_line l on l.order_id = b.order_id and l.sku = b.sku
where b.units > coalesce(l.returned, 0)
