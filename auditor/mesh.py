"""The audit of the whole mesh: every rule of every schema and those across them, on one snapshot of the database."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from auditor import orders
from auditor.provider import NoProviderLog, ProviderLog, provider_log
from mercato.audit import GRACE, MESH, Connection, Report, connect, examine, snapshot

SCHEMAS = ("catalog", "inventory", "orders", "payments", "delivery", "users")


def audit(
    database_url: str,
    *,
    provider: str = "",
    provider_key: str = "",
    grace: timedelta = GRACE,
) -> Report:
    """Audit once; see the package."""
    auditor = Auditor(database_url, provider_log(provider, provider_key) if provider else None, grace)
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
    ) -> None:
        """Connect when first asked to audit."""
        self._url = database_url
        self._provider = provider
        self._grace = grace
        self._schemas = schemas
        self._connection: Connection | None = None

    def audit(self) -> Report:
        """What holds, and what does not, at this moment."""
        with snapshot(self._connected()) as connection:
            return self.examine(connection)

    def examine(self, connection: Connection) -> Report:
        """What holds, and what does not, as a transaction of the caller's sees it."""
        began = time.monotonic()
        audited, absent = self._read(connection)
        verdicts = [
            verdict
            for source in (*self._schemas, MESH)
            for verdict in examine(connection, source, grace=self._grace, absent=absent)
        ]
        return Report(verdicts, time.monotonic() - began, audited)

    def _read(self, connection: Connection) -> tuple[dict[str, int], dict[str, str]]:
        """Fill the tables that rules across schemas need: how much was read, and what could not be, and why."""
        audited, absent = {"orders": orders.fill_tables(connection)}, {}
        if self._provider is not None:
            try:
                audited["provider_payments"] = self._provider.fill_tables(connection, _now(connection))
            except NoProviderLog as why:
                absent = {"provider_payment": str(why), "provider_refund": str(why)}
        return audited, absent

    def prepare(self, connection: Connection) -> None:
        """Make the tables that are filled for each audit; they are gone with the connection."""
        orders.create_tables(connection)
        if self._provider is not None:
            self._provider.create_tables(connection)

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
