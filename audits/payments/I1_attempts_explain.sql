-- I1 attempts_explain
-- What was captured and refunded by card, and is being refunded, is what the provider was asked for and did; or it happened
-- there without us, and stands in the book of differences.
-- about: payment
-- repair: human
with asked as (
    select payment_id,
           count(*) filter (where kind = 'AUTHORIZE' and state = 'DONE') as authorizations,
           count(*) filter (where kind = 'CAPTURE' and state = 'DONE') as captures,
           coalesce(sum(amount) filter (where kind = 'REFUND' and state = 'DONE'), 0) as refunded,
           coalesce(sum(amount) filter (where kind = 'REFUND' and state = 'PENDING'), 0) as refunding
    from attempt
    group by payment_id
)
select p.id, format('%s: authorized %s, captured %s, refunded %s, being refunded %s; the provider did %s authorizations, '
       '%s captures, refunds of %s, and is asked for %s', p.state, p.authorized, p.captured, p.refunded, p.refunding,
       a.authorizations, a.captures, a.refunded, a.refunding) as detail
from payment p left join asked a on a.payment_id = p.id
where p.order_id is not null and p.method <> 'cash_on_delivery'
  and ((p.authorized > 0 and coalesce(a.authorizations, 0) = 0)
       or (p.captured > 0) <> (coalesce(a.captures, 0) > 0)
       or p.refunded <> coalesce(a.refunded, 0) or p.refunding <> coalesce(a.refunding, 0))
  and not exists (
      select from difference d where d.payment_id = p.id::text and d.repair in ('RECORDED', 'COMPLETED', 'GIVEN_BACK')
  )
