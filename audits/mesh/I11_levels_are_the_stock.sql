-- I11 levels_are_the_stock
-- What the catalogue says of stock is what there is, once its events have arrived.
-- about: stock
-- repair: human
select format('%s@%s', l.sku, l.warehouse_id) as id,
       format('the catalogue says %s at %s, inventory %s at %s', l.available, l.sequence, s.available, s.sequence) as detail
from catalog.level l
left join inventory.stock s on s.sku = l.sku and s.warehouse_id = l.warehouse_id
where s.sku is null or l.sequence > s.sequence or l.sequence = s.sequence and l.available <> s.available
