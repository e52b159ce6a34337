"""Dead letters on a real Kafka and PostgreSQL: parked in order, redriven in order, once, whatever dies in between."""

import threading
import time
from collections.abc import Iterator

import pytest

from mercato.api.inventory.v1.inventory_events_pb2 import StockReleased
from mercato.consumer import Consumer, Delivery, handlers
from mercato.errors import NotFound, Unavailable
from mercato.failpoint import arm
from mercato.kafka import Kafka
from mercato.parking import ENOUGH, Parked, ParkedEvents, Redriven, StillRefused
from mercato.postgres import Database, Work
from mercato.rpc.call import Call, calling
from mercato.testing import at_once
from tests.component.reader import Reader, settle
from tests.servers import FreshDatabase


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


def poisoned(reader: Reader, *bad: str) -> Consumer[Work]:
    """A reader that met events of two aggregates, of which it could not apply these."""
    reader.bad.update(bad)
    reader.send("a", 1, 2, 3, 4)
    reader.send("b", 1)
    consumer = reader.consumer()
    settle(reader, consumer)
    return consumer


def letters(reader: Reader) -> list[Parked]:
    return [each for each in ParkedEvents(reader.database).find(0, 1000) if each.topic == reader.topic]


def of_a(reader: Reader) -> list[int]:
    return [version for aggregate, version in reader.effects() if aggregate == "a"]


def test_the_refused_one_is_the_first_and_the_others_say_behind_which_they_wait(reader: Reader) -> None:
    poisoned(reader, "a2")
    refused, *waiting = letters(reader)
    assert (refused.version, refused.behind, refused.reason) == (2, None, "ValueError: a2 makes no sense")
    assert [(each.version, each.behind) for each in waiting] == [(3, refused.id), (4, refused.id)]
    assert [each.reason for each in waiting] == ["an earlier event of the same aggregate is parked"] * 2


@pytest.mark.parametrize("which", [0, 2], ids=["by the refused one", "by one that waits"])
def test_a_redrive_applies_all_that_waits_of_an_aggregate_in_order(reader: Reader, which: int) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    assert consumer.redriver.redrive(letters(reader)[which]) == Redriven(3, 0)
    assert of_a(reader) == [1, 2, 3, 4]
    assert not letters(reader)
    reader.send("a", 5)
    settle(reader, consumer)
    assert of_a(reader) == [1, 2, 3, 4, 5]


