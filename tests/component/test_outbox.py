"""The relay between a real PostgreSQL and a real Kafka: nothing is lost, nothing overtakes, twice is allowed."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaException, TopicPartition
from psycopg import Connection

from mercato.api.inventory.v1.inventory_events_pb2 import StockReleased
from mercato.clock import SystemClock
from mercato.errors import Unavailable
from mercato.failpoint import FailpointReached, arm
from mercato.ids import uuid7
from mercato.kafka import Kafka, topic
from mercato.local.server import free_port
from mercato.log import bound
from mercato.outbox import BATCH, MOVE, READ, OutboxRelay
from mercato.outgoing import BUCKETS, bucket, insert
from mercato.postgres import Bell, Database, Work
from mercato.refill import Refill
from mercato.worker import Loop
from tests.servers import FreshDatabase, PostgresServer
from tests.topics import forbidden, lose

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("", development=True)


class Shop:
    """A database of its own, a topic of its own, and what lies in both."""

    def __init__(self, database: Database, fresh: FreshDatabase, kafka: Kafka) -> None:
        self.database = database
        self.fresh = fresh
        self.kafka = kafka
        self.service = f"shop-{uuid7()}"
        self._relays: list[OutboxRelay] = []

    def relay(self, database: Any = None, kafka: Kafka | None = None) -> OutboxRelay:
        relay = OutboxRelay(database or self.database, kafka or self.kafka)
        self._relays.append(relay)
        return relay

    def publish(self, aggregate: str, *versions: int) -> None:
        with Work(self.database, self.service) as work:
            for version in versions:
                work.publish(StockReleased(reservation_id=aggregate), aggregate, version)

    def published(self) -> list[tuple[str, int]]:
        """What the topic holds: aggregate and version, in the order of each partition."""
        return [(each.key().decode(), int(dict(each.headers())["version"])) for each in self.records()]

    def records(self) -> list[Any]:
        self.kafka.make([topic(self.service)])
        reader = self.kafka.consumer(f"look-{uuid7()}")
        try:
            ends = {number: self._end(reader, number) for number in range(6)}
            reader.assign([TopicPartition(topic(self.service), number, 0) for number in ends])
            records: list[Any] = []
            while len(records) < sum(ends.values()):
                records += [each for each in reader.consume(500, 0.1) if not each.error()]
            return records
        finally:
            reader.close()

    def _end(self, reader: Any, number: int) -> int:
        deadline = time.monotonic() + 30
        while True:
            try:
                return int(reader.get_watermark_offsets(TopicPartition(topic(self.service), number), timeout=30)[1])
            except KafkaException:  # a topic that was just made has no leader yet
                if time.monotonic() > deadline:
                    raise

    def count(self, table: str) -> int:
        with self.database.reading() as connection:
            row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
            return row[0] if row else -1

    def close(self) -> None:
        for relay in self._relays:
            relay.close()


@pytest.fixture
def shop(postgres: PostgresServer, kafka: Kafka) -> Iterator[Shop]:
    fresh = postgres.fresh()
    with fresh.of("inventory") as database:
        shop = Shop(database, fresh, kafka)
        yield shop
        shop.close()


def drain(*relays: OutboxRelay, now: datetime = NOON) -> None:
    while sum(relay.run_once(now) for relay in relays):
        pass


def test_what_was_committed_is_published_with_its_headers_and_moved_to_the_journal(shop: Shop) -> None:
    with bound(request_id="r1", order_id="o1"):
        shop.publish("a", 1, 2)
    assert shop.relay().run_once(NOON)
    (first, _) = shop.records()
    headers = {name: value.decode() for name, value in first.headers()}
    assert StockReleased.FromString(first.value()) == StockReleased(reservation_id="a")
    assert datetime.fromisoformat(headers.pop("ce_time")).tzinfo
    assert len(headers.pop("ce_id")) == 36
    assert headers == {
        "ce_type": "mercato.api.inventory.v1.StockReleased",
        "ce_source": f"/mercato/{shop.service}",
        "ce_subject": "a",
        "version": "1",
        "request_id": "r1",
        "order_id": "o1",
    }
    assert shop.published() == [("a", 1), ("a", 2)]
    assert (shop.count("outbox"), shop.count("outbox_journal")) == (0, 2)
    assert shop.count("outbox_journal_rest") == 0


def test_f43_a_topic_that_was_lost_is_filled_from_the_journal_in_order(shop: Shop) -> None:
    for number in range(30):
        shop.publish(f"a{number}", 1, 2)
    shop.publish("a7", 3)
    drain(shop.relay())
    before = sorted((each.key(), each.value(), each.headers()) for each in shop.records())
    lose(shop.kafka, topic(shop.service))
    assert shop.records() == []
    counts: list[int] = []
    with shop.database.dedicated() as connection:
        refill = Refill(connection, shop.kafka)
        assert refill.count() == 61
        assert refill.run(counts.append) == sum(counts) == 61
    assert sorted((each.key(), each.value(), each.headers()) for each in shop.records()) == before
    assert [version for aggregate, version in shop.published() if aggregate == "a7"] == [1, 2, 3]
    assert (shop.count("outbox"), shop.count("outbox_journal")) == (0, 61)


def test_with_nothing_to_do_it_says_so(shop: Shop) -> None:
    assert not shop.relay().run_once(NOON)


def test_an_event_that_commits_after_a_later_one_is_not_lost(shop: Shop) -> None:
    """The gap: the first draws the lower id, the second commits first."""
    relay = shop.relay()
    with Work(shop.database, shop.service) as early:
        early.publish(StockReleased(), "early", 1)
        # Its row, and with it its id, is there before the other transaction begins.
        insert(early.connection, early._outgoing)
        early._outgoing.clear()
        shop.publish("late", 1)
        drain(relay)
        assert shop.published() == [("late", 1)]
    drain(relay)
    assert sorted(shop.published()) == [("early", 1), ("late", 1)]


def test_a_large_backlog_leaves_in_the_order_of_each_aggregate(shop: Shop) -> None:
    for version in range(1, 41):
        with Work(shop.database, shop.service) as work:
            for number in range(100):
                work.publish(StockReleased(), f"a{number}", version)
    drain(shop.relay())
    published = shop.published()
    assert len(published) == 4000
    for number in range(100):
        assert [version for key, version in published if key == f"a{number}"] == list(range(1, 41))
    assert shop.count("outbox") == 0


def test_writers_and_relay_at_once_keep_the_order(shop: Shop) -> None:
    def write(name: str) -> None:
        for version in range(1, 101):
            shop.publish(name, version)

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    loop = Loop(shop.relay(), SystemClock())
    for thread in (loop, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    loop.stop()
    loop.join()
    drain(shop.relay())
    published = shop.published()
    for number in range(4):
        assert [version for key, version in published if key == f"w{number}"] == list(range(1, 101))


def test_a_relay_that_dies_before_it_moved_what_it_sent_sends_it_again(shop: Shop) -> None:
    shop.publish("a", 1, 2)
    arm("after_ack=raise", development=True)
    with pytest.raises(FailpointReached):
        shop.relay().run_once(NOON)
    shop.close()
    drain(shop.relay())
    assert shop.published() == [("a", 1), ("a", 2), ("a", 1), ("a", 2)]
    assert (shop.count("outbox"), shop.count("outbox_journal")) == (0, 2)


def test_a_relay_that_dies_before_it_sent_loses_nothing(shop: Shop) -> None:
    shop.publish("a", 1)
    arm("before_publish=raise", development=True)
    with pytest.raises(FailpointReached):
        shop.relay().run_once(NOON)
    shop.close()
    drain(shop.relay())
    assert shop.published() == [("a", 1)]


def test_two_relays_share_the_buckets_and_publish_everything_once(shop: Shop) -> None:
    one, other = shop.relay(), shop.relay()
    one.run_once(NOON)
    assert len(one.buckets) == BUCKETS
    other.run_once(NOON)
    one.run_once(NOON + timedelta(seconds=2))
    other.run_once(NOON + timedelta(seconds=2))
    assert len(one.buckets) == len(other.buckets) == BUCKETS // 2
    assert not one.buckets & other.buckets
    for number in range(50):
        shop.publish(f"a{number}", 1)
    drain(one, other, now=NOON + timedelta(seconds=2))
    assert sorted(shop.published()) == sorted((f"a{number}", 1) for number in range(50))


def test_when_a_relay_goes_the_other_takes_its_buckets(shop: Shop) -> None:
    one, other = shop.relay(), shop.relay()
    one.run_once(NOON)
    other.run_once(NOON)
    assert not other.buckets
    one.close()
    other.run_once(NOON + timedelta(seconds=2))
    assert len(other.buckets) == BUCKETS


class Remembering:
    """Gives connections, and remembers them."""

    def __init__(self, database: Database) -> None:
        self.schema, self.published = database.schema, Bell()
        self.connections: list[Connection[Any]] = []
        self._database = database

    def dedicated(self) -> Connection[Any]:
        self.connections.append(self._database.dedicated())
        return self.connections[-1]


def test_the_queue_is_read_and_emptied_by_its_key_also_by_a_plan_from_when_it_was_empty(shop: Shop) -> None:
    with psycopg.connect(shop.fresh.url, autocommit=True) as connection:
        connection.execute(f"vacuum analyze {shop.database.schema}.outbox")
    remembering = Remembering(shop.database)
    shop.relay(remembering).run_once(NOON)
    [connection] = remembering.connections
    for statement, values in ((READ, [[*range(BUCKETS)], BATCH]), (MOVE, [[1, 2], [3, 4]])):
        plan = str(connection.execute("explain " + statement, values).fetchall())
        assert "Index Scan using outbox_pkey" in plan
        assert "Join" not in plan
        assert plan.count("Nested Loop") == (statement is READ)  # one, with the index inside


def test_a_relay_that_lost_its_connection_while_it_sent_moves_nothing(shop: Shop) -> None:
    """The zombie: another owner has its buckets by the time Kafka answers. Twice in Kafka, once in the journal."""
    remembering = Remembering(shop.database)

    class Overtaken(Kafka):
        def producer(self) -> Any:
            with psycopg.connect(shop.fresh.url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(%s, 30000)", [remembering.connections[-1].info.backend_pid]
                )
            drain(shop.relay())
            return super().producer()

    shop.publish("a", 1, 2)
    zombie = shop.relay(remembering, Overtaken(shop.kafka.bootstrap))
    with pytest.raises(Unavailable):
        zombie.run_once(NOON)
    assert not zombie.buckets
    assert shop.published() == [("a", 1), ("a", 2), ("a", 1), ("a", 2)]
    assert (shop.count("outbox"), shop.count("outbox_journal")) == (0, 2)


def test_without_kafka_everything_stays_and_leaves_when_it_is_back(shop: Shop) -> None:
    shop.publish("a", 1)
    with pytest.raises(Unavailable):
        shop.relay(kafka=Kafka(f"127.0.0.1:{free_port()}", patience=0.5)).run_once(NOON)
    shop.close()
    assert shop.count("outbox") == 1
    drain(shop.relay())
    assert shop.published() == [("a", 1)]


def test_f33_what_may_not_be_written_to_its_topic_stays_and_leaves_when_it_may(shop: Shop) -> None:
    shop.publish("a", 1, 2)
    relay = shop.relay()
    shop.kafka.make([topic(shop.service)])
    with forbidden(shop.kafka, topic(shop.service)):
        for _ in range(2):  # the second time by another producer: the first one is beyond use
            with pytest.raises(Unavailable, match="Kafka takes no events"):
                relay.run_once(NOON)
        assert shop.count("outbox") == 2
        assert shop.count("outbox_journal") == 0
    drain(relay)
    assert shop.published() == [("a", 1), ("a", 2)]


def test_a_commit_in_this_process_wakes_the_relay(shop: Shop) -> None:
    relay = shop.relay()
    assert not relay.wake.is_set()
    shop.publish("a", 1)
    assert relay.wake.is_set()


def test_an_open_transaction_elsewhere_holds_nothing_up(shop: Shop) -> None:
    with shop.fresh.of("orders") as orders, Work(orders, "order") as work:
        work.connection.execute("select pg_current_xact_id()")
        shop.publish("a", 1)
        drain(shop.relay())
        assert shop.published() == [("a", 1)]


def test_an_aggregate_is_always_in_the_same_bucket() -> None:
    assert bucket("0190a6e0-0000-7000-8000-000000000001") == 12  # for ever: rows of before an update lie there
    assert {bucket(f"a{number}") for number in range(1000)} == set(range(BUCKETS))
