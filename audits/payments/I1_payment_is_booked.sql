-- I1 payment_is_booked
-- The ledger explains every payment: the promise of it that is open, what was taken of it, and what was given back.
-- about: payment
-- repair: human
with booked as (
    select payment_id,
           sum(case side when 'DEBIT' then amount else -amount end)
               filter (where account in ('provider_hold', 'customer_receivable')) as open,
           sum(case side when 'CREDIT' then amount else -amount end) filter (where account = 'sales') as captured,
           sum(case side when 'DEBIT' then amount else -amount end) filter (where account = 'refunds') as refunded
    from ledger_entry
    group by payment_id
)
select coalesce(p.id, b.payment_id) as id,
       format('%s, captured %s, refunded %s; booked are %s open, %s captured, %s refunded', p.state, p.captured, p.refunded,
              b.open, b.captured, b.refunded) as detail
from payment p full join booked b on b.payment_id = p.id
where (case when p.state = 'AUTHORIZED' then p.authorized else 0 end, coalesce(p.captured, 0), coalesce(p.refunded, 0))
      <> (coalesce(b.open, 0), coalesce(b.captured, 0), coalesce(b.refunded, 0))
