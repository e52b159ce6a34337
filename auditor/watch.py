"""The audit that is always on: every minute, each new finding logged as an error, and numbers for whoever scrapes."""

from datetime import datetime, timedelta
from typing import Protocol

from mercato import log
from mercato.audit import Finding, Report
from mercato.telemetry import Gauge

# It rests nineteen times as long as it took, with all that it read: never more than a twentieth of a processor, however
# much there is. A shop that grows, or is just being filled, is audited less often, and never at the cost of its orders.
REST = 19

FINDINGS = Gauge("mercato_audit_findings", "What the last audit found, by rule.", ("rule",))
LAST_RUN = Gauge("mercato_audit_last_run_timestamp_seconds", "When the last audit ended.")
DURATION = Gauge("mercato_audit_duration_seconds", "How long the last audit took.")
_log = log.get(__name__)


class Audits(Protocol):
    """Whoever audits."""

    def audit(self) -> Report:
        """What holds, and what does not, at this moment."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Watch:
    """Audits whenever it is due."""

    name = "audit"
    idle = 0.5

    def __init__(self, auditor: Audits, every: timedelta, *, patience: timedelta = timedelta()) -> None:
        """The first audit is due after some patience: a mesh that has just begun has other things to do."""
        self._auditor = auditor
        self._every = every
        self._patience = patience
        self._due: datetime | None = None
        self._known: set[Finding] = set()

    def run_once(self, now: datetime) -> bool:
        """Audit if it is due."""
        if self._due is None:
            self._due = now + self._patience
        if now < self._due:
            return False
        report = self._auditor.audit()
        self._due = now + max(self._every, timedelta(seconds=report.seconds) * (REST + 1))
        self._tell(report, now)
        return False

    def _tell(self, report: Report, now: datetime) -> None:
        LAST_RUN.set(now.timestamp())
        DURATION.set(report.seconds)
        for verdict in report.verdicts:
            FINDINGS.set(verdict.count, f"{verdict.schema}/{verdict.rule}")
        # Once each: what lasts is in the numbers.
        found = set(report.findings)
        for finding in sorted(found - self._known, key=str):
            _log.error(
                "audit.finding",
                rule=f"{finding.schema}/{finding.rule}",
                about=finding.about,
                id=finding.id,
                detail=finding.detail,
                repair=finding.repair,
            )
        for finding in sorted(self._known - found, key=str):
            _log.info("audit.settled", rule=f"{finding.schema}/{finding.rule}", id=finding.id)
        self._known = found
        passed_over = {verdict.missing for verdict in report.verdicts if verdict.missing}
        say = _log.warning if passed_over else _log.info
        say("audit", found=report.count, seconds=round(report.seconds, 2), passed_over=sorted(passed_over))

    def close(self) -> None:
        """Let go of the database."""
        self._auditor.close()
