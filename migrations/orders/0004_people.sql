-- What waits for people, and what keeps one customer from holding the whole shop.

-- Why a task was put off last, and how often a neighbour has decided against it: what is refused again and again is for
-- people. A refund that the provider refused is asked for under another id, for the first one's answer stays the same:
-- their number is part of the id.
alter table process
    add column last_reason text not null default '',
    add column refusals int not null default 0 check (refusals >= 0),
    add column refunds_refused int not null default 0 check (refunds_refused >= 0),
    -- Whose checkout it is and how many units it claims; it is there for as long as the order is pending.
    add column holder uuid,
    add column units int not null default 0 check (units >= 0);
create index process_held on process (holder) where holder is not null;
create index process_refused on process (create_time) where refusals > 0;

-- Decisions that only people can make. The row is written by the event that asks for it, and goes with the one that
-- makes it.
create table awaited_decision (
    order_id uuid primary key,
    decision text not null check (decision in ('PAYMENT', 'DELIVERY', 'RETURN')),
    reason text not null default '',
    create_time timestamptz not null default clock_timestamp()
);
create index awaited_decision_age on awaited_decision (create_time, order_id);

insert into awaited_decision (order_id, decision, create_time)
    select order_id, case state when 'PAYMENT_DUE' then 'PAYMENT' else 'DELIVERY' end, state_time from order_view v
    where state in ('PAYMENT_DUE', 'DELIVERY_FAILED')
        and not exists (select from process p where p.order_id = v.order_id and p.kind in ('FINISH', 'REDELIVER'));
insert into awaited_decision (order_id, decision, create_time)
    select stream_id, 'RETURN', time from events asked
    where type = 'OrderReturnRequested' and not exists (
        select from events later where later.stream_id = asked.stream_id and later.version > asked.version
            and later.type in ('OrderReturnApproved', 'OrderReturnRefused'))
    on conflict do nothing;

grant select on awaited_decision to mercato_auditor;
