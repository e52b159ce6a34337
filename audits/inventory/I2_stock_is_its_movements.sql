-- I2 stock_is_its_movements
-- Every unit is explained: the sums of the ledger of movements are the stock as it is.
-- about: stock
-- repair: human
select format('%s@%s', coalesce(s.sku, m.sku), coalesce(s.warehouse_id, m.warehouse_id)) as id,
       format('on hand %s, reserved %s; its movements say %s and %s', s.on_hand, s.reserved, m.on_hand, m.reserved)
       as detail
from stock s
full join (
    select sku, warehouse_id, sum(on_hand_delta) as on_hand, sum(reserved_delta) as reserved
    from movement group by sku, warehouse_id
) m on m.sku = s.sku and m.warehouse_id = s.warehouse_id
where (coalesce(s.on_hand, 0), coalesce(s.reserved, 0)) <> (coalesce(m.on_hand, 0), coalesce(m.reserved, 0))
