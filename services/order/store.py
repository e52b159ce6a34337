"""The tables of orders, as SQL that one can paste into psql."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from mercato.errors import MercatoError
from mercato.event_store import (
    Append,
    DataclassCodec,
    EveryEvents,
    NewEvent,
    PostgresEventStore,
    PostgresSnapshots,
    StoredEvent,
    Streams,
)
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Work
from mercato.projection.streams import StreamReader
from services.order.cart import CartLine, KeptCart
from services.order.domain import Order, evolve
from services.order.events import Event
from services.order.history import Recorded
from services.order.holding import Standing
from services.order.people.store import AwaitedStore
from services.order.personal import Address, Personal, Place
from services.order.stored import decode, encode
from services.order.tasks import REFUND_FAILED, Demand, Kind, Task

Database = Connection[TupleRow]


class OrderWork(Work):
    """One transaction on orders, and the events that leave with it."""

    def opened(self) -> None:
        """Lay out the tables."""
        self.streams = StreamStore(self.connection)
        self.view = ViewStore(self.connection)
        self.personal = PersonalStore(self.connection)
        self.process = ProcessStore(self.connection)
        self.awaited = AwaitedStore(self.connection)
        self.carts = CartStore(self.connection)


# An order has some dozens of events at most, which are read by one statement in less time than a snapshot costs. One
# with more than that goes back and forth for some reason, and shall not become slower and slower.
SNAPSHOTS = EveryEvents(100)
ORDER = DataclassCodec(Order)
STREAMS = StreamReader("events")


def evolved(order: Order | None, stored: StoredEvent) -> Order:
    """The order after an event as it is kept."""
    return evolve(order, decode(stored.type, stored.schema, stored.payload))


def appended(order_id: UUID, events: Sequence[Event], expected: int) -> Append:
    """Events as they are to be kept."""
    return Append(order_id, [NewEvent(uuid7(), *encode(event)) for event in events], expected)


class StreamStore:
    """Orders as what happened to them."""

    def __init__(self, connection: Database) -> None:
        events, snapshots = PostgresEventStore(connection, "events"), PostgresSnapshots(connection, "snapshot")
        self._connection = connection
        self._events = events
        self._orders = Streams(events, evolved, ORDER, snapshots, SNAPSHOTS)

    def load(self, order_id: UUID) -> Order | None:
        """The order as its events make it; None without any."""
        return self._orders.load(order_id).state

    def read(self, order_id: UUID, after: int = 0) -> list[Recorded]:
        """All that happened to an order after a version; nothing if there is none."""
        return [
            Recorded(each.version, each.time, decode(each.type, each.schema, each.payload))
            for each in self._events.read(order_id, after)
        ]

    def read_all(self, order_ids: Collection[UUID]) -> dict[UUID, list[StoredEvent]]:
        """All that happened to orders, as it is kept; nothing of one that there is not."""
        found = STREAMS.of(self._connection, order_ids) if order_ids else {}
        return {order_id: found.get(order_id, []) for order_id in order_ids}

    def append(self, appends: Sequence[Append]) -> None:
        """Add what happens to orders. WrongExpectedVersion: one of them has gone on, and the others have now."""
        self._events.append_all(appends)


# Rows travel as one JSON text: made and read by C on both sides.
# A state's time is when the order came to it, not when it last changed within it.
PUT_VIEWS: LiteralString = """
    insert into order_view as kept (order_id, customer_id, state, version, warehouse_id, slot_start_time, create_time,
        state_time, document)
    select order_id, customer_id, state, version, warehouse_id, slot_start_time, create_time, state_time, document
    from json_to_recordset(%s::json) as now (order_id uuid, customer_id uuid, state text, version bigint,
        warehouse_id text, slot_start_time timestamptz, create_time timestamptz, state_time timestamptz, document bytea)
    order by order_id
    on conflict (order_id) do update set state = excluded.state, version = excluded.version,
        warehouse_id = excluded.warehouse_id, slot_start_time = excluded.slot_start_time,
        state_time = case when kept.state = excluded.state then kept.state_time else excluded.state_time end,
        document = excluded.document
