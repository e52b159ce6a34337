"""Projections on a real PostgreSQL: rows and checkpoint together, rebuilt under load, verified row by row."""

from __future__ import annotations

import random
import threading
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mercato import failpoint
from mercato.event_store import PostgresEventStore
from mercato.failpoint import FailpointReached
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.projection import Projections, ProjectionState, RebuildUnderWay, UnknownProjection
from mercato.projection.definition import unseen
from mercato.projection.place import GenerationPlace
from mercato.projection.projector import Projector
from mercato.projection.rebuild import Rebuild, alone
from mercato.testing import all_at_once, at_once
from services.order.events import Event, OrderCancelled, OrderConfirmed, OrderPickingStarted, State
from services.order.projections import ORDER_BOARD, ORDER_HISTORY, ORDER_LIST, projections
from services.order.queries import Filter, OrderQueries
from tests.histories import GOOD_WAY, KINDS, happen, history_of, new_events, placed
from tests.servers import FreshDatabase

ALL = (ORDER_LIST, ORDER_BOARD, ORDER_HISTORY)
PLACES = "select name, xid::text, position from projection where live order by name"


# What only the superuser may do, and only by saying that no trigger counts.
WIPE = """
    set session_replication_role = replica;
    truncate orders.events, orders.order_view, orders.personal, orders.process, orders.order_list, orders.order_board,
        orders.order_history, orders.projection;
    insert into orders.projection (name, generation, live)
        values ('order.list', 1, true), ('order.board', 1, true), ('order.history', 1, true);
"""


@pytest.fixture
def database(order_database: Database, fresh_database: FreshDatabase) -> Database:
    """A database in which nothing has happened yet."""
    with psycopg.connect(fresh_database.url, autocommit=True) as admin:
        admin.execute(WIPE)
    return order_database


@pytest.fixture
def known(database: Database) -> Projections:
    return projections(database)


def caught_up(known: Projections) -> Projections:
    """The projections, when they have taken in all there is."""
    for worker in known.workers.values():
        while worker.run_once():
            pass
    return known


def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    """The live rows of a projection, without the number of their generation."""
    with database.reading() as connection:
        found = connection.execute(
            f"select (to_jsonb(t) - 'generation')::text from {table} t join projection p using (generation) "
            f"where p.live and p.name = 'order.' || substring('{table}' from 7) order by 1".encode()
        )
        return found.fetchall()


def all_rows(database: Database) -> list[list[tuple[Any, ...]]]:
    return [rows(database, each.table) for each in ALL]


