-- I5 one_order_a_key
-- What a customer's key has made is there, and no two keys made the same order.
-- about: order
-- repair: human
select i.resource_id as id,
       case when v.order_id is null then 'was acknowledged and is not there' else format('was made by %s keys', i.keys) end
       as detail
from (
    select resource_id, count(*) as keys from idempotency where rpc = 'OrderService.PlaceOrder' group by resource_id
) i
left join order_view v on v.order_id = i.resource_id::uuid
where v.order_id is null or i.keys > 1
