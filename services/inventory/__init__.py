"""Inventory: what lies in which warehouse, and which order has a claim on it.

Tables (schema `inventory`): warehouse, stock, movement (the ledger whose sums are the stock rows), reservation,
restock. Out (`mercato.inventory.v1`): StockReceived ConsignmentReceived StockAdjusted StockReserved StockReleased
StockCommitted StockConsumed StockRestocked, and once per crossing StockLow StockOut BackInStock. In: nothing; it is
only asked.
"""
