"""PostgreSQL: the pool of a service's schema, and the unit of work: a transaction and the events that leave with it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from mercato import log
from mercato.errors import MercatoError
from mercato.failpoint import failpoint, watched
from mercato.idempotency import Idempotency
from mercato.outgoing import Outgoing, Written, insert
from mercato.rpc.call import current_call
from mercato.sqlstate import Constraints, LostRace, out_of_time, translated
from mercato.topic import topic

__all__ = ["Database", "LostRace", "Session", "Work", "retried"]

T = TypeVar("T")
# How long statements may last (milliseconds). Deadlines are rounded up to the next of these, so that a connection is
# rarely told of a new one; the last one ends what nobody's deadline does.
LIMITS = (250, 500, 1_000, 2_500, 5_000)
# How long a caller waits for a connection before it hears that there is too much to do.
PATIENCE = 1.0
# A connection that lay idle for longer is looked at before it is handed out: a restarted server left it dead.
IDLE = 0.5
_log = log.get(__name__)
# A dead peer is noticed within half a minute, a mute one within fifteen seconds of sending.
OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class Session(Connection[TupleRow]):
    """A connection that remembers its statement_timeout and when it was last given back."""

    limit = 0
    rested = 0.0

    def limit_statements(self, seconds: float | None) -> None:
        """Let no statement outlive the caller's deadline for long."""
        limit = _limit(seconds)
        if limit != self.limit:
            self.execute("select set_config('statement_timeout', %s, false)", [str(limit)])
            self.limit = limit

    def begin(self, seconds: float | None) -> int:
        """Begin a transaction whose statements do not outlive the deadline either, in one message to the server.

        The limit is answered. It lasts beyond the transaction if that is committed.
        """
        limit, known = _limit(seconds), self.limit
        self.limit = 0
        self.execute(b"begin" if limit == known else b"begin; set statement_timeout = %d" % limit, prepare=False)
        return limit


def _limit(seconds: float | None) -> int:
    if seconds is None:
        return LIMITS[-1]
    return next((limit for limit in LIMITS if seconds * 1000 <= limit), LIMITS[-1])


class Bell:
    """Tells those of this process who follow what is written that there is something new."""

    def __init__(self) -> None:
        self._heard: tuple[threading.Event, ...] = ()

    def listen(self) -> threading.Event:
        """What is set from now on whenever the bell rings; whoever waits for it clears it."""
        heard = threading.Event()
        self._heard = (*self._heard, heard)
        return heard

    def ring(self) -> None:
        """Tell everybody."""
        for each in self._heard:
            each.set()


