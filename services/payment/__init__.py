"""The payment service: what customers owe and paid, and the ledger that proves it (schema `payments`).

Tables: payment, attempt (what the provider was asked to do, and what it said), ledger_entry (double entry, immutable).
Publishes `mercato.payment.v1`: PaymentAuthorized PaymentDeclined PaymentCaptured PaymentVoided PaymentRefunded.
Follows nothing; it is asked by order, and asks the provider.
"""
