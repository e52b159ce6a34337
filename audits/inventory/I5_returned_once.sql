-- I5 returned_once
-- What came back was put back once: each of its movements belongs to a return that is known, one for each SKU.
-- about: return
-- repair: human
select m.reference as id, format('%s movements of %s', count(*), m.sku) as detail
from movement m left join restock r on r.return_id::text = m.reference
where m.kind = 'RESTOCKED'
group by m.reference, m.sku, r.return_id
having count(*) > 1 or r.return_id is null
