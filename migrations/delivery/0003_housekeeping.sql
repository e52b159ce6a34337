-- What came to nothing is forgotten after a while: tables grow with the orders, not with the attempts.

-- The sweep for holds that were given back or ran out finds the oldest without reading the others.
create index hold_over on delivery.hold (create_time) where state in ('RELEASED', 'EXPIRED');

-- Asked for each slot that is to be deleted, by the statement and by the reference.
create index shipment_of_slot on delivery.shipment (slot_id);
