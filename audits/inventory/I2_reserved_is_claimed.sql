-- I2 reserved_is_claimed
-- What is reserved is what reservations hold, committed or not.
-- about: stock
-- repair: human
select format('%s@%s', coalesce(s.sku, c.sku), coalesce(s.warehouse_id, c.warehouse_id)) as id,
       format('%s reserved, %s claimed', coalesce(s.reserved, 0), coalesce(c.claimed, 0)) as detail
from stock s
full join (
    select l.sku, r.warehouse_id, sum(l.quantity) as claimed
    from reservation r cross join unnest(r.skus, r.quantities) as l (sku, quantity)
    where r.state in ('HELD', 'COMMITTED')
    group by l.sku, r.warehouse_id
) c on c.sku = s.sku and c.warehouse_id = s.warehouse_id
where coalesce(s.reserved, 0) <> coalesce(c.claimed, 0)
