-- I1 provider_did_nothing_else
-- Whatever the provider holds or took, it holds or took for one payment that we know.
-- about: provider's payment
-- repair: human
-- needs: provider_payment
select x.reference as id, format('%s of %s %s, labelled %s: we know of none, or of another', x.status, x.amount, x.currency,
       coalesce(x.payment_id::text, 'as nothing')) as detail
from provider_payment x left join payments.payment p on p.id = x.payment_id
where (x.status = 'requires_capture' or x.captured > x.refunded)
  and (p.id is null
       or p.reference is distinct from x.reference
          and not exists (select from payments.attempt a where a.payment_id = p.id and a.state = 'PENDING'))
