-- I1 refunds_are_the_providers
-- Every refund that we booked was given once by the provider, in the same amount, and it gave no other; but for those that
-- stand in the book of differences.
-- about: refund
-- repair: human
-- needs: provider_refund
with ours as (
    select a.id, a.payment_id, a.amount, a.kind, a.state from payments.attempt a
    where a.kind = 'REFUND' and a.state = 'DONE'
      and exists (select from payments.payment p where p.id = a.payment_id and p.method <> 'cash_on_delivery')
),
theirs as (
    select refund_id, sum(amount) as amount, count(*) as times, min(reference) as reference,
           min(payment) as payment
    from provider_refund group by refund_id, case when refund_id is null then reference end
)
select coalesce(o.id::text, t.refund_id::text, t.reference) as id,
       format('%s with us; given back %s times, %s in all', coalesce(o.amount::text, 'nothing'), coalesce(t.times, 0),
              coalesce(t.amount, 0)) as detail
from ours o full join theirs t on t.refund_id = o.id
where (o.amount is distinct from t.amount or t.times > 1)
  and not exists (
      select from payments.attempt a
      where a.id = t.refund_id and (a.state = 'PENDING' or a.kind = 'CANCEL' and a.amount >= t.amount)
  )
  and not exists (
      select from payments.difference d where d.reference = t.payment and d.repair in ('RECORDED', 'COMPLETED', 'GIVEN_BACK')
  )
