-- What came to nothing is forgotten after a while: the table grows with the orders, not with the attempts.

-- The sweep for claims that were given back or ran out finds the oldest without reading the others. Those of goods that
-- were sold stay: they say what left for which order.
create index reservation_over on inventory.reservation (create_time) where state in ('RELEASED', 'EXPIRED');

-- That the ledger's sums are the stock rows is no constraint but a rule of the audit (audits/inventory, I2), because of
-- what a constraint would cost: a deferred trigger on `stock` must add up the row's whole ledger, or keep a running sum
-- that every writer of a hot row then also waits for. What may break the rule is narrow as it is: nobody but this
-- schema's role writes here, each statement that changes one of the two writes the other, and the ledger cannot be
-- changed afterwards. The audit adds up all of it in one pass, and names the row.
comment on table inventory.movement is 'The ledger of stock: its sums are the rows of stock, which the audit checks.';
