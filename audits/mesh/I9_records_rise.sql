-- I9 records_rise
-- The first records of the versions of an aggregate lie in its partition in the order of the versions.
-- about: aggregate
-- repair: human
-- needs: topic_record
select aggregate_id as id, format('%s/%s/%s: version %s comes after version %s', topic, partition, record_offset, version,
       before) as detail
from (
    select topic, partition, record_offset, aggregate_id, version,
           max(version) over (partition by topic, aggregate_id order by record_offset
                              rows between unbounded preceding and 1 preceding) as before
    from (
        select distinct on (topic, aggregate_id, version) topic, partition, record_offset, aggregate_id, version
        from topic_record where version is not null
        order by topic, aggregate_id, version, record_offset
    ) firsts
) ordered
where version < before
