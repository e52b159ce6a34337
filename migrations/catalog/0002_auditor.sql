-- What the auditor compares of the catalogue: prices and levels.
grant select (id, state, lowest, highest, version, events) on catalog.product to mercato_auditor;
grant select (id, product_id, sku, price, currency) on catalog.variant to mercato_auditor;
grant select on catalog.level to mercato_auditor;
