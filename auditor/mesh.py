"""The audit of the whole mesh: every rule of every schema and those across them, on one snapshot of the database."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from auditor import orders
from auditor.history import History
from auditor.provider import NoProviderLog, ProviderLog, provider_log
from auditor.topics import WINDOW, KafkaReader, NoTopics, Topics
from mercato.audit import GRACE, MESH, Connection, Report, connect, examine, snapshot

SCHEMAS = ("catalog", "inventory", "orders", "payments", "delivery", "users")
SERVICES = ("product", "inventory", "order", "payment", "delivery", "user")


def audit(
    database_url: str,
    *,
    provider: str = "",
    provider_key: str = "",
    bootstrap: str = "",
    window: timedelta = WINDOW,
    grace: timedelta = GRACE,
) -> Report:
    """Audit once; see the package."""
    log = provider_log(provider, provider_key) if provider else None
    topics = Topics(KafkaReader(bootstrap, SERVICES), window) if bootstrap else None
    auditor = Auditor(database_url, log, grace, topics=topics)
    try:
        return auditor.audit()
    finally:
        auditor.close()


class Auditor:
    """Audits, again and again: what it has read of orders and of the provider's log it keeps."""

    def __init__(
        self,
        database_url: str,
        provider: ProviderLog | None = None,
        grace: timedelta = GRACE,
        schemas: Sequence[str] = SCHEMAS,
        topics: Topics | None = None,
    ) -> None:
        """Connect when first asked to audit."""
        self._url = database_url
        self._provider = provider
        self._grace = grace
        self._schemas = schemas
        self._topics = topics
        self._no_topics = ""
        self._history = History()
        self._connection: Connection | None = None

    def audit(self) -> Report:
        """What holds, and what does not, at this moment."""
        began = time.monotonic()
        connection = self._connected()
        self._read_early(connection)
        with snapshot(connection):
            report = self.examine(connection)
        return replace(report, seconds=time.monotonic() - began)

    def _read_early(self, connection: Connection) -> None:
        """Read the topics before the snapshot is taken."""
        self._no_topics = ""
        if self._topics is not None:
            try:
                self._topics.read_early(connection, _now(connection))
            except NoTopics as why:
                self._no_topics = str(why)

    def examine(self, connection: Connection) -> Report:
        """What holds, and what does not, as a transaction of the caller's sees it."""
        began = time.monotonic()
        audited, absent = self._read(connection)
        verdicts = [
            verdict
            for source in (*self._schemas, MESH)
            for verdict in examine(connection, source, grace=self._grace, absent=absent)
        ]
        verdicts.append(self._history.examine(connection))
        return Report(verdicts, time.monotonic() - began, audited)

    def _read(self, connection: Connection) -> tuple[dict[str, int], dict[str, str]]:
        """Fill the tables that rules across schemas need: how much was read, and what could not be, and why."""
        audited, absent = {"orders": orders.fill_tables(connection)}, dict[str, str]()
        try:
            if self._provider is not None:
                audited["provider_payments"] = self._provider.fill_tables(connection, _now(connection))
        except NoProviderLog as why:
            absent |= {"provider_payment": str(why), "provider_refund": str(why)}
        try:
            if self._topics is not None and not self._no_topics:
                audited["records"] = self._topics.fill_tables(connection, _now(connection))
        except NoTopics as why:
            self._no_topics = str(why)
        if self._no_topics:
            absent["topic_record"] = self._no_topics
        return audited, absent

    def prepare(self, connection: Connection) -> None:
        """Make the tables that are filled for each audit; they are gone with the connection."""
        orders.create_tables(connection)
        if self._provider is not None:
            self._provider.create_tables(connection)
        if self._topics is not None:
            self._topics.create_tables(connection)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url)
            # The auditor's role is told to read only: this is the one exception, and is gone with the connection.
            self._connection.execute("set default_transaction_read_only = off")
            self.prepare(self._connection)
        return self._connection

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()


def _now(connection: Connection) -> datetime:
    """The moment of the snapshot, by the database's clock."""
    row = connection.execute("select now()").fetchone()
    assert row
    taken: datetime = row[0]
    return taken
