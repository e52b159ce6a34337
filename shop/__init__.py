"""The demo shop: real groceries, cleaned in the open, the seed that fills the mesh with them, and a shopper.

It is a client of the mesh like any other: the seed calls services by their stubs, the shopper the gateway by REST.
"""
