"""The relay: what lies committed in the outbox goes to Kafka, then to the journal.

There is no cursor. What lies in the outbox is to be sent, whenever its transaction committed; a reader that remembered
the last id would skip the transaction that drew a lower one and committed later. Rows of one aggregate are visible in
the order of their versions, for whoever writes version n + 1 has read version n.

A bucket has one owner, by an advisory lock of the connection that reads: a relay that loses the connection loses its
buckets with it. No transaction is open while Kafka is waited for. Whatever happens between Kafka's acknowledgement and
the move to the journal sends records twice, never not at all; readers skip what they know by its version.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import Connection

from mercato import log
from mercato.errors import Unavailable
from mercato.failpoint import failpoint
from mercato.kafka import Kafka
from mercato.outgoing import BUCKETS
from mercato.postgres import Bell
from mercato.publisher import COLUMNS, Publisher, Row
from mercato.sqlstate import translated
from mercato.telemetry import Counter, Histogram

# A round costs Kafka the same whatever it carries.
BATCH = 4096
# How often buckets are shared out anew among the relays.
SHARE = timedelta(seconds=1)

# A relay that was stopped for longer loses the connection, and with it the buckets that it sits on.
LONGEST_SILENCE: LiteralString = "set idle_session_timeout = '30s'"
# A queue is mostly empty when it is counted, and long when it matters: a plan made for a few rows would sort all of it
# once for each bucket.
BY_KEY: LiteralString = "set enable_seqscan = off"
# A present relay holds a shared lock beside those of its buckets, so that the others can count it.
HERE: LiteralString = "select pg_try_advisory_lock_shared(hashtext(%s), %s)"
RELAYS: LiteralString = """
    select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and granted
        and database = (select oid from pg_database where datname = current_database())
        and classid::bigint = hashtext(%s)::bit(32)::bigint and objid::bigint = %s"""
TAKE: LiteralString = "select n from unnest(%s::int[]) n where pg_try_advisory_lock(hashtext(%s), n)"
GIVE: LiteralString = "select pg_advisory_unlock(hashtext(%s), n) from unnest(%s::int[]) n"
READ: LiteralString = f"""
    select o.* from unnest(%b::smallint[]) as mine (bucket)
    cross join lateral (select {COLUMNS} from outbox where bucket = mine.bucket order by id limit %s) o
    order by o.id"""  # noqa: S608  of constants
# Without a join, whose order would follow what was counted: the wrong one compares each row with each. An id is in one
# bucket only.
MOVE: LiteralString = """
    with moved as (delete from outbox where bucket = any(%b::smallint[]) and id = any(%b::bigint[]) returning *)
    insert into outbox_journal (bucket, id, topic, aggregate_id, version, event_id, type, payload, headers, create_time)
    select bucket, id, topic, aggregate_id, version, event_id, type, payload, headers, create_time from moved"""

PUBLISHED = Counter("mercato_outbox_published", "Records that Kafka acknowledged.", ("schema",))
LAG = Histogram("mercato_outbox_lag_seconds", "From the writing of an event to Kafka's acknowledgement.", ("schema",))
_log = log.get(__name__)


class Schema(Protocol):
    """The database of one service."""

    schema: str
    published: Bell

    def dedicated(self) -> Connection[Any]:
        """A connection of one's own."""
        ...


class OutboxRelay:
    """Publishes what a service's transactions left in its outbox. Any number may run; they share the buckets."""

    idle = 0.25  # what this process writes wakes it; the look is for what others write, and for what was left behind
    gather = 0.025

    def __init__(self, database: Schema, kafka: Kafka) -> None:
        """A relay that connects when it is first asked to work."""
        self.name = "relay"
        self.wake = database.published.listen()
        self.buckets: set[int] = set()
        self._database = database
        self._publisher = Publisher(kafka)
        self._locks = f"mercato.outbox.{database.schema}"
        self._connection: Connection[Any] | None = None
        self._share_due: datetime | None = None

    def run_once(self, now: datetime) -> bool:
        """Publish one batch of the buckets that are this relay's. Unavailable if PostgreSQL or Kafka is."""
        try:
            with translated({}):
                connection = self._connected()
                self._share(connection, now)
                rows = self._read(connection)
                if rows:
                    self._publisher.publish(rows)
                    self._meter(rows)
                    failpoint("after_ack")
                    self._move(connection, rows)
        except Unavailable:
            self._disconnect()
            raise
        return bool(rows)

    def _connected(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._disconnect()
            connection = self._connection = self._database.dedicated()
            connection.execute(LONGEST_SILENCE)
            connection.execute(BY_KEY)
            connection.execute(HERE, [self._locks, BUCKETS])
        return self._connection

    def _disconnect(self) -> None:
        self.buckets.clear()
        self._share_due = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _share(self, connection: Connection[Any], now: datetime) -> None:
        if self._share_due is not None and now < self._share_due:
            return
        self._share_due = now + SHARE
        row = connection.execute(RELAYS, [self._locks, BUCKETS]).fetchone()
        fair = -(-BUCKETS // max(1, row[0] if row else 1))
        if surplus := sorted(self.buckets)[fair:]:
            connection.execute(GIVE, [self._locks, surplus])
            self.buckets.difference_update(surplus)
        # One after the other until the share is full: a try that succeeds beyond it would have to be undone.
        for wanted in sorted(set(range(BUCKETS)) - self.buckets):
            if len(self.buckets) >= fair:
                break
            self.buckets.update(taken for (taken,) in connection.execute(TAKE, [[wanted], self._locks]))

    def _read(self, connection: Connection[Any]) -> list[Row]:
        if not self.buckets:
            return []
        with connection.cursor(binary=True) as cursor:
            found = cursor.execute(READ, [sorted(self.buckets), BATCH // len(self.buckets)]).fetchall()
        return [Row(*each) for each in found]

    def _meter(self, rows: Sequence[Row]) -> None:
        PUBLISHED.add(self._database.schema, amount=len(rows))
        LAG.observe(time.time() - rows[0].create_time.timestamp(), self._database.schema)

    def _move(self, connection: Connection[Any], rows: Sequence[Row]) -> None:
        connection.execute(MOVE, [[*{row.bucket for row in rows}], [row.id for row in rows]])
        failpoint("after_commit")

    def close(self) -> None:
        """Give the buckets back."""
        try:
            if self._connection is not None:
                # Said aloud: the server notices a closed connection only a moment later.
                self._connection.execute("select pg_advisory_unlock_all()")
        except psycopg.Error as error:
            _log.info("outbox.already_lost", problem=str(error))
        self._disconnect()
