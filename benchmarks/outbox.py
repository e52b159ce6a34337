"""From a commit to Kafka's acknowledgement: how fast a backlog drains, and how late an event is under an even load.

    python -m benchmarks.outbox --events 20000 --rate 200 --seconds 8

A PostgreSQL (durable) and a Kafka of its own are started. Drained is a backlog of events of many aggregates, once by
the relay and once by the naive one that many shops have: one row, one publish and flush, one delete. Lag is what an
outside reader of Kafka sees: from just before the commit of an event until the record is there.
"""

import argparse
import os
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

from google.protobuf.wrappers_pb2 import StringValue
from rich.console import Console
from rich.table import Table

from mercato.ids import uuid7
from mercato.kafka import Kafka, topic
from mercato.local.kafka import Kafka as KafkaServer
from mercato.local.postgres import Postgres
from mercato.local.server import free_port, running
from mercato.outbox import OutboxRelay
from mercato.postgres import Database, Work
from tests.servers import PostgresServer

AGGREGATES = 500
SCHEMA = "inventory"
ONE_ROW: LiteralString = "select bucket, id, aggregate_id, payload from outbox order by id limit 1"
DELETE: LiteralString = "delete from outbox where bucket = %s and id = %s"


class NaiveRelay:
    """One row, one publish and flush, one delete."""

    def __init__(self, database: Database, kafka: Kafka) -> None:
        self._connection = database.dedicated()
        self._producer = kafka.producer()

    def run_once(self, _now: datetime) -> bool:
        """Publish the oldest row."""
        row = self._connection.execute(ONE_ROW).fetchone()
        if row is None:
            return False
        bucket, number, aggregate_id, payload = row
        self._producer.produce(topic(SCHEMA), key=str(aggregate_id).encode(), value=bytes(payload))
        self._producer.flush()
        self._connection.execute(DELETE, [bucket, number])
        return True

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def write(database: Database, events: int, first: int = 0) -> None:
    """Commit events of many aggregates."""
    for start in range(first, first + events, 500):
        with Work(database, SCHEMA) as work:
            for number in range(start, min(start + 500, first + events)):
                version = number // AGGREGATES + 1
                work.publish(StringValue(value="x" * 200), f"aggregate-{number % AGGREGATES}", version)


def drain(relay: Any) -> tuple[float, float]:
    """Seconds, and seconds of this process' CPU, until nothing is left."""
    began, used = time.perf_counter(), time.process_time()
    while relay.run_once(datetime.now(UTC)):
        pass
    return time.perf_counter() - began, time.process_time() - used


class Reader(threading.Thread):
    """Reads a topic, and notes when each aggregate's event was there."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(daemon=True)
        self._consumer = kafka.consumer(f"benchmark-{uuid7()}")
        self._consumer.subscribe([topic(SCHEMA)])
        self.seen: dict[str, float] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Read."""
        while not self.stopping.is_set():
            for record in self._consumer.consume(500, 0.05):
                self.seen.setdefault(str(record.key() or b"", "utf-8"), time.perf_counter())
        self._consumer.close()


def lag(
    database: Database, reader: Reader, relay: Any, wake: threading.Event, rate: float, seconds: float
) -> list[float]:
    """Seconds from before an event's commit until it is read, sorted; events are due at even times."""
    stopping = threading.Event()

    def relaying() -> None:
        while not stopping.is_set():
            if not relay.run_once(datetime.now(UTC)):
                wake.wait(0.05)
                wake.clear()

    thread = threading.Thread(target=relaying, daemon=True)
    thread.start()
    written: dict[str, float] = {}
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        name = str(uuid7())
        written[name] = time.perf_counter()
        with Work(database, SCHEMA) as work:
            work.publish(StringValue(value="x" * 200), name, 1)
    deadline = time.perf_counter() + 20
    while written.keys() - reader.seen.keys() and time.perf_counter() < deadline:
        time.sleep(0.05)
    stopping.set()
    thread.join()
    return sorted(reader.seen[name] - at for name, at in written.items() if name in reader.seen)


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="the backlog that is drained (20,000)")
    parser.add_argument("--naive-events", type=int, default=1_000, help="the backlog of the naive relay (1,000)")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second while lag is measured (200)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long lag is measured (8)")
    options, console, began = parser.parse_args(), Console(width=110), time.monotonic()
    table = Table(title="Outbox", title_justify="left")
    for column in ("", "drained/s", "x naive", "CPU µs/event", "lag p50 ms", "lag p99 ms", "arrived"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outbox-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(running(Postgres(folder / "postgres", free_port()), folder / "postgres.log"))
        broker = stack.enter_context(running(KafkaServer(folder / "kafka", free_port()), folder / "kafka.log"))
        kafka = Kafka(broker.url)
        stack.callback(kafka.close)
        kafka.warm_up()
        kafka.make([topic(SCHEMA)])
        server, rates = PostgresServer(postgres.url), dict[str, float]()
        for name, events in (("naive", options.naive_events), ("relay", options.events)):
            with console.status(name), server.fresh().of(SCHEMA) as database:
                relay: Any = NaiveRelay(database, kafka) if name == "naive" else OutboxRelay(database, kafka)
                write(database, events)
                seconds, cpu = drain(relay)
                rates[name] = events / seconds
                reader = Reader(kafka)
                reader.start()
                lags = lag(database, reader, relay, database.published.listen(), options.rate, options.seconds)
                reader.stopping.set()
                reader.join()
                relay.close()
            table.add_row(
                name,
                f"{rates[name]:,.0f}",
                f"{rates[name] / rates['naive']:.1f}",
                f"{cpu / events * 1e6:,.0f}",
                *(f"{lags[int(share * (len(lags) - 1))] * 1000:.1f}" if lags else "" for share in (0.5, 0.99)),
                f"{len(lags):,} of {int(options.rate * options.seconds):,}",
            )
    console.print(table)
    console.print(f"CPU: of the relay's process. {os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