"""


class ViewStore:
    """The order as it is now."""

    def __init__(self, connection: Database) -> None:
        self._connection = connection

    def put(self, shown: Iterable[tuple[Order, bytes]], now: datetime) -> None:
        """Show orders as they are now, by their documents."""
        rows = [
            {
                "order_id": order.id,
                "customer_id": order.customer_id,
                "state": order.state,
                "version": order.version,
                "warehouse_id": order.warehouse_id,
                "slot_start_time": order.slot.start_time,
                "create_time": order.create_time,
                "state_time": now,
                "document": "\\x" + document.hex(),
            }
            for order, document in shown
        ]
        self._connection.execute(PUT_VIEWS, [orjson.dumps(rows).decode()])


# A customer is erased under this lock, and orders: an order is either there to be emptied, or finds its customer
# erased; and of two orders that would hold too much together, the second sees the first.
LOCK: LiteralString = """
    select pg_advisory_xact_lock(lock)
    from (select distinct hashtextextended(id::text, 0) as lock from unnest(%s::uuid[]) as id order by lock) locks
"""
STANDING: LiteralString = """
    select id, exists (select from erased_customer where customer_id = id), held.orders, held.units
    from unnest(%s::uuid[]) as id cross join lateral (
        select count(*)::int as orders, coalesce(sum(units), 0)::int as units from process where holder = id) held
"""
PUT_PERSONAL: LiteralString = """
    insert into personal (order_id, customer_id, recipient, line1, line2, postal_code, city, country_code, phone,
        latitude, longitude, note)
    select * from json_to_recordset(%s::json) as new (order_id uuid, customer_id uuid, recipient text, line1 text,
        line2 text, postal_code text, city text, country_code text, phone text, latitude float8, longitude float8,
        note text)
"""
GET_PERSONAL: LiteralString = """
    select order_id, recipient, line1, line2, postal_code, city, country_code, phone, latitude, longitude, note,
        return_reason, erase_time is not null as erased
    from personal where order_id = any(%s)
"""
ERASE: LiteralString = """
    update personal set recipient = '', line1 = '', line2 = '', postal_code = '', city = '', country_code = '',
        phone = '', latitude = null, longitude = null, note = '', cancel_reason = '', return_reason = '',
        refusal_reason = '', erase_time = clock_timestamp()
    where customer_id = %s and erase_time is null
