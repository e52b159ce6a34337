"""The tables of payments, attempts and the ledger: every write, and the reads that writes decide by.

Locks are taken in one order everywhere: the payment first, then its attempts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.rows import kwargs_row, scalar_row

from mercato.errors import NotFound
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Work
from services.payment.domain import Attempt, Kind, Payment, Progress, State
from services.payment.ledger import balanced
from services.payment.outcome import Change
from services.payment.reconciliation import Difference

T = TypeVar("T")

PAYMENT: LiteralString = """id, order_id, customer_id, payment_method, method, reference, state, currency, amount,
    authorized, captured, refunded, refunding, decline_code, version, create_time, update_time"""
ATTEMPT: LiteralString = "id, payment_id, kind, number, amount, state, refusal, lease_token, create_time"

# The newest declines of a customer, and by a means of payment, as many as matter. Those that are being decided just now
# are not counted: whoever asks for many at once gets as many past the cap, and no more after that. The alternative, a
# lock for each customer, would make all who pay wait for the few who try out cards.
DECLINES: LiteralString = """
    with by_customer as (
        select update_time from payment
        where customer_id = %(customer_id)s and state = 'DECLINED' and update_time > now() - %(window)s
        order by update_time desc limit %(per_customer)s
    ),
    by_method as (
        select update_time from payment
        where payment_method = %(payment_method)s and state = 'DECLINED' and update_time > now() - %(window)s
        order by update_time desc limit %(per_method)s
    ),
    capped as (
        select min(update_time) as since from by_customer having count(*) >= %(per_customer)s
        union all
        select min(update_time) from by_method having count(*) >= %(per_method)s
    )
"""

# Another transaction with the same id is waited for, and then decides.
ADD: LiteralString = f"""
    {DECLINES}
    insert into payment (id, order_id, customer_id, payment_method, method, state, currency, amount, version)
    select %(id)s, %(order_id)s, %(customer_id)s, %(payment_method)s, %(method)s, %(state)s, %(currency)s, %(amount)s,
        %(version)s
    where not exists (select from capped)
    on conflict (id) do nothing
    returning {PAYMENT}
"""

ENTRIES: LiteralString = """
        json_to_recordset(%(entries)s::json)
            as e (id uuid, transaction_id uuid, payment_id uuid, account text, side text, amount bigint)
"""

# Cash asks no provider, and is never capped: it is promised at once. What has a known id is not booked again.
PROMISE: LiteralString = f"""
    with new as (
        insert into payment (id, order_id, customer_id, payment_method, method, state, currency, amount, authorized,
            version)
        select id, order_id, customer_id, payment_method, method, state, currency, amount, authorized, version
        from json_to_recordset(%(payments)s::json) as p (id uuid, order_id uuid, customer_id uuid, payment_method text,
            method text, state text, currency text, amount bigint, authorized bigint, version bigint)
        order by id
        on conflict (id) do nothing
        returning {PAYMENT}
    ),
    booked as (
        insert into ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
        select e.id, e.transaction_id, new.id, e.account, e.side, e.amount, new.currency
        from {ENTRIES} join new on new.id = e.payment_id
    )
    select {PAYMENT} from new
"""

# When the oldest of the declines that count is old enough.
CAPPED: LiteralString = f"""
    {DECLINES}
    select coalesce(extract(epoch from max(since) + %(window)s - now()), 0)::float8 from capped
"""

BURY: LiteralString = """
    insert into payment (id, state, version) values (%s, 'VOIDED', 1) on conflict (id) do nothing
"""

GET: LiteralString = f"select {PAYMENT} from payment where id = %s"

# No code path can move money without its ledger, or answer an attempt without its payment.
WRITE: LiteralString = f"""
    with closed as (
        update attempt set state = %(a_state)s, refusal = %(a_refusal)s, reference = %(a_reference)s,
            update_time = now()
        where id = %(a_id)s
    ),
    booked as (
        insert into ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
        select e.id, e.transaction_id, e.payment_id, e.account, e.side, e.amount, %(currency)s
        from {ENTRIES}
    )
    update payment set method = %(method)s, reference = %(reference)s, state = %(state)s, authorized = %(authorized)s,
        captured = %(captured)s, refunded = %(refunded)s, refunding = %(refunding)s, decline_code = %(decline_code)s,
        version = %(version)s, update_time = now()
    where id = %(id)s
    returning update_time
"""

OPEN: LiteralString = f"""
    insert into attempt (id, payment_id, kind, number, amount, reason, due_time)
    select %(id)s, %(payment_id)s, %(kind)s, count(*) + 1, %(amount)s, %(reason)s, now() + %(lease)s
    from attempt where payment_id = %(payment_id)s and kind = %(kind)s
    returning {ATTEMPT}
