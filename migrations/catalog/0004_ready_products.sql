-- Products as readers get them: serialized messages, so that reading one is a look-up, a list is a concatenation, and no
-- object is made of them. Messages that follow each other are one, so what a product has of its category lies with the
-- category: whoever renames that touches no product.

-- A length as protobuf writes it, of up to two million bytes: seven bits in each byte, the lowest first.
create function catalog.varint(given integer) returns bytea
    language sql immutable strict parallel safe
    return case
        when given < 128 then set_byte('\x00', 0, given)
        when given < 16384 then set_byte(set_byte('\x0000', 0, given % 128 + 128), 1, given / 128)
        else set_byte(set_byte(set_byte('\x000000', 0, given % 128 + 128), 1, given / 128 % 128 + 128), 2, given / 16384)
    end;

-- The field `category_path` of a Product.
create function catalog.path_message(path text[]) returns bytea
    language sql immutable strict parallel safe
    return (
        select coalesce(string_agg('\x32'::bytea || catalog.varint(octet_length(name)) || convert_to(name, 'UTF8'),
                                   ''::bytea order by place), ''::bytea)
        from unnest(path) with ordinality as n (name, place)
    );

alter table catalog.category
    add column message bytea not null generated always as (catalog.path_message(path)) stored;

-- All other fields. In a table of its own: that something is low is written here often, and touches no index of product.
create table catalog.ready (
    product_id uuid primary key constraint ready_product references catalog.product (id),
    message bytea not null,
    -- Of which version of the product, and how the code that wrote it saw products. Where one of them is another than
    -- the reader's, the columns are read, and housekeeping writes the message again: so older code may write beside.
    version bigint not null,
    layout integer not null
) with (fillfactor = 80);
