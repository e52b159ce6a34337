-- I11 document_is_the_order
-- The document of an order, which is what people are shown, is of the version and state that its row names.
-- about: order
-- repair: human
-- needs: audited_order
select order_id as id, format('%s at version %s, its document says %s at version %s', state, version, told_state,
       told_version) as detail
from audited_order
where (state, version) <> (told_state, told_version)
