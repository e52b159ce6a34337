"""A service's audit of itself: the rules of its own schema on one snapshot, and the last one's outcome, kept."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from mercato import log
from mercato.audit import examine, snapshot
from mercato.errors import Conflict
from mercato.postgres import Database

MOST = 100
KEEP: LiteralString = """
    insert into last_audit (time, seconds, rules, total, findings) values (%s, %s, %s, %s, %s)
    on conflict (one) do update set time = excluded.time, seconds = excluded.seconds, rules = excluded.rules,
        total = excluded.total, findings = excluded.findings"""
LAST: LiteralString = "select time, seconds, rules, total, findings from last_audit"
_log = log.get(__name__)


class AuditUnderWay(Conflict):
    """Another audit of this service is under way."""

    retry_after = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an audit. `total` may be more than the findings that are told."""

    time: datetime
    seconds: float
    rules: int
    total: int
    findings: Sequence[Mapping[str, Any]]


class SelfAudit:
    """Audits one schema."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._one = threading.Lock()

    def last(self) -> Outcome | None:
        """What came of the last one; None if there was none."""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Outcome)) as cursor:
            return cursor.execute(LAST).fetchone()

    def run(self) -> Outcome:
        """Audit now. AuditUnderWay."""
        if not self._one.acquire(blocking=False):
            raise AuditUnderWay
        try:
            outcome = self._examined()
        finally:
            self._one.release()
        with self._database.reading() as connection:
            values = (outcome.time, outcome.seconds, outcome.rules, outcome.total, Jsonb(list(outcome.findings)))
            connection.execute(KEEP, values)
        _log.info("audit", schema=self._database.schema, found=outcome.total, seconds=round(outcome.seconds, 2))
        return outcome

    def _examined(self) -> Outcome:
        began = datetime.now(UTC)
        # A connection of its own: nobody who orders waits for one because the books are looked at.
        with self._database.dedicated() as connection, snapshot(connection):
            verdicts = [each for each in examine(connection, self._database.schema) if not each.missing]
        findings = [
            {"rule": one.rule, "about": one.about, "id": one.id, "detail": one.detail, "repair": one.repair}
            for verdict in verdicts
            for one in verdict.findings
        ]
        seconds = (datetime.now(UTC) - began).total_seconds()
        return Outcome(began, seconds, len(verdicts), sum(each.count for each in verdicts), findings[:MOST])
