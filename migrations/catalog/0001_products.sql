-- The catalogue: the tree of categories, products in it, the variants in which they are sold, and how much there is.

-- Both are trusted: whoever may create in the database may create them. They lie here so that the service's role, which
-- sees no other schema, may use them.
create extension if not exists unaccent schema catalog;
create extension if not exists fuzzystrmatch schema catalog;

-- Words as searches compare them: stemmed, without accents. No word is left out: `on` may begin `onion`.
create text search dictionary catalog.stems (template = pg_catalog.snowball, language = english);
create text search configuration catalog.stemmed (copy = pg_catalog.simple);
alter text search configuration catalog.stemmed
    alter mapping for asciiword, word, asciihword, hword, hword_asciipart, hword_part
    with catalog.unaccent, catalog.stems;
alter text search configuration catalog.stemmed
    alter mapping for numword, numhword, hword_numpart with catalog.unaccent, pg_catalog.simple;

-- The same words unstemmed: what typing errors are measured against.
create text search configuration catalog.spelled (copy = pg_catalog.simple);
alter text search configuration catalog.spelled
    alter mapping for asciiword, word, asciihword, hword, hword_asciipart, hword_part, numword, numhword, hword_numpart
    with catalog.unaccent, pg_catalog.simple;

-- Words alone: what the parser would take for a path, a host or a number with a sign is only punctuation in a title.
create function catalog.words(given text) returns text
    language sql immutable parallel safe
    return translate(given, '/\.:-_@&+', '         ');

-- What a product is found by, the title above all.
create function catalog.document(title text, brand text, category text, details text, description text)
    returns tsvector
    language sql immutable parallel safe
    return setweight(to_tsvector('catalog.stemmed', catalog.words(title)), 'A')
        || setweight(to_tsvector('catalog.stemmed', catalog.words(brand || ' ' || category)), 'B')
        || setweight(to_tsvector('catalog.stemmed', details), 'C')
        || case when description = '' then ''::tsvector
           else setweight(to_tsvector('catalog.stemmed', catalog.words(description)), 'D') end;

create table catalog.category (
    id uuid primary key,
    parent_id uuid constraint category_parent references catalog.category (id),
    name text not null constraint category_named check (name <> ''),
    -- From the top down to this one: what readers need of the tree, kept when somebody moves or renames.
    ancestry uuid[] not null constraint category_ancestry check (ancestry[cardinality(ancestry)] = id),
    path text[] not null constraint category_path check (path[cardinality(path)] = name),
    version bigint not null default 1,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    constraint category_name unique nulls not distinct (parent_id, name),
    constraint category_depth check (cardinality(ancestry) = cardinality(path) and cardinality(path) <= 10),
    constraint category_top check ((parent_id is null) = (cardinality(path) = 1))
);

create index category_subtree on catalog.category using gin (ancestry);

-- Categories whose name or place changed: the documents of their products still tell the old one.
create table catalog.renamed_category (
    category_id uuid primary key references catalog.category (id)
);

create table catalog.product (
    id uuid primary key,
    title text not null constraint product_titled check (title <> ''),
    description text not null,
    brand text not null,
    category_id uuid constraint product_category references catalog.category (id),
    attributes jsonb not null,
    state text not null constraint product_state check (state in ('DRAFT', 'ACTIVE', 'ARCHIVED')),
    -- The lowest and the highest price of its variants in minor units; 0 where none has one, for none is free.
    lowest bigint not null,
    highest bigint not null,
    document tsvector not null,
    version bigint not null, -- counts changes: the etag
    events bigint not null,  -- numbers every event that tells of this product
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    constraint product_prices check (0 <= lowest and lowest <= highest),
    constraint product_on_sale check (state <> 'ACTIVE' or lowest > 0)
);

-- One index for each order of a list. By name means by its first letters, for a page token holds them. Staff that list
-- what is not on sale in another order wait for a sort: most products of a long-lived shop are such.
create index product_by_name on catalog.product (state, lower(left(title, 48)), id);
create index product_by_price on catalog.product (lowest, id) where state = 'ACTIVE';
create index product_by_age on catalog.product (create_time, id) where state = 'ACTIVE';
create index product_of_brand on catalog.product (brand) where state = 'ACTIVE';
create index product_words on catalog.product using gin (document) where state = 'ACTIVE';
create index product_in_category on catalog.product (category_id, state);

create table catalog.variant (
    id uuid primary key,
    product_id uuid not null constraint variant_product references catalog.product (id),
    position integer not null,
    sku text collate "C" not null constraint variant_sku unique,
    title text not null,
    size text not null,
    barcode text not null,
    price bigint constraint variant_price check (price > 0), -- in minor units
    currency text,
    constraint variant_currency check ((price is null) = (currency is null))
);

create index variant_of_product on catalog.variant (product_id);

-- How much there is of a SKU in a warehouse, as inventory's events told last. It may be of a SKU that is not sold yet.
create table catalog.level (
    sku text collate "C" not null,
    warehouse_id text collate "C" not null,
    available integer not null,
    sequence bigint not null, -- an event with a smaller one is older: it changes nothing
    primary key (sku, warehouse_id)
) with (fillfactor = 80); -- no index is touched by an update while the page has room

-- Every word of any title, brand or category: whoever mistypes one is led to it.
create table catalog.word (
    spelling text collate "C" primary key
);
