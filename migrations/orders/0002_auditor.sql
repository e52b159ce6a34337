-- What the auditor compares of orders: that they happened, as what they are shown, and what is still to be done. Not what
-- is personal; not the events' content either, which names the token of the means of payment.
grant select (stream_id, version, event_id, type, schema, time, xid, position) on events to mercato_auditor;
grant select on order_view, process to mercato_auditor;

-- The content of an event as a number, by which one sees that it is what it was.
create view event_digest as
    select stream_id, version, position,
           hashtextextended(event_id::text || type || schema || encode(payload, 'hex'), version) as digest
    from events;
grant select on event_digest to mercato_auditor;