"""
# Words said of an order whose customer was erased meanwhile are not kept.
SAY: dict[str, LiteralString] = {
    "cancel_reason": "update personal set cancel_reason = %s where order_id = %s and erase_time is null",
    "return_reason": "update personal set return_reason = %s where order_id = %s and erase_time is null",
    "refusal_reason": "update personal set refusal_reason = %s where order_id = %s and erase_time is null",
}


@dataclass(frozen=True, slots=True)
class PersonalRow:
    """What an order knows of a person, as it is kept."""

    recipient: str
    line1: str
    line2: str
    postal_code: str
    city: str
    country_code: str
    phone: str
    latitude: float | None
    longitude: float | None
    note: str
    return_reason: str
    erased: bool

    @property
    def personal(self) -> Personal:
        """It in the words of the domain; no address is left once it was erased."""
        return Personal(None if self.erased else self._address, self.note, self.return_reason)

    @property
    def _address(self) -> Address:
        known = self.latitude is not None and self.longitude is not None
        return Address(
            self.recipient,
            self.line1,
            self.line2,
            self.postal_code,
            self.city,
            self.country_code,
            self.phone,
            Place(self.latitude or 0.0, self.longitude or 0.0) if known else None,
        )


class PersonalStore:
    """What orders know of persons."""

    def __init__(self, connection: Database) -> None:
        self._connection = connection

    def put(self, known: Iterable[tuple[Order, Personal]]) -> None:
        """Keep the person's part of new orders."""
        rows = [_flat(personal) | {"order_id": order.id, "customer_id": order.customer_id} for order, personal in known]
        self._connection.execute(PUT_PERSONAL, [orjson.dumps(rows).decode()])

    def of(self, order_id: UUID) -> Personal:
        """The person's part of an order."""
        return self.of_all([order_id])[order_id]

    def of_all(self, order_ids: Sequence[UUID]) -> dict[UUID, Personal]:
        """The person's part of orders."""
        found = {row[0]: PersonalRow(*row[1:]).personal for row in self._connection.execute(GET_PERSONAL, [order_ids])}
        return {order_id: found.get(order_id) or Personal() for order_id in order_ids}

    def say(self, order_id: UUID, what: str, words: str) -> None:
        """Keep somebody's own words: a `cancel_reason`, `return_reason` or `refusal_reason`."""
        self._connection.execute(SAY[what], (words, order_id))

    def standings(self, customer_ids: Iterable[UUID]) -> dict[UUID, Standing]:
        """Whether customers were erased, and what they hold; neither changes until the transaction ends."""
        wanted = list(set(customer_ids))
        self._connection.execute(LOCK, (wanted,))
        return {row[0]: Standing(*row[1:]) for row in self._connection.execute(STANDING, (wanted,))}

    def forget(self, customer_id: UUID) -> list[UUID]:
        """Let in no more orders of a customer; those that are there and may still be called off."""
        self._connection.execute(LOCK, ([customer_id],))
        self._connection.execute(
            "insert into erased_customer (customer_id) values (%s) on conflict do nothing", (customer_id,)
        )
        rows = self._connection.execute(
            "select order_id from order_view join personal p using (order_id) "
            "where p.customer_id = %s and state in ('PENDING', 'CONFIRMED')",
            (customer_id,),
        )
        return [row[0] for row in rows]

    def erase(self, customer_id: UUID) -> None:
        """Empty what belongs to a customer."""
        self._connection.execute(ERASE, (customer_id,))
        self._connection.execute("delete from cart where owner = %s", (str(customer_id),))


def _flat(personal: Personal) -> dict[str, object]:
    address = asdict(personal.address or Address())
    place = address.pop("place") or {}
    return {**address, **place, "note": personal.note}


# The lease is taken by the database's clock; who finds a row leased passes on to the next.
CLAIM: LiteralString = """
    update process set lease_token = lease_token + 1, lease_until = clock_timestamp() + %s
    where (order_id, version) in (
        select order_id, version from process
        where next_run_at <= clock_timestamp() and lease_until <= clock_timestamp()
        order by next_run_at limit %s for update skip locked)
    returning order_id, version, kind, lease_token, attempt, request_id,
        coalesce(deadline_at <= clock_timestamp(), false) as overdue, refunds_refused
"""
ADD: LiteralString = """
    insert into process (order_id, version, kind, lease_until, deadline_at, request_id, holder, units)
    select order_id, version, kind, clock_timestamp() + make_interval(secs => lease),
        clock_timestamp() + make_interval(secs => deadline), request_id, holder, units
    from json_to_recordset(%s::json) as new (order_id uuid, version bigint, kind text, lease float8, deadline float8,
        request_id text, holder uuid, units int)
"""
END: LiteralString = """
    delete from process p using unnest(%b::uuid[], %b::bigint[], %b::bigint[]) as done (order_id, version, lease_token)
    where p.order_id = done.order_id and p.version = done.version and p.lease_token = done.lease_token
"""
POSTPONE: LiteralString = """
    update process set attempt = attempt + 1, lease_until = clock_timestamp(),
        -- Whatever has a deadline is looked at again when that has come.
        next_run_at = case when deadline_at > clock_timestamp() then least(clock_timestamp() + %s, deadline_at)
            else clock_timestamp() + %s end,
        last_reason = %s, refusals = refusals + %s, refunds_refused = refunds_refused + %s
    where order_id = %s and version = %s and lease_token = %s
"""


