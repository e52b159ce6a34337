"""Operations over real gRPC, Kafka and PostgreSQL: what is told of a service, and what may be done to it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.api.ops.v1.ops_pb2_grpc import OpsServiceStub
from mercato.errors import FailedPrecondition, InvalidPageToken, MercatoError, NotFound, PermissionDenied
from mercato.kafka import Kafka
from mercato.ops.servicer import OpsServicer, Overseen
from mercato.ops.stuck import NothingToRetry, Stuck
from mercato.pagination import PageTokens
from mercato.parking import StillRefused
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import Served, a_customer, serve, staff
from services.order.projections import projections
from tests.component.reader import LONG, Reader, settle
from tests.servers import FreshDatabase

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Waiting:
    """Two orders that wait for a person."""

    def __init__(self) -> None:
        self.retried: list[str] = []

    def in_flight(self) -> int:
        return 3

    def count(self) -> int:
        return 2

    def find(self, after: tuple[datetime, str] | None, limit: int) -> list[Stuck]:
        both = [Stuck(each, "PAYMENT_DUE", NOON, "the customer", 0, "card", "ask them") for each in ("a", "b")]
        return [each for each in both if after is None or (each.since, each.id) > after][:limit]

    def retry(self, stuck_id: str) -> int:
        if stuck_id == "b":
            raise NothingToRetry
        self.retried.append(stuck_id)
        return 1


@dataclass
class Desk:
    """Operations of one service, and whoever looks at them."""

    served: Served
    reader: Reader
    waiting: Waiting

    def ask(self, principal: Principal | None = None, caller: str = "gateway") -> OpsServiceStub:
        return self.served.stub(OpsServiceStub, principal or staff("admin"), caller)


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("catalog") as database:
        yield database


@pytest.fixture
def desk(database: Database, fresh_database: FreshDatabase, kafka: Kafka) -> Iterator[Desk]:
    with database.transaction() as connection:
        connection.execute("delete from parked_event; delete from outbox")
    reader, waiting = Reader(database, fresh_database, kafka), Waiting()
    consumer = reader.consumer()
    overseen = Overseen("product", database, lambda: kafka, PageTokens("secret"), {consumer.name: consumer}, waiting)
    with serve(OpsServicer(overseen), service="product") as served:
        reader.bad = {"a2"}
        reader.send("a", 1, 2, 3)
        settle(reader, consumer)
        yield Desk(served, reader, waiting)
    reader.close()


def look(desk: Desk) -> pb.Operations:
    found: pb.Operations = desk.ask().GetOperations(pb.GetOperationsRequest(service="product"))
    return found


def look_till_kafka_says(desk: Desk) -> pb.Operations:
    """Look again while Kafka did not say in time how much there is, which leaves the lag open."""
    deadline = time.monotonic() + LONG
    told = look(desk)
    while not all(each.HasField("lag") for each in told.consumers):
        assert time.monotonic() < deadline
        told = look(desk)
    return told


def letters(desk: Desk) -> list[pb.DeadLetter]:
    return list(desk.ask().ListDeadLetters(pb.ListDeadLettersRequest(service="product")).dead_letters)


def test_a_service_tells_what_waits_and_how_far_behind_it_is(desk: Desk) -> None:
    desk.reader.send("a", 4)
    told = look_till_kafka_says(desk)
    assert (told.outbox.depth, told.dead_letters, told.in_flight, told.stuck) == (1, 2, 3, 2)
    assert told.outbox.HasField("age")
    assert {(each.group, each.topic) for each in told.consumers} == {(desk.reader.group, desk.reader.topic)}
    assert (len(told.consumers), sum(each.lag for each in told.consumers)) == (6, 1)
    assert sum(each.position for each in told.consumers) == 3
    assert not told.HasField("last_audit")


def test_without_kafka_it_tells_what_it_knows(database: Database, desk: Desk) -> None:
    gone = Kafka("127.0.0.1:1", patience=0.2)
    consumers = {desk.reader.group: desk.reader.consumer()}
    with serve(
        OpsServicer(Overseen("product", database, lambda: gone, PageTokens("s"), consumers)), service="product"
    ) as served:
        told = served.stub(OpsServiceStub, staff("admin")).GetOperations(pb.GetOperationsRequest(service="product"))
    assert sum(each.position for each in told.consumers) == 3
    assert not any(each.HasField("lag") for each in told.consumers)


def test_dead_letters_are_listed_shown_redriven_and_discarded(desk: Desk) -> None:
    refused, waits = letters(desk)
    assert (refused.version, refused.behind, refused.reason) == (2, "", "ValueError: a2 makes no sense")
    assert (waits.version, waits.behind) == (3, refused.id)
    shown = desk.ask().GetDeadLetter(pb.GetDeadLetterRequest(service="product", id=refused.id))
    assert '"orderId": "a2"' in shown.content
    assert shown.headers["ce_subject"] == "a"
    with pytest.raises(StillRefused) as refusal:
        desk.ask().RedriveDeadLetter(pb.RedriveDeadLetterRequest(service="product", id=refused.id))
    assert refusal.value.metadata == {"applied": 0, "remaining": 2}
    done = desk.ask().DiscardDeadLetter(pb.DiscardDeadLetterRequest(service="product", id=refused.id))
    assert (done.applied, done.remaining) == (1, 0)
    assert desk.reader.effects() == [("a", 1), ("a", 3)]
    again = desk.ask().RedriveDeadLetter(pb.RedriveDeadLetterRequest(service="product", id=refused.id))
    assert (again.applied, again.remaining) == (0, 0)
    assert not letters(desk)


def test_a_list_of_dead_letters_has_pages(desk: Desk) -> None:
    first = desk.ask().ListDeadLetters(pb.ListDeadLettersRequest(service="product", page_size=1))
    request = pb.ListDeadLettersRequest(service="product", page_size=1, page_token=first.next_page_token)
    second = desk.ask().ListDeadLetters(request)
    assert [first.dead_letters[0].version, second.dead_letters[0].version] == [2, 3]
    assert not second.next_page_token
    with pytest.raises(InvalidPageToken):
        desk.ask().ListDeadLetters(pb.ListDeadLettersRequest(service="product", page_token="x"))


def test_what_a_reader_parked_that_is_gone_can_be_shown_and_not_redriven(desk: Desk, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("update parked_event set consumer = 'product.retired'")
    first = letters(desk)[0]
    with pytest.raises(FailedPrecondition) as refusal:
        desk.ask().RedriveDeadLetter(pb.RedriveDeadLetterRequest(service="product", id=first.id))
    assert refusal.value.reason == "NO_SUCH_CONSUMER"


def test_what_is_stuck_is_listed_by_pages_and_tried_again(desk: Desk) -> None:
    first = desk.ask().ListStuck(pb.ListStuckRequest(service="product", page_size=1))
    assert (first.stuck[0].id, first.stuck[0].advice) == ("a", "ask them")
    request = pb.ListStuckRequest(service="product", page_size=1, page_token=first.next_page_token)
    assert [each.id for each in desk.ask().ListStuck(request).stuck] == ["b"]
    assert desk.ask().RetryStuck(pb.RetryStuckRequest(service="product", id="a")).retried == 1
    assert desk.waiting.retried == ["a"]
    with pytest.raises(NothingToRetry):
        desk.ask().RetryStuck(pb.RetryStuckRequest(service="product", id="b"))


def test_an_audit_finds_what_is_parked_and_is_remembered(desk: Desk, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("update parked_event set create_time = create_time - interval '1 hour'")
    audit = desk.ask().AuditService(pb.AuditServiceRequest(service="product"))
    assert audit.rules > 1
    assert {each.rule for each in audit.findings} >= {"I10_nothing_parked"}
    assert look(desk).last_audit == audit


def test_a_projection_is_rebuilt_beside_the_live_one_and_tells_how_far_it_is(
    order_database: Database, kafka: Kafka
) -> None:
    overseen = Overseen(
        "order", order_database, lambda: kafka, PageTokens("s"), projections=projections(order_database)
    )
    with serve(OpsServicer(overseen), service="order") as served:
        stub = served.stub(OpsServiceStub, staff("admin"))
        begun = stub.RebuildProjection(pb.RebuildProjectionRequest(service="order", name="order.list"))
        assert (begun.name, begun.problem) == ("order.list", "")
        deadline = time.monotonic() + LONG
        while (told := _projection(stub)).generation == 1 or told.state == pb.Projection.REBUILDING:
            assert time.monotonic() < deadline
        assert (told.generation, told.problem) == (2, "")
        with pytest.raises(NotFound) as refusal:
            stub.RebuildProjection(pb.RebuildProjectionRequest(service="order", name="order.nothing"))
        assert refusal.value.reason == "UNKNOWN_PROJECTION"


def _projection(stub: OpsServiceStub) -> pb.Projection:
    told = stub.GetOperations(pb.GetOperationsRequest(service="order"))
    return next(each for each in told.projections if each.name == "order.list")


EVERY: list[tuple[str, object]] = [
    ("GetOperations", pb.GetOperationsRequest(service="product")),
    ("ListDeadLetters", pb.ListDeadLettersRequest(service="product")),
    ("GetDeadLetter", pb.GetDeadLetterRequest(service="product", id="1")),
    ("RedriveDeadLetter", pb.RedriveDeadLetterRequest(service="product", id="1")),
    ("DiscardDeadLetter", pb.DiscardDeadLetterRequest(service="product", id="1")),
    ("RebuildProjection", pb.RebuildProjectionRequest(service="product", name="nothing")),
    ("AuditService", pb.AuditServiceRequest(service="product")),
    ("ListStuck", pb.ListStuckRequest(service="product")),
    ("RetryStuck", pb.RetryStuckRequest(service="product", id="a")),
]


def test_the_list_above_is_whole() -> None:
    assert [name for name, _ in EVERY] == [each.name for each in OpsServicer.contract.methods]


@pytest.mark.parametrize(("rpc", "request_"), EVERY, ids=[name for name, _ in EVERY])
def test_operations_are_for_admin_and_the_operator_alone(desk: Desk, rpc: str, request_: object) -> None:
    roles = ("support", "catalog", "warehouse", "courier", "finance")
    for who, caller in [(a_customer(), "gateway"), (staff(*roles), "gateway"), (staff("admin"), "order")]:
        with pytest.raises(PermissionDenied):
            getattr(desk.ask(who, caller), rpc)(request_)
    assert not desk.waiting.retried
    assert len(letters(desk)) == 2


@pytest.mark.parametrize(("rpc", "request_"), EVERY, ids=[name for name, _ in EVERY])
def test_whoever_asks_for_another_service_has_come_to_the_wrong_one(
    desk: Desk, rpc: str, request_: pb.AuditServiceRequest
) -> None:
    led_astray = type(request_)()
    led_astray.CopyFrom(request_)
    led_astray.service = "order"
    with pytest.raises(NotFound):
        getattr(desk.ask(), rpc)(led_astray)


def test_the_operator_needs_no_role(desk: Desk) -> None:
    told = desk.served.stub(OpsServiceStub, caller="operator").GetOperations(pb.GetOperationsRequest(service="product"))
    assert told.service == "product"


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1" * 19, ""])
def test_an_id_that_is_none_is_refused_as_such(desk: Desk, wrong: str) -> None:
    with pytest.raises(MercatoError) as refusal:
        desk.ask().GetDeadLetter(pb.GetDeadLetterRequest(service="product", id=wrong))
    assert refusal.value.reason == "VALIDATION_FAILED"
