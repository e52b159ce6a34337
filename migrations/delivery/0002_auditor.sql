-- What the auditor compares of deliveries: places and shipments. Not where they go, where the courier is, or who it is.
grant select on delivery.slot, delivery.hold to mercato_auditor;
grant select (id, order_id, slot_id, state, currency, cash_due, cash_collected, version, create_time, update_time)
    on delivery.shipment to mercato_auditor;