class ProcessStore:
    """What events still demand."""

    def __init__(self, connection: Database) -> None:
        self._connection = connection

    def add(self, demands: Sequence[Demand]) -> None:
        """Have something done."""
        if demands:
            self._connection.execute(ADD, [orjson.dumps([each.columns for each in demands]).decode()])

    def claim(self, lease: timedelta, most: int) -> list[Task]:
        """Take what is due and nobody does."""
        with self._connection.cursor(row_factory=class_row(Task)) as cursor:
            return cursor.execute(CLAIM, (lease, most)).fetchall()

    def end(self, tasks: Sequence[Task]) -> bool:
        """These are done. False if somebody else has taken one of them over, or it is no longer wanted."""
        rows = [(task.order_id, task.version, task.lease_token) for task in tasks]
        columns = [list(column) for column in zip(*rows, strict=True)]
        return self._connection.execute(END, columns).rowcount == len(tasks)

    def postpone(self, task: Task, pause: timedelta, why: MercatoError) -> None:
        """Have it begun anew after a pause, unless somebody else has taken it over."""
        refusals = (why.reason[:100], int(why.definite), int(why.definite and why.reason == REFUND_FAILED))
        self._connection.execute(POSTPONE, (pause, pause, *refusals, task.order_id, task.version, task.lease_token))

    def drop(self, order_id: UUID, kinds: Sequence[Kind]) -> None:
        """These are not wanted any more."""
        self._connection.execute(
            "delete from process where order_id = %s and kind = any(%s)", (order_id, [str(kind) for kind in kinds])
        )


PUT_CART: LiteralString = """
    insert into cart as kept (owner, version, lines) values (%s, 1, %s)
    on conflict (owner) do update set version = kept.version + 1, lines = excluded.lines,
        update_time = clock_timestamp()
    returning version
"""


class CartStore:
    """Carts."""

    def __init__(self, connection: Database) -> None:
        self._connection = connection

    def find(self, owner: str) -> KeptCart:
        """Somebody's cart; an empty one if there is none."""
        row = self._connection.execute("select version, lines from cart where owner = %s", (owner,)).fetchone()
        return KeptCart(row[0], _cart_lines(row[1])) if row else KeptCart()

    def lock(self, owner: str) -> KeptCart:
        """Somebody's cart, which nobody else changes until the transaction ends."""
        # The lock is on the name, for a cart that is not there yet has no row to be locked.
        self._connection.execute("select pg_advisory_xact_lock(hashtextextended('cart:' || %s, 0))", (owner,))
        return self.find(owner)

    def put(self, owner: str, lines: Sequence[CartLine]) -> KeptCart:
        """Change what lies in a cart."""
        row = self._connection.execute(PUT_CART, (owner, Jsonb([_cart_line(line) for line in lines]))).fetchone()
        return KeptCart(row[0] if row else 0, tuple(lines))

    def empty(self, owner: str, version: int) -> bool:
        """Take everything out of a cart; False if it is not as it was at that version."""
        done = self._connection.execute(
            "update cart set lines = '[]', version = version + 1, update_time = clock_timestamp() "
            "where owner = %s and version = %s",
            (owner, version),
        )
        return done.rowcount == 1

    def unmerged(self, guest: str) -> bool:
        """Whether a guest left lines that nobody has taken over yet."""
        row = self._connection.execute(
            "select 1 from cart where owner = %s and merged_into is null and jsonb_array_length(lines) > 0", (guest,)
        ).fetchone()
        return row is not None

    def take_over(self, guest: str, owner: str) -> tuple[CartLine, ...]:
        """The guest's lines, for the one who asks first."""
        row = self._connection.execute(
            "update cart set merged_into = %s, update_time = clock_timestamp() "
            "where owner = %s and merged_into is null returning lines",
            (owner, guest),
        ).fetchone()
        return _cart_lines(row[0]) if row else ()


def _cart_line(line: CartLine) -> dict[str, object]:
    price = line.unit_price
    return {
        "sku": line.sku,
        "quantity": line.quantity,
        "title": line.title,
        "amount": price.amount,
        "currency": price.currency,
    }


def _cart_lines(rows: Sequence[dict[str, object]]) -> tuple[CartLine, ...]:
    return tuple(
        CartLine(
            str(row["sku"]),
            int(str(row["quantity"])),
            str(row["title"]),
            Money(int(str(row["amount"])), str(row["currency"])),
        )
        for row in rows
    )
