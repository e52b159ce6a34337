-- I3 sold_was_received
-- No more units of a SKU left than ever came: goods received, corrections and returns.
-- about: stock
-- repair: human
select format('%s@%s', sku, warehouse_id) as id, format('%s left, %s came', left_units, came) as detail
from (
    select sku, warehouse_id, -sum(on_hand_delta) filter (where kind = 'CONSUMED') as left_units,
           coalesce(sum(on_hand_delta) filter (where kind <> 'CONSUMED'), 0) as came
    from movement group by sku, warehouse_id
) units
where left_units > came