"""

# `skip locked`: any number of workers go past each other. The token tells the latest holder from an earlier one that
# was stopped for longer than its lease.
CLAIM_DUE: LiteralString = """
    update attempt a set due_time = now() + %(lease)s, lease_token = lease_token + 1
    from (
        select id as due_id from attempt where state = 'PENDING' and due_time <= now()
        order by due_time limit 1 for update skip locked
    ) due
    where a.id = due_id
"""
CLAIM_OF: LiteralString = """
    update attempt a set due_time = now() + %(lease)s, lease_token = lease_token + 1
    from (
        select id as due_id from attempt where state = 'PENDING' and due_time <= now() and payment_id = %(payment_id)s
        order by due_time limit 1 for update skip locked
    ) due
    where a.id = due_id
"""

# Only an attempt's putting-off needs the fence. An answer is the provider's, the same whoever brings it, and is
# recorded once because the attempt is PENDING only once.
POSTPONE: LiteralString = """
    update attempt set due_time = now() + %s where id = %s and lease_token = %s and state = 'PENDING'
"""

# Whoever asks just now goes on: the key makes two questions one.
HASTEN: LiteralString = """
    update attempt set due_time = least(due_time, now()) where payment_id = %s and state = 'PENDING'
"""


@dataclass(frozen=True, slots=True)
class Caps:
    """How many declines within a window stop further authorizations, so that nobody tries out cards here."""

    per_customer: int
    per_method: int
    window: timedelta


CAPS = Caps(20, 1000, timedelta(hours=1))


NOTE: LiteralString = """
    insert into difference (kind, payment_id, reference, ours, theirs, repair)
    values (%(kind)s, %(payment_id)s, %(reference)s, %(ours)s, %(theirs)s, %(repair)s)
    on conflict (kind, payment_id, reference, ours, theirs)
    do update set repair = excluded.repair, update_time = now()
"""


def payment_of(currency: str, state: str, **columns: Any) -> Payment:
    """A row of `payment` as a payment."""
    for name in ("amount", "authorized", "captured", "refunded", "refunding"):
        columns[name] = Money(columns[name], currency)
    return Payment(state=State(state), **columns)


def _attempt_of(kind: str, state: str, **columns: Any) -> Attempt:
    return Attempt(kind=Kind(kind), state=Progress(state), **columns)


class Payments:
    """Rows of `payment`, and of the ledger that belongs to them."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def add(self, payment: Payment, caps: Caps) -> Payment | None:
        """A payment that is new, as the database has it; None if the id is taken, or a cap reached."""
        return self._one(ADD, {**_columns(payment), **_limits(caps)})

    def promise(self, changes: Sequence[Change]) -> dict[UUID, Payment]:
        """Payments that are new and promised at once, with what is booked for them; those with known ids are not."""
        payments = [_columns(each.payment) for each in changes]
        entries = [entry for each in changes for entry in _booked(each)]
        values = {"payments": _json(payments), "entries": _json(entries)}
        with self._connection.cursor(row_factory=kwargs_row(payment_of)) as cursor:
            return {each.id: each for each in cursor.execute(PROMISE, values)}

    def capped(self, payment: Payment, caps: Caps) -> float:
        """For how many seconds the caps stand against a payment."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return float(_found(cursor.execute(CAPPED, {**_columns(payment), **_limits(caps)}).fetchone()))

    def bury(self, payment_id: UUID) -> bool:
        """Leave a tombstone; False if the id is taken."""
        return self._connection.execute(BURY, [payment_id]).rowcount == 1

    def lock(self, payment_id: UUID) -> Payment:
        """A payment that nobody else changes until this transaction ends. NotFound."""
        return _found(self._one(GET + " for update", [payment_id]))

    def get(self, payment_id: UUID) -> Payment:
        """A payment as it is. NotFound."""
        return _found(self._one(GET, [payment_id]))

    def write(self, change: Change, attempt: Attempt | None = None, reference: str | None = None) -> Payment:
        """Write what became of a payment, what is booked for it, and the attempt that was answered."""
        answered = {
            "a_id": attempt and attempt.id,
            "a_state": attempt and attempt.state,
            "a_refusal": attempt and attempt.refusal,
            "a_reference": reference,
        }
        values = {**_columns(change.payment), **answered, "entries": _json(_booked(change))}
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            written = _found(cursor.execute(WRITE, values).fetchone())
        return replace(change.payment, update_time=written)

    def _one(self, statement: LiteralString, values: Any) -> Payment | None:
        with self._connection.cursor(row_factory=kwargs_row(payment_of)) as cursor:
            return cursor.execute(statement, values).fetchone()


class Attempts:
    """Rows of `attempt`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def open(self, payment: Payment, kind: Kind, amount: Money, lease: timedelta, reason: str = "") -> Attempt:
        """Note that the provider is about to be asked. Needs the payment's lock, which numbers the attempts."""
        values = {
            "id": uuid7(),
            "payment_id": payment.id,
            "kind": kind,
            "amount": amount.amount,
            "lease": lease,
            "reason": reason,
        }
        return _found(self._one(OPEN, values))

    def pending(self, payment_id: UUID) -> Attempt | None:
        """What the payment waits for: an authorization, a capture or a cancellation. Needs the payment's lock."""
        statement: LiteralString = f"""
            select {ATTEMPT} from attempt where payment_id = %s and state = 'PENDING' and kind <> 'REFUND'"""
        return self._one(statement, [payment_id])

    def get(self, attempt_id: UUID) -> Attempt:
        """An attempt as it is. NotFound."""
        return _found(self._one(f"select {ATTEMPT} from attempt where id = %s", [attempt_id]))

    def unanswered(self, payment_id: UUID) -> bool:
        """Whether the provider is being asked for anything. Needs the payment's lock, to stay so."""
        statement: LiteralString = "select from attempt where payment_id = %s and state = 'PENDING' limit 1"
        return self._connection.execute(statement, [payment_id]).rowcount == 1

    def hasten(self, payment_id: UUID) -> bool:
        """Leave what is unanswered of a payment to the worker at once; False if there is nothing."""
        return self._connection.execute(HASTEN, [payment_id]).rowcount > 0

    def claim(self, lease: timedelta, payment_id: UUID | None = None) -> Attempt | None:
        """An unanswered attempt that nobody works on, of one payment or any, taken for a while."""
        which = CLAIM_OF if payment_id else CLAIM_DUE
        return self._one(f"{which} returning {ATTEMPT}", {"lease": lease, "payment_id": payment_id})

    def postpone(self, attempt: Attempt, pause: timedelta) -> bool:
        """Leave a claimed attempt for later; False if it is another's by now."""
        return self._connection.execute(POSTPONE, [pause, attempt.id, attempt.lease_token]).rowcount == 1

    def _one(self, statement: LiteralString, values: Any) -> Attempt | None:
        with self._connection.cursor(row_factory=kwargs_row(_attempt_of)) as cursor:
            return cursor.execute(statement, values).fetchone()


