"""Consumers between a real Kafka and a real PostgreSQL: every effect once, in order, whatever happens in between."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from mercato import log
from mercato.api.inventory.v1.inventory_events_pb2 import StockCommitted, StockReleased
from mercato.consumer import FORGOTTEN, Consumer, Delivery, handlers
from mercato.errors import Unavailable
from mercato.failpoint import FailpointReached, arm
from mercato.kafka import Kafka, dead_letters
from mercato.local.server import free_port
from mercato.outgoing import Outgoing
from mercato.postgres import Database, Work
from tests.component.reader import NOON, Reader, settle, until
from tests.servers import FreshDatabase
from tests.topics import lose


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("", development=True)


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("catalog") as database:
        yield database


@pytest.fixture
def reader(database: Database, fresh_database: FreshDatabase, kafka: Kafka) -> Iterator[Reader]:
    reader = Reader(database, fresh_database, kafka)
    yield reader
    reader.close()


def test_each_event_has_its_effect_once_and_in_order(reader: Reader) -> None:
    with log.bound(request_id="r1"):
        reader.send("a", 1, 2, 3)
    reader.send("b", 1)
    settle(reader, reader.consumer())
    assert [each for each in reader.effects() if each[0] == "a"] == [("a", 1), ("a", 2), ("a", 3)]
    assert ("b", 1) in reader.effects()
    assert {(aggregate, request) for aggregate, _, request in reader.rows()} == {("a", "r1"), ("b", "")}


def test_an_event_that_comes_again_or_late_has_no_second_effect(reader: Reader) -> None:
    """What a relay does that died after Kafka's answer, and one that was overtaken."""
    reader.send("a", 1, 2, 1, 2, 5, 4, 5, 6)
    settle(reader, reader.consumer())
    assert reader.effects() == [("a", 1), ("a", 2), ("a", 5), ("a", 6)]


def test_the_next_reader_goes_on_where_the_last_one_committed(reader: Reader) -> None:
    reader.send("a", 1)
    first = reader.consumer()
    settle(reader, first)
    first.close()
    reader.send("a", 2)
    seen: list[int] = []
    handle = lambda _, deliveries: seen.extend(each.version for each in deliveries)  # noqa: E731
    settle(reader, reader.consumer(handle))
    assert seen == [2]


@pytest.mark.parametrize("place", ["before_commit", "after_commit"])
def test_a_reader_that_dies_on_either_side_of_its_commit_repeats_nothing(reader: Reader, place: str) -> None:
    reader.send("a", 1, 2)
    arm(f"{place}=raise", development=True)
    first = reader.consumer()
    with pytest.raises(FailpointReached):
        settle(reader, first)
    first.close()
    settle(reader, reader.consumer())
    assert reader.effects() == [("a", 1), ("a", 2)]


class Forgetful:
    """A client that hears nothing of Kafka, says nothing, and whose leave does not end."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def subscribe(self, _: object, **__: object) -> None:
        pass

    def poll(self, _: float) -> None:
        pass

    def close(self) -> None:
        assert self.over.wait(60)


class ForgottenFirst(Kafka):
    """A cluster whose first client is forgetful."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self.forgetful = Forgetful()
        self.clients = 0

    def consumer(self, group: str, steady: Callable[[], object] | None = None) -> Any:
        self.clients += 1
        return self.forgetful if self.clients == 1 else super().consumer(group, steady)


def test_a_client_that_forgot_to_join_its_group_is_replaced_and_not_waited_for(reader: Reader) -> None:
    reader.send("a", 1)
    kafka = ForgottenFirst(reader.kafka.bootstrap)
    consumer = reader.consumer(kafka=kafka)
    for passed in (timedelta(0), FORGOTTEN - timedelta(seconds=1)):
        consumer.run_once(NOON + passed)
    assert kafka.clients == 1
    consumer.run_once(NOON + FORGOTTEN)
    settle(reader, consumer)
    kafka.forgetful.over.set()
    assert reader.effects() == [("a", 1)]
    assert kafka.clients == 2


