"""The live events of an order, as server-sent events and as a WebSocket at the same address.

What happened is read from the order service by version: whatever breaks anywhere, a client that names the last version
it saw loses nothing and hears nothing twice. Kafka only says where to look (`watch`), and one look serves all who watch
an order. Where the courier is comes from Redis and is no part of the history: it is told as it is now, or not.
"""
