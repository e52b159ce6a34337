-- Payments, what the provider was asked to do for them, and the double-entry ledger of every movement of money.

create table payment (
    id uuid primary key,
    -- Null in a tombstone only: what a void leaves that came before its authorization.
    order_id uuid,
    customer_id uuid,
    -- The provider's token, or cash_on_delivery. Asked again with, never shown.
    payment_method text,
    -- What may be shown of it, such as `visa •••• 4242`.
    method text not null default '',
    -- The provider's id of the payment, once it has told it.
    reference text,
    state text not null check (state in ('PENDING', 'AUTHORIZED', 'CAPTURED', 'VOIDED', 'DECLINED', 'REFUNDED')),
    currency text not null default '' check (currency = '' or currency ~ '^[A-Z]{3}$'),
    -- What was asked for, in minor units of the currency, as all that follows.
    amount bigint not null default 0 check (amount >= 0),
    -- What was granted of it: all or nothing.
    authorized bigint not null default 0 check (authorized in (0, amount)),
    captured bigint not null default 0 check (captured between 0 and authorized),
    refunded bigint not null default 0 check (refunded >= 0),
    -- Decided, the provider's answer not known yet.
    refunding bigint not null default 0 check (refunding >= 0),
    decline_code text not null default '',
    -- Counts events too: no change publishes more than one.
    version bigint not null check (version > 0),
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    -- However many refunds meet, and whatever the code thinks: never more goes back than came.
    constraint payment_refunds_within_capture check (refunded + refunding <= captured),
    constraint payment_authorized_state check (authorized > 0 or state in ('PENDING', 'VOIDED', 'DECLINED')),
    constraint payment_captured_state check ((captured > 0) = (state in ('CAPTURED', 'REFUNDED'))),
    constraint payment_refunded_state check ((state = 'REFUNDED') = (captured > 0 and refunded = captured)),
    constraint payment_tombstone check (
        state = 'VOIDED' and order_id is null and customer_id is null and payment_method is null and amount = 0
        or order_id is not null and customer_id is not null and payment_method is not null and amount > 0
            and currency <> ''
    )
);

-- Lists: all, a customer's, an order's, the newest first; a day's, to reconcile.
create index payment_newest on payment (create_time desc, id desc) where order_id is not null;
create index payment_customer on payment (customer_id, create_time desc, id desc) where order_id is not null;
create index payment_order on payment (order_id);

-- One row for each thing that the provider was asked to do. It is committed before the provider is called; its key is
-- the same however often it is asked, and another decision (a second capture after a refusal, another refund) is
-- another row with another key.
create table attempt (
    id uuid primary key,
    payment_id uuid not null references payment,
    kind text not null check (kind in ('AUTHORIZE', 'CAPTURE', 'CANCEL', 'REFUND')),
    -- Of its kind, for its payment, from 1 on.
    number int not null check (number > 0),
    amount bigint not null check (amount > 0),
    -- Of a refund: why.
    reason text not null default '',
    state text not null default 'PENDING' check (state in ('PENDING', 'DONE', 'REFUSED')),
    -- The provider's words for its no.
    refusal text not null default '' check ((refusal <> '') = (state = 'REFUSED')),
    -- The provider's id of what it did.
    reference text,
    -- A worker takes over from then on. Until then it belongs to whoever began it, or holds the latest token.
    due_time timestamptz not null,
    lease_token bigint not null default 0,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    constraint attempt_number_key unique (payment_id, kind, number)
);

create index attempt_due on attempt (due_time) where state = 'PENDING';

-- There is one capture at a time: its amount is that of the payment.
create unique index attempt_one_open on attempt (payment_id, kind) where state = 'PENDING' and kind <> 'REFUND';

-- One side of a booking. `services/payment/ledger.py` has the chart of accounts.
create table ledger_entry (
    id uuid primary key,
    transaction_id uuid not null,
    payment_id uuid not null references payment,
    account text not null check (account ~ '^[a-z_]{1,64}$'),
    side text not null check (side in ('DEBIT', 'CREDIT')),
    amount bigint not null check (amount > 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    create_time timestamptz not null default now()
);

create index ledger_entry_transaction on ledger_entry (transaction_id);
create index ledger_entry_payment on ledger_entry (payment_id, create_time desc, id desc);
create index ledger_entry_account on ledger_entry (account, create_time desc, id desc);
create index ledger_entry_newest on ledger_entry (create_time desc, id desc);

-- Deferred: the entries of a transaction come one after the other and balance when it is complete.
create function ledger_balances() returns trigger language plpgsql as $$
begin
    if exists (
        select from ledger_entry where transaction_id = new.transaction_id
        group by currency
        having sum(case side when 'DEBIT' then amount else -amount end) <> 0
    ) then
        raise exception 'ledger transaction % does not balance', new.transaction_id
            using errcode = 'check_violation', constraint = 'ledger_balanced', schema = tg_table_schema;
    end if;
    return null;
end $$;

create constraint trigger ledger_balanced after insert on ledger_entry
    deferrable initially deferred for each row execute function ledger_balances();

-- What was booked stays booked; a mistake is put right by another transaction. The service may not change it; the
-- trigger stops whoever else might.
revoke update, delete on ledger_entry from mercato_payments;

create function ledger_is_immutable() returns trigger language plpgsql as $$
begin
    raise exception 'ledger entries are never changed or removed'
        using errcode = 'check_violation', constraint = 'ledger_immutable', schema = tg_table_schema;
end $$;

create trigger ledger_immutable before update or delete or truncate on ledger_entry
    for each statement execute function ledger_is_immutable();
