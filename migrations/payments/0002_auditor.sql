-- What the auditor compares of money: every amount and every state. Not the token with which a payment is asked for, and
-- nobody's own words.
grant select (id, order_id, method, reference, state, currency, amount, authorized, captured, refunded, refunding, version,
    create_time, update_time) on payment to mercato_auditor;
grant select (id, payment_id, kind, number, amount, state, reference, due_time, create_time, update_time)
    on attempt to mercato_auditor;
grant select on ledger_entry to mercato_auditor;