def test_a_client_knows_that_it_is_a_member(reader: Reader) -> None:
    reader.send("a", 1)
    known = threading.Event()
    client = reader.kafka.consumer(reader.group, steady=known.set)
    client.subscribe([reader.topic])

    def told() -> bool:
        client.poll(0.1)
        return known.is_set()

    until(told)
    client.close()


def test_a_reader_that_lost_its_partition_in_the_middle_changes_nothing(reader: Reader) -> None:
    """The zombie: paused between reading and committing, while another went on. Its transaction must fail."""
    overtaken: list[int] = []

    def overtake(work: Work, deliveries: Sequence[Delivery]) -> None:
        if not overtaken:
            overtaken.append(1)
            raise Unavailable("paused here")
        for each in deliveries:
            reader.released(work, each.event, each)

    reader.send("a", 1)
    zombie = reader.consumer(overtake)
    with pytest.raises(Unavailable):
        settle(reader, zombie)
    with psycopg.connect(reader.fresh.url, autocommit=True) as connection:  # the other one
        connection.execute("set search_path = catalog")
        connection.execute("insert into effect (topic, aggregate, version) values (%s, 'a', 1)", [reader.topic])
        connection.execute(
            "update consumer_position set next_offset = 1 where topic = %s and next_offset = 0 and partition = %s",
            [reader.topic, partition_of(zombie)],
        )
    reader.send("a", 2)
    settle(reader, zombie)
    assert reader.effects() == [("a", 1), ("a", 2)]


def partition_of(consumer: Consumer[Work]) -> int:
    """Where the aggregate `a` lies: librdkafka's consistent partitioner puts it there."""
    from zlib import crc32

    assert consumer.places
    return crc32(b"a") % 6


def test_a_transient_failure_is_tried_again_for_ever_and_nothing_overtakes(reader: Reader) -> None:
    reader.send("a", 1, 2)
    reader.troubles += [Unavailable("the database is away")] * 5
    consumer, failures = reader.consumer(), 0
    while not reader.effects():
        try:
            consumer.run_once(NOON)
        except Unavailable:
            failures += 1
    settle(reader, consumer)
    assert failures == 5
    assert reader.effects() == [("a", 1), ("a", 2)]
    assert reader.parked() == []


def test_a_poisoned_event_is_parked_with_the_later_ones_of_its_key_and_all_others_flow(reader: Reader) -> None:
    reader.bad.add("a2")
    reader.send("a", 1, 2, 3)
    reader.send("b", 1, 2)
    consumer = reader.consumer()
    settle(reader, consumer)
    reader.send("a", 4)
    reader.send("b", 3)
    settle(reader, consumer)
    assert [each for each in reader.effects() if each[0] == "a"] == [("a", 1)]
    assert [each for each in reader.effects() if each[0] == "b"] == [("b", 1), ("b", 2), ("b", 3)]
    assert reader.parked() == [("a", 2), ("a", 3), ("a", 4)]


def test_a_poisoned_event_is_told_on_the_dead_letter_topic_as_it_came(reader: Reader) -> None:
    reader.bad.add("a1")
    reader.send("a", 1)
    settle(reader, reader.consumer())
    with reader.database.reading() as connection:
        row = connection.execute(
            "select payload, headers from outbox where topic = %s", [dead_letters(reader.topic)]
        ).fetchone()
    assert row
    assert StockReleased.FromString(row[0]).order_id == "a1"
    assert row[1]["dlq_reason"] == "ValueError: a1 makes no sense"
    assert row[1]["dlq_consumer"] == reader.group
    assert (row[1]["ce_subject"], row[1]["version"]) == ("a", "1")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"\xff\xff\xff", {"ce_type": "mercato.api.inventory.v1.StockReleased", "ce_subject": "a", "version": "1"}),
        (b"", {"ce_type": "mercato.api.inventory.v1.StockReleased"}),
        (b"", {"ce_type": "mercato.api.inventory.v1.StockReleased", "ce_subject": "a", "version": "-1"}),
        (b"\x00junk\x00", {}),
    ],
)
def test_a_record_that_is_no_event_stops_nothing(reader: Reader, value: bytes, headers: dict[str, str]) -> None:
    reader.send_raw("a\0b", value, headers)
    reader.send("b", 1)
    settle(reader, reader.consumer())
    assert reader.effects() == [("b", 1)]
    assert len(reader.parked()) == 1


