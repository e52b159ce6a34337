"""The gateway: REST in, gRPC out.

Its routes, documents, access rules and answers follow from the contracts in `mercato.api`; it knows no rpc by hand and
decides nothing about business. Its own pages are health, `/openapi.json`, `/docs`, `/` and the live events of an order.
"""
