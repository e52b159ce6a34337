-- Every other row that belongs to the orders in `made`, each from its template: run by past.py.
create temp table dealt as
    select m.*, t.state, t.reservation, t.payment, t.hold, t.shipment, t.cash, t.total, t.due, t.captured, t.refunded,
           t.versions, t.types, timestamptz '2026-01-05 08:00+00' + make_interval(secs => m.n % 600000) as time
    from made m join template t using (number);
analyze dealt;
analyze template_line;

insert into inventory.warehouse (id, name) values ('centre', 'Centre');
insert into inventory.reservation (id, order_id, warehouse_id, state, skus, quantities, version, create_time, expire_time)
    select reservation_id, order_id, 'centre', reservation, l.skus, l.quantities,
           case reservation when 'CONSUMED' then 3 else 2 end, time, time + interval '15 minutes'
    from dealt join (
        select number, array_agg(sku order by sku) as skus, array_agg(quantity order by sku) as quantities
        from template_line group by number
    ) l using (number)
    where reservation <> '';
insert into inventory.reservation (id, state, skus, quantities, create_time)
    select reservation_id, 'RELEASED', '{}', '{}', time from dealt where reservation = '';
insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference, create_time)
    select sku, 'centre', 'RECEIVED', 10 + sum(quantity), 0, 'delivery', timestamptz '2026-01-05 06:00+00'
    from dealt join template_line using (number) group by sku;
insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference, create_time)
    select sku, 'centre', 'RESERVED', 0, quantity, reservation_id::text, time
    from dealt join template_line using (number) where reservation <> '';
insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference, create_time)
    select sku, 'centre', reservation, case reservation when 'CONSUMED' then -picked else 0 end, -quantity,
           reservation_id::text, time
    from dealt join template_line using (number) where reservation in ('RELEASED', 'CONSUMED');
insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference, create_time)
    select sku, 'centre', 'RESTOCKED', returned, 0, return_id::text, time
    from dealt join template_line using (number) where returned > 0;
insert into inventory.restock (return_id, order_id, warehouse_id, skus, create_time)
    select distinct on (return_id) return_id, order_id, 'centre', array[sku], time
    from dealt join template_line using (number) where returned > 0;
insert into inventory.stock (sku, warehouse_id, on_hand, reserved, version, sequence)
    select sku, warehouse_id, sum(on_hand_delta), sum(reserved_delta), 1, count(*)
    from inventory.movement group by sku, warehouse_id;
insert into catalog.level (sku, warehouse_id, available, sequence)
    select sku, warehouse_id, available, sequence from inventory.stock;

insert into payments.payment (id, order_id, customer_id, payment_method, method, reference, state, currency, amount,
        authorized, captured, refunded, decline_code, version, create_time, update_time)
    select payment_id, order_id, customer_id, case when cash then 'cash_on_delivery' else 'pm_card_visa' end,
           case when cash then 'cash_on_delivery' else 'visa •••• 4242' end,
           case when not cash then 'pi_' || n end, payment, 'USD', total,
           case payment when 'DECLINED' then 0 else total end, captured, refunded,
           case payment when 'DECLINED' then 'insufficient_funds' else '' end, 3, time, time
    from dealt where payment <> '';
insert into payments.payment (id, state, version, create_time, update_time)
    select payment_id, 'VOIDED', 1, time, time from dealt where payment = '';
insert into payments.attempt (id, payment_id, kind, number, amount, state, refusal, reference, due_time, create_time,
        update_time)
    select gen_random_uuid(), payment_id, kind, 1, amount, case when refused then 'REFUSED' else 'DONE' end,
           case when refused then 'insufficient_funds' else '' end, 'pi_' || n, time, time, time
    from dealt cross join lateral (values
        ('AUTHORIZE', total, payment = 'DECLINED'), ('CAPTURE', nullif(captured, 0), false),
        ('CANCEL', case payment when 'VOIDED' then total end, false), ('REFUND', nullif(refunded, 0), false)
    ) done (kind, amount, refused)
    where payment <> '' and not cash and amount is not null;
create temp table booking as
    select d.payment_id, d.time, b.* from dealt d cross join lateral (values
        (1, case when payment <> 'DECLINED' then case when cash then 'customer_receivable' else 'provider_hold' end end,
            'promised', total),
        (2, case when payment in ('VOIDED', 'CAPTURED') then 'promised' end,
            case when cash then 'customer_receivable' else 'provider_hold' end, total),
        (3, case when captured > 0 then case when cash then 'cash_with_couriers' else 'provider_balance' end end,
            'sales', captured),
        (4, case when refunded > 0 then 'refunds' end, case when cash then 'refunds_payable' else 'provider_balance' end,
            refunded)
    ) b (step, debit, credit, amount)
    where payment <> '' and b.debit is not null;