class Database:
    """The pool of one schema, for the role that owns its rows."""

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        size: int = 4,
        constraints: Mapping[str, Callable[[], MercatoError]] | None = None,
    ) -> None:
        """Open connections in the background; `constraints` says which error a violated constraint stands for."""
        self.schema = schema
        self.published = Bell()
        self._url = url
        self._constraints: Constraints = constraints or {}
        self._unready = ""
        self._pool: ConnectionPool[Session] = ConnectionPool(
            url,
            connection_class=Session,
            kwargs={"autocommit": True, "application_name": schema, **OPTIONS},
            min_size=size,
            max_size=size,
            timeout=PATIENCE,
            max_lifetime=1800,
            reconnect_timeout=1.0,
            num_workers=1,
            check=_check,
            name=schema,
            open=False,
        )
        self._pool.open(wait=False)

    @contextmanager
    def transaction(self) -> Iterator[Connection[TupleRow]]:
        """A transaction: committed at the end of the block, rolled back when it raises."""
        with translated(self._constraints):
            remaining = _remaining()
            connection = self._take(remaining)
            try:
                limit = connection.begin(remaining)
                try:
                    yield connection
                    if wrote := watched() and _wrote(connection):
                        failpoint("before_commit")
                except BaseException:
                    if not connection.broken:
                        connection.rollback()
                    raise
                connection.commit()
                connection.limit = limit
                if wrote:
                    failpoint("after_commit")
            finally:
                self._give_back(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection[TupleRow]]:
        """A connection on which every statement is a transaction of its own."""
        with translated(self._constraints):
            remaining = _remaining()
            connection = self._take(remaining)
            try:
                connection.limit_statements(remaining)
                yield connection
            finally:
                self._give_back(connection)

    def _take(self, remaining: float | None) -> Session:
        # Not by the pool's own context manager: it commits what is committed, once more and for the price of a look.
        return self._pool.getconn(PATIENCE if remaining is None else max(0.0, min(PATIENCE, remaining)))

    def _give_back(self, connection: Session) -> None:
        # Noted here, not by the pool's `reset`: for that it has another thread give each connection back, and whoever
        # comes next meets both threads at work.
        connection.rested = time.monotonic()
        self._pool.putconn(connection)

    def dedicated(self) -> Session:
        """A connection of its own, autocommitting, that whoever asked for it closes."""
        with translated(self._constraints):
            return Session.connect(self._url, autocommit=True, application_name=self.schema, **OPTIONS)

    def ready(self) -> bool:
        """Whether it answers, and has every migration that this code knows."""
        from mercato.migrate import pending

        try:
            with self.reading() as connection:
                missing = pending(connection, self.schema)
        except MercatoError as error:
            return self._say("does not answer: " + str(error))
        return self._say(f"lacks {', '.join(missing)}: run mercato migrate") if missing else self._say("")

    def _say(self, unready: str) -> bool:
        if unready != self._unready:
            self._unready = unready
            _log.warning("database.unready" if unready else "database.ready", schema=self.schema, problem=unready)
        return not unready

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _remaining() -> float | None:
    remaining = current_call().remaining
    if remaining is not None and remaining <= 0:
        raise out_of_time()
    return remaining


def _wrote(connection: Connection[TupleRow]) -> bool:
    """Whether there is something to commit: a look that changed nothing has no two sides."""
    row = connection.execute("select pg_current_xact_id_if_assigned() is not null").fetchone()
    return bool(row and row[0])


def _check(session: Session) -> None:
    if time.monotonic() - session.rested > IDLE:
        ConnectionPool.check_connection(session)


def retried(act: Callable[[], T], times: int = 3) -> T:
    """What `act`, a whole unit of work, returns; done again when it lost a race with another transaction."""
    for _ in range(times - 1):
        try:
            return act()
        except LostRace:
            _log.info("work.again")
    return act()


class Work:
    """One transaction and the events that leave with it.

        with StockWork(database, service="inventory") as work:
            ...
            work.publish(StockReserved(...), str(reservation.id), reservation.version)

    Leaving the block writes the events and commits; an exception takes everything back. Services derive their own,
    whose `opened` gives their stores the connection. Nothing remote is called inside.
    """

    connection: Connection[TupleRow]
    idempotency: Idempotency

    def __init__(self, database: Database, service: str) -> None:
        """A unit of work of the service that owns the database's schema. For one use."""
        self._database = database
        self._service = service
        self._outgoing: list[Outgoing] = []
        self._published = False

    def __enter__(self) -> Self:
        self._transaction = self._database.transaction()
        self.connection = self._transaction.__enter__()
        try:
            self.idempotency = Idempotency(self.connection)
            self.opened()
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def opened(self) -> None:
        """Lay out what works on the connection."""

    def publish(self, event: Message | Written, aggregate_id: str, version: int) -> None:
        """Have an event leave with this transaction. Versions of one aggregate rise; one of them is used once."""
        self.send(Outgoing.of(event, topic(self._service), self._service, aggregate_id, version))
        current_call().wrote(f"{self._service}/{aggregate_id}", version)

    def send(self, outgoing: Outgoing) -> None:
        """Have a record leave as it is."""
        self._outgoing.append(outgoing)

    def hand_over(self) -> None:
        """Give the database what is to leave so far: before the end where that is much, so that it works meanwhile."""
        insert(self.connection, self._outgoing)
        self._published |= bool(self._outgoing)
        self._outgoing.clear()

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.hand_over()
            except BaseException as failed:
                self._transaction.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._transaction.__exit__(cls, error, traceback)
        if error is None and self._published:
            self._database.published.ring()
