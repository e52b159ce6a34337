-- I8 outbox_published
-- What was committed to be told is published soon: nothing lies in the outbox for longer than the grace.
-- about: outbox bucket
-- repair: human
select bucket as id,
       format('%s events wait, the oldest since %s: %s version %s of %s', count(*), min(create_time),
              (array_agg(type order by id))[1], (array_agg(version order by id))[1],
              (array_agg(aggregate_id order by id))[1]) as detail
from outbox
where create_time < now() - :'grace'::interval
group by bucket
