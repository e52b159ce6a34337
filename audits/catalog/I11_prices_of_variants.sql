-- I11 prices_of_variants
-- The lowest and the highest price of a product are those of its variants.
-- about: product
-- repair: human
select p.id, format('from %s to %s, its variants from %s to %s', p.lowest, p.highest, v.lowest, v.highest) as detail
from product p
left join (
    select product_id, coalesce(min(price), 0) as lowest, coalesce(max(price), 0) as highest
    from variant group by product_id
) v on v.product_id = p.id
where (p.lowest, p.highest) <> (coalesce(v.lowest, 0), coalesce(v.highest, 0))
