"""Read models that follow the events of orders: the lists, the staff's board, the history."""

from collections.abc import Iterator, Sequence

from mercato.event_store import StoredEvent
from mercato.postgres import Database
from mercato.projection import Projection, Projections, Row
from services.order.domain import Order, evolve, replay
from services.order.history import Recorded, history
from services.order.queries import READ_AHEAD
from services.order.stored import decode


def recorded(events: Sequence[StoredEvent]) -> list[Recorded]:
    """Events as they lie in their stream, decoded."""
    return [Recorded(each.version, each.time, decode(each.type, each.schema, each.payload)) for each in events]


def _listed(events: Sequence[StoredEvent]) -> Iterator[Row]:
    """Which customer's order it is, and where it stands."""
    order = replay(each.event for each in recorded(events))
    if order:
        yield {
            "version": order.version,
            "customer_id": order.customer_id,
            "state": order.state,
            "create_time": order.create_time,
        }


def _on_the_board(events: Sequence[StoredEvent]) -> Iterator[Row]:
    """Where it stands, since when, and what decides when it is picked."""
    order: Order | None = None
    since = events[0].time
    for each in recorded(events):
        before = order.state if order else None
        order = evolve(order, each.event)
        since = since if order.state is before else each.time
    if order:
        yield {
            "version": order.version,
            "state": order.state,
            "state_time": since,
            "warehouse_id": order.warehouse_id,
            "slot_start_time": order.slot.start_time,
        }


def _told(events: Sequence[StoredEvent]) -> Iterator[Row]:
    """What its customer is told, at each version of which there is something to tell."""
    for entry in history(recorded(events)):
        yield {
            "version": entry.version,
            "type": entry.type,
            "time": entry.time,
            "text": entry.text,
            "data": dict(entry.data),
        }


ORDER_LIST = Projection(
    "order.list",
    table="order_list",
    columns={"customer_id": "uuid", "state": "text", "create_time": "timestamptz"},
    rows=_listed,
)
ORDER_BOARD = Projection(
    "order.board",
    table="order_board",
    columns={
        "state": "text",
        "state_time": "timestamptz",
        "warehouse_id": "text",
        "slot_start_time": "timestamptz",
    },
    rows=_on_the_board,
)
ORDER_HISTORY = Projection(
    "order.history",
    table="order_history",
    columns={"type": "text", "time": "timestamptz", "text": "text", "data": "jsonb"},
    rows=_told,
    several=True,
)


def projections(database: Database) -> Projections:
    """All of them."""
    return Projections(database, [ORDER_LIST, ORDER_BOARD, ORDER_HISTORY], read_ahead=READ_AHEAD)