insert into payments.ledger_entry (id, transaction_id, payment_id, account, side, amount, currency, create_time)
    select gen_random_uuid(), b.transaction_id, payment_id, account, side, amount, 'USD', time
    from (select *, gen_random_uuid() as transaction_id from booking) b
    cross join lateral (values (debit, 'DEBIT'), (credit, 'CREDIT')) sides (account, side);

insert into delivery.zone (id, name, time_zone, area, warehouse_ids, currency, delivery_fee, minimum_total, slot_capacity,
        first_hour, last_hour)
    values ('downtown', 'Downtown', 'UTC', '((0,0),(0,1),(1,1),(1,0))', '{centre}', 'USD', 299, 0, 60, 8, 22);
insert into delivery.hold (id, order_id, slot_id, state, version, create_time, expire_time)
    select hold_id, order_id, '0190a6e0-0000-7000-8000-00000000a000', hold, 2, time, time + interval '15 minutes'
    from dealt where hold <> '';
insert into delivery.hold (id, state, create_time) select hold_id, 'RELEASED', time from dealt where hold = '';
insert into delivery.slot (id, zone_id, start_time, end_time, cutoff_time, capacity, taken)
    select '0190a6e0-0000-7000-8000-00000000a000', 'downtown', '2026-01-05 09:00+00', '2026-01-05 10:00+00',
           '2026-01-05 08:30+00', greatest(count(*), 1), count(*)
    from delivery.hold where state = 'CONFIRMED';
insert into delivery.shipment (id, order_id, customer_id, slot_id, courier_id, state, currency, cash_due, cash_collected,
        version, create_time, update_time)
    select shipment_id, order_id, customer_id, '0190a6e0-0000-7000-8000-00000000a000', customer_id, shipment, 'USD',
           case when cash then due end, case when cash then captured end, 3, time, time
    from dealt where shipment <> '';

-- What was told. A public event of the order has the version of its stream.
create temp table told as
    select 'orders' as schema, 'mercato.order.v1' as topic, order_id as aggregate_id, t.version, t.type, n, time
    from dealt cross join unnest(versions, types) as t (version, type)
    union all
    select 'inventory', 'mercato.inventory.v1', reservation_id, v, 'mercato.api.inventory.v1.StockReserved', n, time
    from dealt cross join generate_series(1, case reservation when 'CONSUMED' then 3 else 2 end) v where reservation <> ''
    union all
    select 'payments', 'mercato.payment.v1', payment_id, v, 'mercato.api.payment.v1.PaymentAuthorized', n, time
    from dealt cross join generate_series(2, 3) v where payment <> ''
    union all
    select 'delivery', 'mercato.delivery.v1', hold_id, v, 'mercato.api.delivery.v1.SlotHeld', n, time
    from dealt cross join generate_series(1, 2) v where hold <> ''
    union all
    select 'delivery', 'mercato.delivery.v1', shipment_id, v, 'mercato.api.delivery.v1.ShipmentPlanned', n, time
    from dealt cross join generate_series(1, 3) v where shipment <> '';
do $$
declare
    owner text;
begin
    foreach owner in array array['orders', 'inventory', 'payments', 'delivery'] loop
        execute format('insert into %I.outbox_journal (bucket, id, topic, aggregate_id, version, event_id, type, payload,
                headers, create_time)
            select n %% 16, n * 100::bigint + version, topic, aggregate_id, version, gen_random_uuid(), type, '''', ''{}'',
                   time
            from told where schema = %L', owner, owner);
    end loop;
end $$;
insert into users.consumer_mark (consumer, topic, aggregate_id, version, day)
    select 'user.orders', topic, aggregate_id, max(version), current_date - min(n) % 30 from told where schema = 'orders' group by topic, aggregate_id;
insert into orders.consumer_mark (consumer, topic, aggregate_id, version, day)
    select 'order.payments', topic, aggregate_id, max(version), current_date - min(n) % 30 from told where schema = 'payments'
    group by topic, aggregate_id;
insert into orders.idempotency (principal, rpc, key, fingerprint, resource_id, create_time)
    select customer_id, 'OrderService.PlaceOrder', 'key-' || n, '', order_id, time from dealt;
insert into users.open_orders (order_id, customer_id)
    select order_id, customer_id from dealt where state not in ('REJECTED', 'CANCELLED', 'DELIVERED');

-- What the provider would say, in the words of its log.
create temp table provider_line as
    select row_number() over (order by a.payment_id, array_position(array['AUTHORIZE', 'CANCEL', 'CAPTURE', 'REFUND'], kind))
           as n, a.*
    from payments.attempt a;
alter table provider_line add column line jsonb;
update provider_line p set line = jsonb_build_object(
    'line', n, 'time', extract(epoch from create_time), 'did', case state when 'REFUSED' then 'decline' else lower(kind) end,
    'amount', amount, 'currency', 'usd', 'payment_intent', reference, 'payment_id', payment_id,
    'refund', case kind when 'REFUND' then 're_' || n else '' end,
    'refund_id', case kind when 'REFUND' then id::text else '' end);

reset session_replication_role;
