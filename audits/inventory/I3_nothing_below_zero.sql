-- I3 nothing_below_zero
-- Nothing is reserved or sold that is not there.
-- about: stock
-- repair: human
select format('%s@%s', sku, warehouse_id) as id, format('on hand %s, reserved %s', on_hand, reserved) as detail
from stock
where on_hand < 0 or reserved < 0 or reserved > on_hand
