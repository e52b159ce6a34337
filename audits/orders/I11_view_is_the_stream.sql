-- I11 view_is_the_stream
-- The order as it is shown is at the version of its stream, and in the state to which its last event brought it.
-- about: order
-- repair: human
with brings (type, state) as (
    values ('OrderPlaced', 'PENDING'), ('OrderConfirmed', 'CONFIRMED'), ('OrderRejected', 'REJECTED'),
           ('OrderCancelled', 'CANCELLED'), ('OrderPickingStarted', 'PICKING'), ('OrderPaymentDue', 'PAYMENT_DUE'),
           ('OrderReady', 'READY'), ('OrderOutForDelivery', 'OUT_FOR_DELIVERY'), ('OrderDelivered', 'DELIVERED'),
           ('OrderDeliveryFailed', 'DELIVERY_FAILED')
),
stream as (
    select stream_id, max(e.version) as version,
           (array_agg(b.state order by e.version desc) filter (where b.state is not null))[1] as state
    from events e left join brings b using (type)
    group by stream_id
)
select coalesce(v.order_id, s.stream_id) as id,
       format('shown as %s at version %s, its stream says %s at version %s', v.state, v.version, s.state, s.version)
       as detail
from stream s full join order_view v on v.order_id = s.stream_id
where v.version is distinct from s.version or v.state is distinct from s.state
