-- The digest of an event, with the transaction that wrote it: what was written by transactions that are over at one
-- moment is the same set of events for ever, so its sum is, too.
create or replace view event_digest as
    select stream_id, version, position,
           hashtextextended(event_id::text || type || schema || encode(payload, 'hex'), version) as digest, xid
    from events;
