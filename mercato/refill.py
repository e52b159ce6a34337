"""A topic that was lost, filled again from the journal of what was published.

The journal has kept every event for at least a week. Readers skip, by its version, what they have applied before; so
they may go on meanwhile, and so may the relay: an old event that comes after a newer one of its aggregate changes
nothing.
"""

from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import Connection

from mercato.kafka import Kafka
from mercato.publisher import COLUMNS, Publisher, Row

BATCH = 1024
COUNT: LiteralString = "select count(*) from outbox_journal"
# An aggregate's events lie in one bucket, and were numbered in their order.
READ: LiteralString = f"select {COLUMNS} from outbox_journal order by bucket, id"  # noqa: S608  constants


class Refill:
    """Publishes what one service has published before, each aggregate's events in their order."""

    def __init__(self, connection: Connection[Any], kafka: Kafka) -> None:
        """The connection sees the service's schema first."""
        self._connection = connection
        self._publisher = Publisher(kafka)

    def count(self) -> int:
        """How many events the journal holds."""
        row = self._connection.execute(COUNT).fetchone()
        return int(row[0]) if row else 0

    def run(self, told: Callable[[int], object] = lambda _: None) -> int:
        """Publish all of them, and return how many. Unavailable when Kafka takes no more; then begin again."""
        published = 0
        with self._connection.transaction(), self._connection.cursor("refill") as cursor:
            cursor.execute(READ)
            while rows := cursor.fetchmany(BATCH):
                self._publisher.publish([Row(*each) for each in rows])
                published += len(rows)
                told(len(rows))
        return published