def test_a_redrive_that_is_repeated_applies_nothing_twice(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    first = letters(reader)[0]
    outcomes = at_once(lambda: consumer.redriver.redrive(first), 4)
    assert sum(each.applied for each in outcomes if isinstance(each, Redriven)) == 3
    assert consumer.redriver.redrive(first) == Redriven(0, 0)
    assert of_a(reader) == [1, 2, 3, 4]


def test_what_is_refused_again_stays_first_with_its_new_reason_and_all_before_it_is_done(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad = {"a3"}
    with pytest.raises(StillRefused) as refusal:
        consumer.redriver.redrive(letters(reader)[0])
    assert refusal.value.metadata == {"applied": 1, "remaining": 2}
    assert of_a(reader) == [1, 2]
    assert [(each.version, each.reason) for each in letters(reader)] == [
        (3, "ValueError: a3 makes no sense"),
        (4, "an earlier event of the same aggregate is parked"),
    ]
    reader.bad.clear()
    assert consumer.redriver.redrive(letters(reader)[0]) == Redriven(2, 0)


def test_silence_during_a_redrive_leaves_the_rest_as_it_was(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    before = letters(reader)
    reader.troubles.append(Unavailable("the database is away"))
    with pytest.raises(Unavailable):
        consumer.redriver.redrive(before[0])
    assert letters(reader) == before
    assert consumer.redriver.redrive(before[0]) == Redriven(3, 0)


class Dies(BaseException):
    """The process is gone."""


def test_a_redrive_that_dies_between_two_events_is_gone_on_with(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    first = letters(reader)[0]

    def until_the_third(work: Work, event: StockReleased, delivery: Delivery) -> None:
        reader.released(work, event, delivery)
        if delivery.version == 3:
            raise Dies

    with pytest.raises(Dies):
        reader.consumer(handlers({StockReleased: until_the_third})).redriver.redrive(first)
    assert of_a(reader) == [1, 2]
    assert consumer.redriver.redrive(first) == Redriven(2, 0)
    assert of_a(reader) == [1, 2, 3, 4]


def test_an_event_that_comes_during_a_redrive_neither_overtakes_nor_is_left_behind(reader: Reader) -> None:
    """The reader meets version 5 while the last parked one is being applied: it must find all or nothing of it."""
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    reader.send("a", 5)
    begun, going = threading.Event(), threading.Event()

    def slowly(work: Work, event: StockReleased, delivery: Delivery) -> None:
        if delivery.version == 4:
            begun.set()
            assert going.wait(30)
        reader.released(work, event, delivery)

    driver = reader.consumer(handlers({StockReleased: slowly})).redriver
    driving = threading.Thread(target=driver.redrive, args=[letters(reader)[0]])
    driving.start()
    assert begun.wait(30)
    reading = threading.Thread(target=settle, args=[reader, consumer])
    reading.start()
    assert waits_for_a_lock(reader)
    going.set()
    driving.join()
    reading.join()
    assert of_a(reader) == [1, 2, 3, 4, 5]
    assert not letters(reader)


def waits_for_a_lock(reader: Reader) -> bool:
    """Whether the reader stands before the redrive's lock, in the end."""
    statement = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%consumer_position%'"
    )
    with reader.database.reading() as connection:
        while not (row := connection.execute(statement).fetchone()) or not row[0]:
            continue
    return True


def test_what_is_discarded_is_passed_over_for_good_and_what_waited_goes_on(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    assert consumer.redriver.discard(letters(reader)[0]) == Redriven(2, 0)
    assert of_a(reader) == [1, 3, 4]
    assert not letters(reader)
    reader.bad.clear()
    reader.send("a", 2)
    settle(reader, consumer)
    assert of_a(reader) == [1, 3, 4]


def test_one_that_waits_may_be_discarded_alone(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    assert consumer.redriver.discard(letters(reader)[1]) == Redriven(0, 2)
    reader.bad.clear()
    assert consumer.redriver.redrive(letters(reader)[0]) == Redriven(2, 0)
    assert of_a(reader) == [1, 2, 4]


def test_behind_a_discarded_one_the_next_bad_one_stays_first(reader: Reader) -> None:
    consumer = poisoned(reader, "a2", "a4")
    assert consumer.redriver.discard(letters(reader)[0]) == Redriven(1, 1)
    assert [(each.version, each.behind) for each in letters(reader)] == [(4, None)]


def test_bytes_that_are_no_event_make_nobody_wait_and_can_only_be_discarded(reader: Reader) -> None:
    reader.send_raw("a", b"\xff\xff", {})
    reader.send_raw("a", b"\xff\xff", {})
    reader.send("a", 1)
    consumer = reader.consumer()
    settle(reader, consumer)
    assert of_a(reader) == [1]
    first, second = letters(reader)
    with pytest.raises(StillRefused):
        consumer.redriver.redrive(first)
    assert consumer.redriver.discard(first) == Redriven(0, 0)
    assert [each.id for each in letters(reader)] == [second.id]


def test_a_redrive_ends_in_time_to_say_how_far_it_came(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    reader.bad.clear()
    with calling(Call(ends=time.monotonic() + ENOUGH)):
        assert consumer.redriver.redrive(letters(reader)[0]) == Redriven(0, 3)
    assert consumer.redriver.redrive(letters(reader)[0]) == Redriven(3, 0)


def test_what_never_was_is_not_found_and_what_is_gone_is_gone(reader: Reader) -> None:
    consumer = poisoned(reader, "a2")
    parked = ParkedEvents(reader.database)
    gone = letters(reader)[0]
    assert parked.get(gone.id) == gone
    consumer.redriver.discard(gone)
    assert parked.get(gone.id) is None
    with pytest.raises(NotFound):
        parked.get(10**9)
