"""Projections: read models that events make, kept up to date beside the events, rebuilt and verified at any time.

A projection is one pure function from the events of a stream to the rows that they make:

    ORDER_LIST = Projection(
        "order.list", table="order_list", columns={"customer_id": "uuid", "state": "text"}, rows=list_rows)
    projections = Projections(database, [ORDER_LIST])        # Process(projections=projections)

All else follows from that. The projector reads new events in the order of commits, makes the rows of the streams that
they belong to, and moves its checkpoint in the transaction of those rows: killed at any moment, it has done both or
neither. `rebuild` fills a new generation of rows beside the one that is read, and swaps them in one transaction; as a
statement names the live generation itself, no read fails or sees half of both. `verify` compares row by row with a
replay. How many events are read at a time makes no difference to any row.

A reader that must not miss anything adds what the projection has not come to (`services/order/queries.py`), or waits
for it with a consistency token (`mercato.consistency`).

The table has the columns `generation int, stream_id uuid, version bigint` before those of its own, and the primary key
(generation, stream_id), or (generation, stream_id, version) where a stream has several rows. `version` is that of the
event which the row is as of. Streams are replayed whole, so this is for those of bounded length (an order has some
dozens of events); what folds over many streams follows `EventStore.read_all` itself.
"""

from mercato.projection.definition import Projection, Row
from mercato.projection.projector import Projector
from mercato.projection.rebuild import RebuildUnderWay, Rebuilt
from mercato.projection.registry import Projections, ProjectionState, ProjectionStatus, UnknownProjection
from mercato.projection.verify import Verified

__all__ = [
    "Projection",
    "ProjectionState",
    "ProjectionStatus",
    "Projections",
    "Projector",
    "RebuildUnderWay",
    "Rebuilt",
    "Row",
    "UnknownProjection",
    "Verified",
]
