-- I1 amounts_in_order
-- 0 ≤ refunded (and being refunded) ≤ captured ≤ authorized ≤ asked for.
-- about: payment
-- repair: human
select id, format('asked for %s, authorized %s, captured %s, refunded %s, being refunded %s', amount, authorized, captured,
       refunded, refunding) as detail
from payment
where not (0 <= refunded and 0 <= refunding and refunded + refunding <= captured and captured <= authorized
           and authorized <= amount)
