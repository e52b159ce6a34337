"""Orders as tables that SQL can compare: `audited_order` and `audited_line`, made from the documents of the orders.

They live as long as the connection. Each time only what has changed since is read again: a row's `xmin` names the
transaction that wrote it last, so that nothing escapes, whoever wrote it.
"""

from collections.abc import Iterator
from typing import Any

from google.type.money_pb2 import Money as MoneyMessage

from mercato.api.order.v1 import order_pb2 as pb
from mercato.audit import Connection
from mercato.wire import money_from_pb

CASH = "cash_on_delivery"

CREATE = """
    create temp table if not exists audited_order (
        order_id uuid primary key,
        written_by text not null,
        state text not null,
        version bigint not null,
        told_state text not null,
        told_version bigint not null,
        state_time timestamptz not null,
        currency text not null,
        subtotal bigint not null,
        total bigint not null,
        -- What was picked, and the fee; null before.
        due bigint,
        captured bigint not null,
        refunded bigint not null,
        picked boolean not null,
        cash boolean not null,
        slot_id uuid,
        shipment_id uuid
    );
    create temp table if not exists audited_line (
        order_id uuid not null,
        sku text not null,
        quantity int not null,
        picked int,
        returned int not null,
        unit_price bigint not null
    );
    create index if not exists audited_line_of_order on audited_line (order_id);
"""
CHANGED = """
    select v.order_id, v.xmin::text, v.state, v.version, v.state_time, v.document
    from orders.order_view v
    where not exists (select from audited_order a where a.order_id = v.order_id and a.written_by = v.xmin::text)
"""
FORGET_LINES = """
    delete from audited_line where order_id in (
        select a.order_id from audited_order a left join orders.order_view v using (order_id)
        where v.order_id is null or v.xmin::text <> a.written_by)
"""
FORGET = """
    delete from audited_order a where not exists (
        select from orders.order_view v where v.order_id = a.order_id and v.xmin::text = a.written_by)
"""
ORDERS = "copy audited_order from stdin"
LINES = "copy audited_line from stdin"
AT_ONCE = 5000


def create_tables(connection: Connection) -> None:
    """Make the tables; outside of a transaction that only reads."""
    connection.execute(CREATE)


def fill_tables(connection: Connection) -> int:
    """Bring the tables up to date with the orders as this transaction sees them; how many orders there are."""
    connection.execute(FORGET_LINES)
    connection.execute(FORGET)
    with connection.cursor("changed_orders") as changed:
        changed.execute(CHANGED)
        while rows := changed.fetchmany(AT_ONCE):
            _write(connection, rows)
    connection.execute("analyze audited_order; analyze audited_line")
    found = connection.execute("select count(*) from audited_order").fetchone()
    return int(found[0]) if found else 0


def _write(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    told = [(row, pb.Order.FromString(row[5])) for row in rows]
    cursor = connection.cursor()
    with cursor.copy(ORDERS) as copy:
        for row, order in told:
            copy.write_row(_order(row, order))
    with cursor.copy(LINES) as copy:
        for row, order in told:
            for line in _lines(row[0], order):
                copy.write_row(line)


def _order(row: tuple[Any, ...], order: pb.Order) -> tuple[Any, ...]:
    order_id, written_by, state, version, state_time, _ = row
    picked = any(line.HasField("picked_quantity") for line in order.lines)
    fee = _minor(order.delivery_fee)
    goods = sum(line.picked_quantity * _minor(line.unit_price) for line in order.lines)
    return (
        *(order_id, written_by, state, version, pb.Order.State.Name(order.state), order.version, state_time),
        *(order.total.currency_code, _minor(order.subtotal), _minor(order.total), goods + fee if picked else None),
        *(_minor(order.captured_total), _minor(order.refunded_total), picked, order.payment_method == CASH),
        *(order.slot.id or None, order.shipment_id or None),
    )


def _lines(order_id: object, order: pb.Order) -> Iterator[tuple[Any, ...]]:
    for line in order.lines:
        picked = line.picked_quantity if line.HasField("picked_quantity") else None
        yield order_id, line.sku, line.quantity, picked, line.returned_quantity, _minor(line.unit_price)


def _minor(money: MoneyMessage) -> int:
    return money_from_pb(money).amount if money.currency_code else 0
