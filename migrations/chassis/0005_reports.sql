-- Work of more than one transaction (an audit, an import) keeps what came of it beside its key: a repeat is told the same.
alter table idempotency add column reply bytea;