def sql(database: Database, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with database.transaction() as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def many(database: Database, streams: int, seed: int = 7) -> list[UUID]:
    """Orders with histories of all kinds."""
    dice = random.Random(seed)
    return [
        happen(database, history_of(uuid7(), [dice.randrange(KINDS) for _ in range(dice.randrange(12))]))
        for _ in range(streams)
    ]


def test_what_happens_is_in_lists_board_and_history(database: Database, known: Projections) -> None:
    order_id = happen(database, history_of(uuid7(), GOOD_WAY[:3]))
    caught_up(known)
    assert sql(database, "select version, state from order_list where stream_id = %s", order_id) == [(4, "PICKING")]
    assert sql(database, "select warehouse_id from order_board where stream_id = %s", order_id) == [("north",)]
    told = sql(database, "select version, type from order_history where stream_id = %s order by 1", order_id)
    assert told == [(1, "OrderPlaced"), (2, "OrderConfirmed"), (4, "OrderPickingStarted")]
    assert not any(worker.run_once() for worker in known.workers.values())


def test_the_board_counts_the_time_since_an_order_came_to_its_state(database: Database, known: Projections) -> None:
    order_id = happen(database, history_of(uuid7(), GOOD_WAY[:1]))
    happen(database, history_of(order_id, (7,))[1:], after=2, order_id=order_id)  # changes nothing of the state
    caught_up(known)
    since, confirmed = sql(
        database,
        "select b.state_time, e.time from order_board b join events e using (stream_id) "
        "where stream_id = %s and e.version = 2",
        order_id,
    )[0]
    assert since == confirmed


def test_f68_a_projector_that_dies_has_written_rows_and_checkpoint_or_neither(
    database: Database, known: Projections
) -> None:
    caught_up(known)
    many(database, 5)
    before = sql(database, PLACES)
    for place in ("between_rows_and_checkpoint", "before_commit"):
        for worker in known.workers.values():
            failpoint.arm(f"{place}=raise", development=True)
            try:
                with pytest.raises(FailpointReached):
                    worker.run_once()
            finally:
                failpoint.arm("", development=True)
    assert all_rows(database) == [[], [], []]
    assert sql(database, PLACES) == before
    caught_up(known)
    assert sql(database, PLACES) != before
    assert all(known.verify(name).equal for name in known.names())


@pytest.mark.parametrize("projection", ALL, ids=lambda each: each.name)
def test_i11_whatever_the_size_of_batches_the_rows_are_the_same(database: Database, projection: Any) -> None:
    many(database, 40)
    outcomes = []
    for size in (1, 7, 500):
        sql(database, f"delete from {projection.table}")
        with database.reading() as connection:
            epoch = PostgresEventStore(connection, "events").beginning().epoch
        values = (epoch, projection.name)
        sql(database, "update projection set xid = '0', position = 0, epoch = %s where name = %s", *values)
        worker = Projector(database, projection, batch=size)
        while worker.run_once():
            pass
        outcomes.append(rows(database, projection.table))
    for chunk in (1, 16, 4_000):
        Rebuild(database, projection, "events", chunk).run(unseen)
        outcomes.append(rows(database, projection.table))
    assert len(outcomes[0]) >= 40
    assert all(each == outcomes[0] for each in outcomes)


def test_f68_a_projection_is_rebuilt_while_people_read_and_orders_come_in(
    database: Database, known: Projections
) -> None:
    customer, queries = uuid7(), OrderQueries(database)
    first = [_visible(database, customer) for _ in range(30)]
    caught_up(known)
    begun, over = threading.Barrier(5), threading.Event()
    seen: list[int] = []

    def read() -> None:
        """Every read finds all orders that there were, in order, and nothing twice."""
        begun.wait()
        most = 0
        while not over.is_set():
            found = [row.order_id for row in queries.find(Filter(customer_id=customer), None, 200)]
            assert set(first) <= set(found)
            assert found == sorted(set(found), reverse=True)
            assert len(found) >= most  # what was seen once is seen from then on
            most = len(found)
            assert sum(each.count for each in queries.counts()) >= most
            assert queries.list_order_events(first[0], 0)
        seen.append(most)

    def write() -> None:
        begun.wait()
        coming = (_visible(database, customer) for _ in range(75))  # with all the others, one page
        while not over.is_set():
            next(coming, None)
            for worker in known.workers.values():
                worker.run_once()

    def rebuild() -> None:
        begun.wait()
        try:
            for _ in range(5):
                for each in ALL:
                    Rebuild(database, each, "events", chunk=10).run(unseen)
        finally:
            over.set()

    outcomes = all_at_once([read, read, write, write, rebuild])
    assert outcomes == [None] * 5
    assert min(seen) >= len(first)
    caught_up(known)
    assert all(known.verify(name).equal for name in known.names())
    for each in ALL:  # and nothing of earlier generations is left
        left = sql(database, f"select count(distinct generation), max(generation) from {each.table}")
        assert left == [(1, 6)]


def _visible(database: Database, customer: UUID) -> UUID:
    """An order as a customer's transaction leaves it: events, view, and the person's part."""
    order_id = uuid7()
    with database.transaction() as connection:
        events: list[Event] = [placed(order_id, customer), OrderConfirmed("north", "visa")]
        PostgresEventStore(connection, "events").append(order_id, new_events(events), 0)
        connection.execute(
            "insert into order_view (order_id, customer_id, state, version, warehouse_id, slot_start_time, create_time,"
            " state_time, document) values (%s, %s, 'CONFIRMED', 2, 'north', now(), now(), now(), '')",
            [order_id, customer],
        )
        connection.execute("insert into personal (order_id, customer_id) values (%s, %s)", [order_id, customer])
    return order_id


def test_two_do_not_rebuild_the_same_at_once(database: Database, known: Projections) -> None:
    many(database, 3)
    with alone(database, "order.list"), pytest.raises(RebuildUnderWay):
        known.rebuild("order.list")
    assert known.rebuild("order.list").streams == 3


def test_what_an_interrupted_rebuild_left_is_gone_after_the_next(database: Database, known: Projections) -> None:
    many(database, 20)
    caught_up(known)
    before = rows(database, "order_list")

    def give_up(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Rebuild(database, ORDER_LIST, "events", chunk=10).run(give_up)
    assert known.status()[0].state is ProjectionState.REBUILDING
    assert rows(database, "order_list") == before
    known.rebuild("order.list")
    assert known.status()[0].state is ProjectionState.LIVE
    assert rows(database, "order_list") == before
    assert sql(database, "select distinct generation from order_list") == [(2,)]


def test_a_rebuild_tells_how_far_it_is(database: Database, known: Projections) -> None:
    many(database, 10)
    (events,) = sql(database, "select count(*) from events")[0]
    told: list[tuple[int, int]] = []
    rebuilt = Rebuild(database, ORDER_LIST, "events", chunk=8).run(lambda done, total: told.append((done, total)))
    assert (rebuilt.events, rebuilt.streams) == (events, 10)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == (events, events)


TAMPERING = {
    "a wrong value": "update order_list set state = 'DELIVERED' where stream_id = %s",
    "a missing row": "delete from order_list where stream_id = %s",
    "an old row": "update order_list set version = version - 1 where stream_id = %s",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING)
def test_i11_verify_finds(database: Database, known: Projections, statement: str) -> None:
    others = many(database, 5)
    order_id = happen(database, history_of(uuid7(), GOOD_WAY[:2]))
    caught_up(known)
    assert known.verify("order.list").equal
    sql(database, statement, order_id)
    found = known.verify("order.list")
    assert (found.streams, found.differing, found.examples) == (len(others) + 1, 1, (order_id,))
    known.rebuild("order.list")
    assert known.verify("order.list").equal


def test_i11_verify_finds_rows_of_what_never_happened(database: Database, known: Projections) -> None:
    many(database, 3)
    caught_up(known)
    phantom = uuid7()
    sql(
        database,
        "insert into order_list select generation, %s, version, customer_id, state, create_time from order_list "
        "limit 1",
        phantom,
    )
    assert known.verify("order.list").examples == (phantom,)


def test_an_event_that_commits_late_is_not_skipped(database: Database, known: Projections) -> None:
    late, early = uuid7(), uuid7()
    with database.dedicated() as slow:
        slow.execute("begin")
        PostgresEventStore(slow, "events").append(late, new_events([placed(late)]), 0)
        happen(database, [placed(early)])
        caught_up(known)
        slow.commit()
    caught_up(known)
    assert {stream_id for (stream_id,) in sql(database, "select stream_id from order_list")} == {late, early}


def test_the_list_has_what_the_projection_has_not_come_to(database: Database, known: Projections) -> None:
    customer, queries = uuid7(), OrderQueries(database)
    first = _visible(database, customer)
    caught_up(known)
    second = _visible(database, customer)
    assert [row.order_id for row in queries.find(Filter(customer_id=customer), None, 10)] == [second, first]
    assert [row.order_id for row in queries.find(Filter(customer_id=customer), None, 1)] == [second]
    assert [row.order_id for row in queries.find(Filter(customer_id=customer), second, 10)] == [first]
    assert [row.order_id for row in queries.find(Filter(state="CONFIRMED"), None, 10)] == [second, first]
    assert not queries.find(Filter(state="PICKING"), None, 10)
    assert [each.count for each in queries.counts()] == [2]
    assert queries.list_order_events(second, 0) is None
    caught_up(known)
    assert [row.order_id for row in queries.find(Filter(customer_id=customer), None, 10)] == [second, first]
    told = queries.list_order_events(second, 0)
    assert told is not None
    assert [each.type for each in told] == ["OrderPlaced", "OrderConfirmed"]
    assert queries.list_order_events(second, 2) == []


def test_of_two_projectors_one_works_and_the_other_passes_on(database: Database, known: Projections) -> None:
    many(database, 30)
    workers = [Projector(database, ORDER_LIST, batch=5) for _ in range(4)]

    def work() -> None:
        while any(worker.run_once() for worker in workers):
            pass

    assert at_once(work, times=4) == [None] * 4
    caught_up(known)
    assert known.verify("order.list").equal


def test_f72_in_a_restored_database_the_versions_of_streams_are_gone_by(database: Database, known: Projections) -> None:
    """As after a restore: the checkpoint's numbers are from another cluster, and far ahead of this one's."""
    orders = many(database, 8)
    caught_up(known)
    happen(database, history_of(late := uuid7(), GOOD_WAY[:2]))
    sql(database, "update projection set epoch = 'elsewhere', xid = '99999999999', position = 99999999999")
    assert known.status()[0].lag == 0  # by the numbers, all is well
    caught_up(known)
    happen(database, history_of(later := uuid7(), GOOD_WAY[:1]))
    caught_up(known)
    listed = {stream_id for (stream_id,) in sql(database, "select stream_id from order_list")}
    assert listed == {*orders, late, later}
    assert all(known.verify(name).equal for name in known.names())


def test_f72_events_restored_with_numbers_of_another_cluster_are_taken_in(
    database: Database, fresh_database: FreshDatabase, known: Projections
) -> None:
    sql(database, "update projection set epoch = 'elsewhere'")
    _restore(fresh_database, order_id := uuid7())
    caught_up(known)
    assert sql(database, "select version, state from order_list") == [(2, "CONFIRMED")]
    happen(database, [OrderPickingStarted()], after=2, order_id=order_id)
    caught_up(known)
    assert sql(database, "select version, state from order_list") == [(3, "PICKING")]
    assert [each.lag for each in known.status()] == [0, 0, 0]
    assert all(known.verify(name).equal for name in known.names())


def _restore(fresh: FreshDatabase, order_id: UUID) -> None:
    events = new_events([placed(order_id), OrderConfirmed("north", "visa")])
    with psycopg.connect(fresh.url, autocommit=True) as admin:
        for number, each in enumerate(events, start=1):
            admin.execute(
                "insert into orders.events (stream_id, version, event_id, type, schema, payload, xid) "
                "values (%s, %s, %s, %s, %s, %s, '999999999999')",
                [order_id, number, each.id, each.type, each.schema, each.payload],
            )


def test_status_tells_how_far_each_is(database: Database, known: Projections) -> None:
    assert known.names() == ["order.list", "order.board", "order.history"]
    happen(database, [placed(order_id := uuid7())])
    happen(database, [OrderCancelled(State.PENDING)], after=1, order_id=order_id)
    caught_up(Projections(database, [ORDER_LIST]))
    done, behind, _ = known.status()
    assert (done.name, done.state, done.lag, done.generation) == ("order.list", ProjectionState.LIVE, 0, 1)
    assert (behind.name, behind.lag) == ("order.board", 2)
    assert behind.lag_seconds > 0
    with database.reading() as connection:
        assert known.status(connection)[0].position == done.position
    sql(database, "delete from projection where name = 'order.list'")
    assert known.status()[0].state is ProjectionState.NEVER_RUN


def test_a_projection_that_is_behind_for_long_is_said_to_be(database: Database, known: Projections) -> None:
    sql(
        database,
        "insert into events (stream_id, version, event_id, type, schema, payload, time) "
        "values (gen_random_uuid(), 1, gen_random_uuid(), 'OrderPlaced', 1, '', now() - interval '1 minute')",
    )
    assert [each.state for each in known.status()] == [ProjectionState.BEHIND] * 3


def test_a_name_that_nobody_knows_is_refused(known: Projections) -> None:
    for act in (known.rebuild, known.verify):
        with pytest.raises(UnknownProjection, match="there are order"):
            act("order.lists")


def test_a_projection_that_is_new_begins_at_the_beginning(database: Database, known: Projections) -> None:
    many(database, 3)
    sql(database, "delete from projection")
    caught_up(known)
    assert len(rows(database, "order_list")) == 3
    assert all(known.verify(name).equal for name in known.names())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_version_is_reached_when_its_row_is_there(database: Database, known: Projections, when: str) -> None:
    order_id = happen(database, history_of(uuid7(), GOOD_WAY[:1]))
    if when == "after":
        caught_up(known)

    # Whoever reads only what the projection holds: nobody adds here what is ahead of it.
    rows_alone = Projections(database, [ORDER_LIST])

    def reached(wanted: dict[UUID, int]) -> bool:
        with database.reading() as connection:
            return rows_alone.reached(connection, ["order.list"], wanted)

    assert reached({order_id: 2}) is (when == "after")
    assert reached({})
    assert not reached({order_id: 3})
    assert not reached({uuid7(): 1})


def test_a_place_knows_its_checkpoint() -> None:
    place = GenerationPlace("order.list", 1, "epoch", 5, 7)
    assert (place.checkpoint.epoch, place.checkpoint.xid, place.checkpoint.position) == ("epoch", 5, 7)
    assert place.checkpoint < GenerationPlace("order.list", 2, "epoch", 5, 8).checkpoint
