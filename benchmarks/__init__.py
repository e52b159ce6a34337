"""Commands that print figures, each beside a peer measured in the same run: `python -m benchmarks.<name> --help`.

hot_sku       reservations a second when everybody wants one SKU, and of real baskets
event_store   appends, loads from snapshots, flatness over a million streams, rebuilds of projections
"""
