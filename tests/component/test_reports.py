"""Work of more than one transaction, by its key: done once, told again, and done to the end by whoever asks again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.api.product.v1 import product_pb2
from mercato.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from mercato.postgres import Database
from mercato.reports import Keyed, Reports
from mercato.rpc.call import Call, Key, Principal, calling
from tests.servers import FreshDatabase


@pytest.fixture(scope="module")
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    with fresh_database.of("catalog") as database:
        yield database


class Clerk:
    """Somebody whose work is counted."""

    def __init__(self, database: Database) -> None:
        self._reports = Reports(database)
        self.done = 0

    def ask(self, key: str, wanted: bytes = b"this", *, fails: bool = False) -> tuple[int, bool]:
        """What is answered to a request, and whether that is a repeat's."""

        def work() -> pb.Redriven:
            self.done += 1
            if fails:
                raise ConnectionError
            return pb.Redriven(applied=self.done)

        with calling(Call("Ops/Redrive")) as call:
            return self._reports.once(Key("somebody", call.rpc, key, wanted), pb.Redriven, work).applied, call.replayed


@pytest.fixture
def clerk(database: Database) -> Clerk:
    return Clerk(database)


def test_a_repeat_is_told_the_same_and_nothing_is_done_again(clerk: Clerk) -> None:
    assert [clerk.ask("same"), clerk.ask("same"), clerk.ask("another")] == [(1, False), (1, True), (2, False)]


def test_the_key_of_another_request_is_refused(clerk: Clerk) -> None:
    clerk.ask("taken")
    with pytest.raises(IdempotencyKeyReused):
        clerk.ask("taken", b"that")
    assert clerk.done == 1


def test_what_failed_is_done_by_whoever_asks_again(clerk: Clerk) -> None:
    with pytest.raises(ConnectionError):
        clerk.ask("failed", fails=True)
    assert [clerk.ask("failed"), clerk.ask("failed")] == [(2, False), (2, True)]


def test_without_a_key_all_is_done_each_time(database: Database) -> None:
    done = iter((1, 2))
    told = [Reports(database).once(None, pb.Redriven, lambda: pb.Redriven(applied=next(done))) for _ in range(2)]
    assert [each.applied for each in told] == [1, 2]


def test_who_comes_while_it_is_under_way_hears_so_and_afterwards_gets_it(database: Database, clerk: Clerk) -> None:
    begun, go_on, key = threading.Event(), threading.Event(), Key("somebody", "Ops/Redrive", "under way", b"this")

    def work() -> pb.Redriven:
        begun.set()
        assert go_on.wait(30)
        return pb.Redriven(applied=7)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(Reports(database).once, key, pb.Redriven, work)
        try:
            assert begun.wait(30)
            with pytest.raises(IdempotencyKeyInUse):
                clerk.ask("under way")
        finally:
            go_on.set()
        assert first.result().applied == 7
    assert clerk.ask("under way") == (7, True)


def _rows(*skus: str, name: str = "upload") -> Iterator[product_pb2.ImportProductsRequest]:
    for sku in skus:
        yield product_pb2.ImportProductsRequest(rows=[product_pb2.ImportRow(sku=sku)], request_id=name)


def test_a_stream_is_known_by_its_first_message_and_by_all_that_came(database: Database) -> None:
    reports, landed = Reports(database), list[str]()

    def upload(*skus: str) -> bool:
        with calling(Call("Products/Import", Principal("somebody"), "gateway")) as call:
            keyed = Keyed(_rows(*skus))

            def land() -> product_pb2.ImportProductsResponse:
                landed.extend(row.sku for each in keyed for row in each.rows)
                return product_pb2.ImportProductsResponse(created=len(landed))

            assert reports.once(keyed.key, product_pb2.ImportProductsResponse, land, keyed.digest).created == 2
            return call.replayed

    assert [upload("a", "b"), upload("a", "b")] == [False, True]
    for other in (("a",), ("a", "c"), ("a", "b", "c")):
        with pytest.raises(IdempotencyKeyReused):
            upload(*other)
    assert landed == ["a", "b"]


def test_nobody_s_stream_and_one_without_a_name_have_no_key() -> None:
    for call, name in (
        (Call("Products/Import", service="gateway"), "x"),
        (Call("Products/Import", service="seed"), ""),
    ):
        with calling(call):
            assert Keyed(_rows("a", name=name)).key is None
    with calling(Call("Products/Import", service="operator")):
        assert Keyed(iter(())).key is None
