-- I3 places_are_held
-- The places that are taken in a slot are those that holds have, and no more than it has.
-- about: slot
-- repair: human
select coalesce(s.id, h.slot_id) as id,
       format('%s of %s places taken, %s holds', s.taken, s.capacity, coalesce(h.holds, 0)) as detail
from slot s
full join (
    select slot_id, count(*) as holds from hold where state in ('HELD', 'CONFIRMED') group by slot_id
) h on h.slot_id = s.id
where coalesce(s.taken, 0) <> coalesce(h.holds, 0) or s.taken > s.capacity
