-- I1 order_knows_its_money
-- What an order says was taken and given back is what its payments say, once their events have arrived.
-- about: order
-- repair: human
-- needs: audited_order
select o.order_id as id, format('says captured %s, refunded %s; its payments say %s and %s', o.captured, o.refunded,
       coalesce(p.captured, 0), coalesce(p.refunded, 0)) as detail
from audited_order o
left join (
    select order_id, sum(captured) as captured, sum(refunded) as refunded, max(update_time) as update_time
    from payments.payment group by order_id
) p on p.order_id = o.order_id
where (o.captured, o.refunded) <> (coalesce(p.captured, 0), coalesce(p.refunded, 0))
  and coalesce(p.update_time < now() - :'grace'::interval, true)
  and not exists (select from orders.process t where t.order_id = o.order_id)
  -- What is not published yet cannot have arrived: that is another rule's finding (I8).
  and not exists (
      select from payments.payment q join payments.outbox b on b.aggregate_id = q.id::text
      where q.order_id = o.order_id and b.topic = 'mercato.payment.v1'
  )
