-- I2 claim_is_moved
-- What a reservation still holds is what its movements reserved, and one that holds nothing gave back all it had.
-- about: reservation
-- repair: human
with claimed as (
    select r.id::text as reference, l.sku,
           case when r.state in ('HELD', 'COMMITTED') then l.quantity else 0 end as units
    from reservation r cross join unnest(r.skus, r.quantities) as l (sku, quantity)
),
moved as (
    select reference, sku, sum(reserved_delta) as units from movement
    where kind in ('RESERVED', 'RELEASED', 'CONSUMED')
    group by reference, sku
)
select coalesce(c.reference, m.reference) as id,
       format('holds %s of %s, its movements say %s', c.units, coalesce(c.sku, m.sku), m.units) as detail
from claimed c full join moved m on m.reference = c.reference and m.sku = c.sku
where coalesce(c.units, 0) <> coalesce(m.units, 0)
