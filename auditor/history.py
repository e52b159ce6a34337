"""That history stays what it was: the sum over all events of one audit is found again by the next.

Events whose transactions were over at one moment are the same set for ever: none comes, none goes, none changes. So the
sum of their digests is remembered with that moment, and taken again.
"""

import time
from dataclasses import dataclass

from mercato.audit import Connection, Finding, Verdict

RULE, SCHEMA = "I7_history_is_unchanged", "orders"
# The first transaction that is not over is where the next audit's set ends.
SUMS = """
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, count(*), coalesce(sum(digest), 0)::text,
           count(*) filter (where xid::text::bigint < %(before)s),
           coalesce(sum(digest) filter (where xid::text::bigint < %(before)s), 0)::text
    from orders.event_digest where xid < pg_snapshot_xmin(pg_current_snapshot())
"""


@dataclass(frozen=True, slots=True)
class Sum:
    """How many events transactions before one wrote, and the sum of their digests."""

    before: int = 0
    events: int = 0
    digests: str = "0"


class History:
    """What the events of orders summed up to when they were last looked at."""

    def __init__(self) -> None:
        self._known = Sum()

    def examine(self, connection: Connection) -> Verdict:
        """Whether what was there last time is there, unchanged; and what there is now, for the next time."""
        began = time.monotonic()
        row = connection.execute(SUMS, {"before": self._known.before}).fetchone()
        assert row
        now, again = Sum(row[0], row[1], row[2]), Sum(self._known.before, row[3], row[4])
        findings = [] if again == self._known else [_finding(self._known, again)]
        self._known = now
        return Verdict.of(RULE, SCHEMA, findings, time.monotonic() - began)


def _finding(was: Sum, is_: Sum) -> Finding:
    detail = f"{was.events} events had the sum {was.digests}, of them are left {is_.events} with {is_.digests}"
    return Finding(RULE, SCHEMA, "events", f"before transaction {was.before}", detail)
