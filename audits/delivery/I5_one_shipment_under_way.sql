-- I5 one_shipment_under_way
-- An order has at most one shipment that is neither over nor called off, and is handed over at most once.
-- about: order
-- repair: human
select order_id as id, format('%s shipments: %s', count(*), string_agg(state, ', ' order by create_time)) as detail
from shipment
where state not in ('FAILED', 'CANCELLED')
group by order_id
having count(*) > 1
