-- What the auditor compares of stock: all of it. Nothing here is personal.
grant select on inventory.warehouse, inventory.stock, inventory.movement, inventory.reservation, inventory.restock
    to mercato_auditor;
