-- What makes imports quick, above all those that bring what is there already.

-- Of which row of an import a variant is, and at which version of its product: while that is the product's version, the
-- same row changes nothing, and need not be compared. Code that does not know of this leaves another version behind.
alter table catalog.variant
    add column imported bytea,
    add column imported_version bigint;

-- The two halves of a document. Many products share the first, which is the dear one: an import makes it once for them.
create function catalog.headline(title text, brand text, category text) returns tsvector
    language sql immutable parallel safe
    return setweight(to_tsvector('catalog.stemmed', catalog.words(title)), 'A')
        || setweight(to_tsvector('catalog.stemmed', catalog.words(brand || ' ' || category)), 'B');

create function catalog.small_print(details text, description text) returns tsvector
    language sql immutable parallel safe
    return setweight(to_tsvector('catalog.stemmed', details), 'C')
        || case when description = '' then ''::tsvector
           else setweight(to_tsvector('catalog.stemmed', catalog.words(description)), 'D') end;

create or replace function catalog.document(title text, brand text, category text, details text, description text)
    returns tsvector
    language sql immutable parallel safe
    return catalog.headline(title, brand, category) || catalog.small_print(details, description);