def test_types_that_nobody_here_knows_are_passed_over(reader: Reader) -> None:
    reader.send("a", 1, event=StockCommitted(order_id="o"))
    reader.send_raw("a", b"from the future", {"ce_type": "mercato.api.v99.Dreamt", "ce_subject": "a", "version": "2"})
    reader.send("a", 3)
    settle(reader, reader.consumer())
    assert reader.effects() == [("a", 3)]
    assert reader.parked() == []


def test_a_topic_that_was_made_again_is_read_from_its_beginning_without_second_effects(reader: Reader) -> None:
    reader.send("a", 1, 2)
    first = reader.consumer()
    settle(reader, first)
    first.close()
    lose(reader.kafka, reader.topic)
    reader.send("a", 1, 2, 3)
    second = reader.consumer()
    until(lambda: len(reader.effects()) == 3, second)
    assert reader.effects() == [("a", 1), ("a", 2), ("a", 3)]


def test_two_readers_share_the_partitions_and_one_goes_on_alone(reader: Reader) -> None:
    one, other = reader.consumer(), reader.consumer()
    until(lambda: len(one.places) == 6, one)
    until(lambda: len(one.places) == len(other.places) == 3, one, other)
    for number in range(40):
        reader.send(f"a{number}", 1)
    settle(reader, one, other)
    one.close()
    for number in range(40):
        reader.send(f"a{number}", 2)
    settle(reader, other)
    assert sorted(reader.effects()) == sorted((f"a{number}", version) for number in range(40) for version in (1, 2))


def test_a_reader_without_a_database_position_waits_for_the_database(reader: Reader) -> None:
    """The database is away while partitions are assigned."""
    reader.send("a", 1)
    away = [Unavailable("away")] * 2

    class Flaky(Work):
        def opened(self) -> None:
            if away:
                raise away.pop()

    handle = handlers({StockReleased: reader.released})
    consumer = Consumer(reader.kafka, lambda: Flaky(reader.database, "product"), reader.group, [reader.topic], handle)
    failures = 0
    while not reader.effects():
        try:
            consumer.run_once(NOON)
        except Unavailable:
            failures += 1
    consumer.close()
    assert failures == 2
    assert reader.effects() == [("a", 1)]


def test_without_kafka_a_reader_says_so_and_lives(reader: Reader) -> None:
    consumer = reader.consumer(kafka=Kafka(f"127.0.0.1:{free_port()}", patience=0.3))
    for _ in range(2):
        with pytest.raises(Unavailable):
            consumer.run_once(NOON)


def test_an_idle_round_is_short_and_says_so(reader: Reader) -> None:
    consumer = reader.consumer()
    until(lambda: len(consumer.places) == 6, consumer)
    began = time.monotonic()
    assert not consumer.run_once(NOON + timedelta(seconds=1))
    assert time.monotonic() - began < 10


def test_a_batch_of_many_events_is_few_transactions(reader: Reader) -> None:
    batches: list[int] = []
    for number in range(1000):
        told = Outgoing.of(StockReleased(), reader.topic, "inventory", f"a{number}", 1)
        headers = {"ce_type": told.type, "ce_subject": told.aggregate_id, "version": "1"}
        reader.send_raw(told.aggregate_id, told.payload, headers)
    reader.arrived()
    handle = lambda _, deliveries: batches.append(len(deliveries))  # noqa: E731
    settle(reader, reader.consumer(handle))
    assert sum(batches) == 1000
    assert len(batches) < 100
