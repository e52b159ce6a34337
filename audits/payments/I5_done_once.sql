-- I5 done_once
-- The provider authorized a payment, captured it and let it go at most once each.
-- about: payment
-- repair: human
select payment_id as id, format('%s was done %s times', kind, count(*)) as detail
from attempt
where state = 'DONE' and kind <> 'REFUND'
group by payment_id, kind
having count(*) > 1
