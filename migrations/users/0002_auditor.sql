-- What the auditor compares of users: which orders are open. Nothing of persons, sessions or addresses.
grant select (order_id) on open_orders to mercato_auditor;
