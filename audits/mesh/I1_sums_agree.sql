-- I1 sums_agree
-- In each currency, what the payments say was captured and not given back is what the ledger has in the accounts of money.
-- about: currency
-- repair: human
with paid as (
    select currency, sum(captured - refunded) as net from payments.payment where order_id is not null group by currency
),
booked as (
    select currency, sum(case side when 'DEBIT' then amount else -amount end) as net from payments.ledger_entry
    where account in ('provider_balance', 'cash_with_couriers', 'refunds_payable') group by currency
)
select currency as id, format('payments say %s, the ledger says %s', coalesce(p.net, 0), coalesce(b.net, 0)) as detail
from paid p full join booked b using (currency)
where coalesce(p.net, 0) <> coalesce(b.net, 0)
