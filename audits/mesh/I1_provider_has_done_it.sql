-- I1 provider_has_done_it
-- Every payment by card is with us as it is with the provider: its state, its amount, what was captured and given back.
-- about: payment
-- repair: reconcile
-- needs: provider_payment
select p.id, format('%s, %s %s, captured %s, refunded %s; the provider has %s, %s %s, captured %s, refunded %s', p.state,
       p.amount, p.currency, p.captured, p.refunded, coalesce(x.status, 'nothing'), x.amount, x.currency, x.captured,
       x.refunded) as detail
from payments.payment p
left join lateral (
    select * from provider_payment x where x.reference = p.reference or p.reference is null and x.payment_id = p.id limit 1
) x on true
where p.order_id is not null and p.method <> 'cash_on_delivery'
  and p.update_time < now() - :'grace'::interval
  and not exists (select from payments.attempt a where a.payment_id = p.id and a.state = 'PENDING')
  and case p.state
      when 'AUTHORIZED' then x.status is distinct from 'requires_capture' or x.captured <> 0
      when 'CAPTURED' then x.status is distinct from 'succeeded'
      when 'REFUNDED' then x.status is distinct from 'succeeded'
      when 'PENDING' then true
      when 'VOIDED' then x.status in ('requires_capture') or x.captured <> x.refunded
      else x.status in ('requires_capture', 'succeeded')
      end
  or p.order_id is not null and p.method <> 'cash_on_delivery' and p.state in ('AUTHORIZED', 'CAPTURED', 'REFUNDED')
  and p.update_time < now() - :'grace'::interval
  and not exists (select from payments.attempt a where a.payment_id = p.id and a.state = 'PENDING')
  and (p.amount, p.currency, p.captured, p.refunded) is distinct from (x.amount, x.currency, x.captured, x.refunded)
