-- What reconciling finds, when it is due, and what card testing is recognised by.

-- Every difference between the shop and the provider, once, with what was done about it: the book of repairs. One that
-- still has no repair is somebody's to look at.
create table difference (
    kind text not null check (kind ~ '^[A-Z_]{1,64}$'),
    -- As the provider names them; a payment that the shop does not know need not even have an id.
    payment_id text not null,
    reference text not null,
    ours text not null,
    theirs text not null,
    repair text not null check (repair in ('NONE', 'UNDER_WAY', 'COMPLETED', 'RECORDED', 'GIVEN_BACK')),
    -- Seen first and last.
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    primary key (kind, payment_id, reference, ours, theirs)
);

create index difference_newest on difference (update_time desc);

-- One row for each pass that runs by itself. Whoever finds it due takes it by putting it off: any number of processes,
-- one pass at a time. The first passes come late enough that starting a shop costs nothing.
create table reconciliation (
    name text primary key,
    due_time timestamptz not null,
    -- Everything that was created before was compared.
    compared_until timestamptz not null default now()
);

insert into reconciliation (name, due_time)
values ('recent', now() + interval '1 minute'), ('days', now() + interval '1 hour');

-- Counted before any authorization; few rows, for most payments are not declined.
create index payment_declined_customer on payment (customer_id, update_time) where state = 'DECLINED';
create index payment_declined_method on payment (payment_method, update_time) where state = 'DECLINED';

grant select on difference to mercato_auditor;