class Reconciliations:
    """Rows of `reconciliation`: the passes that run by themselves."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def claim(self, name: str, pause: timedelta) -> datetime | None:
        """Until when was compared, if the pass is due: it is then put off, and the caller's to make."""
        statement: LiteralString = """
            update reconciliation set due_time = now() + %s where name = %s and due_time <= now()
            returning compared_until"""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            found: datetime | None = cursor.execute(statement, [pause, name]).fetchone()
            return found

    def compared(self, name: str, until: datetime) -> None:
        """Everything before was compared."""
        statement: LiteralString = """
            update reconciliation set compared_until = greatest(compared_until, %s) where name = %s"""
        self._connection.execute(statement, [until, name])

    def note(self, differences: Sequence[Difference]) -> None:
        """Keep differences, each once, with what was done last."""
        with self._connection.cursor() as cursor:
            cursor.executemany(NOTE, [_noted(each) for each in differences])


class PaymentWork(Work):
    """One transaction on the schema `payments`, and the events that leave with it."""

    def opened(self) -> None:
        """Lay out the tables."""
        self.payments = Payments(self.connection)
        self.attempts = Attempts(self.connection)
        self.reconciliations = Reconciliations(self.connection)


def _columns(payment: Payment) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(payment, name) for name in Payment.__slots__}
    amounts = {name: value.amount for name, value in columns.items() if isinstance(value, Money)}
    return {**columns, **amounts, "currency": payment.amount.currency}


def _noted(difference: Difference) -> dict[str, str]:
    return {name: getattr(difference, name) for name in Difference.__slots__}


def _limits(caps: Caps) -> dict[str, Any]:
    return {"per_customer": caps.per_customer, "per_method": caps.per_method, "window": caps.window}


def _booked(change: Change) -> list[dict[str, Any]]:
    assert balanced(change.bookings)
    transaction = uuid7()
    return [
        {
            "id": uuid7(),
            "transaction_id": transaction,
            "payment_id": change.payment.id,
            "account": each.account,
            "side": each.side,
            "amount": each.amount.amount,
        }
        for each in change.bookings
    ]


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(rows, default=str).decode()


def _found(row: T | None) -> T:
    if row is None:
        raise NotFound
    return row
