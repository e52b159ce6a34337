"""The user service: accounts, sessions, addresses and roles (schema `users`).

Tables: users, sessions, stale_copies, addresses, open_orders.
Publishes `mercato.user.v1`; follows `mercato.order.v1`, to know who has an order that is not over.
"""
