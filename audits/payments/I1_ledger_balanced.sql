-- I1 ledger_balanced
-- Every transaction of the ledger has as much debit as credit, in each currency.
-- about: ledger transaction
-- repair: human
select transaction_id as id,
       format('debits less credits are %s %s', sum(case side when 'DEBIT' then amount else -amount end), currency)
       as detail
from ledger_entry
group by transaction_id, currency
having sum(case side when 'DEBIT' then amount else -amount end) <> 0
