"""Commands that print figures, each beside a peer measured in the same run: `python -m benchmarks.<name> --help`.

hot_sku       reservations a second when everybody wants one SKU, and of real baskets
audit         how long an audit of a hundred thousand orders takes, beside asking for one after the other
event_store   appends, loads from snapshots, flatness over a million streams, rebuilds of projections
checkout      orders a second, and the CPU of one by process: together and alone, cash and card, spread and hot
outbox        how fast a backlog of events drains, and how late one is in Kafka
edge          requests a second to the gateway, and what one costs by process, beside the naive design
roles         whether relay and consumers beside it cost a serving process latency
codec         CPU of a message to JSON and back by the compiled codec, beside json_format
overload      five times as much as a service can do: what is still answered, and how soon all is well again
rolling       a hundred thousand requests while every process is replaced: how many fail
streams       what an open stream of live events costs: memory, CPU at rest and for each event, beside polling
"""
