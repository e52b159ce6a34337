"""Housekeeping: what keeps the chassis' tables from growing for ever, and makes room for the days to come.

How long something is kept follows from what it is for: a topic can be made again from the journal, a mark keeps events
from being applied a second time for as long as they may come again, a key answers the repeat of a request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from mercato import log
from mercato.errors import MercatoError
from mercato.postgres import Database

PAUSE = timedelta(hours=1)
DAYS_AHEAD = 7
# Of what was published. Below a week nothing is dropped (see the function).
JOURNAL_DAYS = 30
# Longer than the journal: what was made again from it finds its marks.
MARK_DAYS = 90
# Nobody repeats a request that is older.
KEY_HOURS = 72
# Rows that one statement removes, so that none takes long.
BATCH = 10_000

DAYS: LiteralString = "select keep_journal_days(%(ahead)s), drop_journal_days(%(journal)s)"
KEYS: LiteralString = """
    delete from idempotency where create_time < now() - make_interval(hours => %(key_hours)s) and ctid = any(array(
        select ctid from idempotency where create_time < now() - make_interval(hours => %(key_hours)s) limit %(batch)s))
"""
# What is parked finds its mark when it is redriven, however late. The day is looked at twice: somebody may just be
# raising the mark.
MARKS: LiteralString = """
    delete from consumer_mark where day < current_date - %(marks)s and ctid = any(array(
        select ctid from consumer_mark m where day < current_date - %(marks)s and not exists (
            select from parked_event p
            where p.consumer = m.consumer and p.topic = m.topic and p.aggregate_id = m.aggregate_id)
        limit %(batch)s))
"""
VALUES: Mapping[str, int] = {
    "ahead": DAYS_AHEAD,
    "journal": JOURNAL_DAYS,
    "key_hours": KEY_HOURS,
    "marks": MARK_DAYS,
    "batch": BATCH,
}
_log = log.get(__name__)


@dataclass(slots=True)
class Housekeeping:
    """Keeps one schema in order, once an hour. Any number of processes may."""

    database: Database
    name: str = field(init=False)
    idle: float = 60.0
    _due: datetime | None = None

    def __post_init__(self) -> None:
        self.name = f"housekeeping.{self.database.schema}"

    def run_once(self, now: datetime) -> bool:
        """Keep house if it is time. What cannot be done now waits: nothing stops for it."""
        if self._due is not None and now < self._due:
            return False
        self._due = now + PAUSE
        self._do(DAYS)
        keys, marks = self._remove(KEYS), self._remove(MARKS)
        _log.info("house.kept", schema=self.database.schema, keys=keys, marks=marks)
        return False

    def _remove(self, statement: LiteralString) -> int:
        total = last = self._do(statement)
        while last == BATCH:
            last = self._do(statement)
            total += last
        return total

    def _do(self, statement: LiteralString) -> int:
        """How many rows it was about; 0 if it could not be done."""
        try:
            with self.database.reading() as connection:
                return connection.execute(statement, VALUES).rowcount
        except (psycopg.Error, MercatoError) as trouble:
            # Rows go to the partition for the rest, keys and marks are remembered for longer.
            _log.warning("house.not_kept", schema=self.database.schema, problem=str(trouble))
            return 0
