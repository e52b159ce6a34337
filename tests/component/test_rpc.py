"""Calls between services, over a real port: what a handler is protected from, and what a caller gets back."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mercato import errors, log
from mercato.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    IdempotencyKeyRequired,
    Internal,
    InvalidArgument,
    MessageTooLarge,
    NotFound,
    NulInText,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mercato.rpc import Principal, current_call, on_behalf_of
from mercato.rpc.call import NOBODY
from mercato.rpc.channel import Channels, UnknownNeighbour, service_config
from mercato.rpc.server import Server
from mercato.rpc.status import error_of_call
from mercato.testing import Served, a_customer, a_guest, at_once, serve, staff
from tests.probe import SERVICE, Line, Probe, ProbeServiceStub, Reply, Request

LONG = 30.0
ANN = a_customer("ann")


class NoBread(FailedPrecondition):
    """The bakery is closed."""

    def __init__(self, wanted: int) -> None:
        super().__init__("no bread today", wanted=wanted)


class Bench:
    """Serves answers, and calls for them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def serve(self, answer: Callable[[Any], object] = lambda request: request.text, **limits: Any) -> Served:
        """A server that answers so."""
        return self._stack.enter_context(serve(Probe(answer), **limits))

    def stub(
        self, answer: Callable[[Any], object], who: Principal | None = ANN, caller: str = "gateway", **limits: Any
    ) -> ProbeServiceStub:
        """A stub for a server that answers so."""
        return self.serve(answer, **limits).stub(ProbeServiceStub, who, caller)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Servers, stopped at the end."""
    with ExitStack() as stack:
        yield Bench(stack)


def raising(error: Exception) -> Callable[[Any], object]:
    """An answer that is an exception."""

    def answer(_request: Any) -> object:
        raise error

    return answer


def calling(channel: grpc.Channel, path: str) -> Any:
    """An rpc that takes and gives bytes."""
    return channel.unary_unary(path)


def raw(served: Served, rpc: str, request: bytes, metadata: list[tuple[str, str]], timeout: float | None = LONG) -> Any:
    """What a caller without our stubs gets."""
    with grpc.insecure_channel(served.address) as channel:
        reply, done = calling(channel, f"/{SERVICE.full_name}/{rpc}").with_call(
            request, metadata=metadata, timeout=timeout
        )
        return reply, dict(done.trailing_metadata())


def bearer(served: Served, who: Principal = ANN, audience: str = "probe") -> list[tuple[str, str]]:
    """The metadata of an honest caller."""
    return [("authorization", f"Bearer {served.signer('gateway').token(audience, who)}")]


def test_a_handler_knows_who_calls_for_whom(bench: Bench) -> None:
    who = Principal("ann", frozenset({"customer"}), "session-1", "guest-1")
    seen: list[Any] = []
    bench.stub(lambda _: seen.append(current_call()), who).Read(Request())
    assert (seen[0].principal, seen[0].service, seen[0].only_of) == (who, "gateway", None)


def test_a_caller_catches_the_error_that_the_callee_raised(bench: Bench) -> None:
    stub = bench.stub(raising(NoBread(3)))
    with pytest.raises(NoBread) as caught:
        stub.Read(Request())
    assert caught.value.metadata == {"wanted": 3}
    assert caught.value.definite


def test_a_defect_leaves_without_its_text_and_the_log_has_it(bench: Bench) -> None:
    stub = bench.stub(raising(ValueError("the password is hunter2")))
    with log.bound(request_id="r-42"), pytest.raises(Internal) as caught:
        stub.Read(Request())
    assert caught.value.message == "internal error"
    assert caught.value.metadata == {"request_id": "r-42"}


def test_an_internal_error_of_our_own_keeps_its_text_to_itself_too(bench: Bench) -> None:
    with pytest.raises(Internal, match=r"^internal error$"):
        bench.stub(raising(Internal("the ledger does not add up"))).Read(Request())


@pytest.mark.parametrize("metadata", [[], [("x-user", "ann"), ("x-roles", "admin")], [("authorization", "Basic YTpi")]])
def test_a_caller_without_a_token_is_nobody(bench: Bench, metadata: list[tuple[str, str]]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        raw(bench.serve(), "Read", b"", metadata)
    assert type(error_of_call(refused.value)) is Unauthenticated


def test_a_token_for_another_service_is_refused(bench: Bench) -> None:
    served = bench.serve()
    with pytest.raises(grpc.RpcError) as refused:
        raw(served, "Read", b"", bearer(served, audience="payment"))
    assert type(error_of_call(refused.value)) is Unauthenticated


def test_who_may_not_call_does_not_reach_the_handler(bench: Bench) -> None:
    reached: list[Any] = []
    served = bench.serve(reached.append)
    for rpc in ("Count", "Step", "Once", "Pay"):
        with pytest.raises(PermissionDenied):
            getattr(served.stub(ProbeServiceStub, ANN), rpc)(Request(text="x"))
    with pytest.raises(Unauthenticated):
        served.stub(ProbeServiceStub, NOBODY).Count(Request())
    with pytest.raises(PermissionDenied):
        served.stub(ProbeServiceStub, staff("catalog"), caller="product").Pour(iter([Request()]))
    assert not reached


def test_wrong_fields_are_named_as_json_names_them(bench: Bench) -> None:
    stub = bench.stub(lambda request: request.text)
    with pytest.raises(InvalidArgument) as refused:
        stub.Read(Request(basket_lines=[Line(quantity=1), Line(quantity=100)]))
    assert [each.field for each in refused.value.fields] == ["basketLines[1].quantity"]
    assert refused.value.reason == "VALIDATION_FAILED"


def test_of_a_message_with_thousands_of_mistakes_the_first_is_told(bench: Bench) -> None:
    stub = bench.stub(lambda _: pytest.fail("was called"))
    with pytest.raises(InvalidArgument) as refusal:
        stub.Read(Request(basket_lines=[Line()] * 50_000))
    assert [each.field for each in refusal.value.fields] == ["basketLines[0].quantity"]


def test_a_text_that_the_database_does_not_keep_is_named(bench: Bench) -> None:
    def refuse(_: Any) -> str:
        raise NulInText

    with pytest.raises(InvalidArgument) as refusal:
        bench.stub(refuse).Read(Request(text="a\0b", user_id="ann"))
    (named,) = refusal.value.fields
    assert (named.field, named.reason) == ("text", "MALFORMED")


def test_me_is_the_caller_and_an_empty_owner_is_too(bench: Bench) -> None:
    stub = bench.stub(lambda request: request.user_id)
    assert stub.Mine(Request(user_id="me")).text == "ann"
    assert stub.Mine(Request()).text == "ann"
    assert stub.Mine(Request(user_id="ann")).text == "ann"


def test_another_s_is_answered_like_a_missing_one(bench: Bench) -> None:
    served = bench.serve(raising(NotFound()))
    with pytest.raises(NotFound) as foreign:
        served.stub(ProbeServiceStub, ANN).Mine(Request(user_id="bob"))
    with pytest.raises(NotFound) as missing:
        served.stub(ProbeServiceStub, ANN).Mine(Request(user_id="ann"))
    assert (foreign.value.message, foreign.value.reason) == (missing.value.message, missing.value.reason)
    assert foreign.value.metadata == missing.value.metadata


def test_support_sees_everybody_s(bench: Bench) -> None:
    stub = bench.stub(lambda request: (request.user_id, current_call().only_of), staff("support"))
    assert stub.Mine(Request(user_id="bob")).text == "('bob', None)"
    assert stub.Mine(Request()).text == "('', None)"


def test_a_repeat_has_the_same_key_and_another_request_another_fingerprint(bench: Bench) -> None:
    keys: list[Any] = []
    stub = bench.stub(lambda _: keys.append(current_call().key))
    for request in (
        Request(request_id="k", text="a"),
        Request(request_id="k", text="a"),
        Request(request_id="k", text="b"),
        Request(request_id="j", text="a"),
    ):
        stub.Make(request)
    first, again, changed, other = keys
    assert first == again
    assert (first.principal, first.rpc, first.key) == ("ann", "ProbeService.Make", "k")
    assert changed.key == "k"
    assert changed.fingerprint != first.fingerprint
    assert other.fingerprint == first.fingerprint


def test_a_key_is_required_of_users_where_the_contract_says_so(bench: Bench) -> None:
    served = bench.serve()
    with pytest.raises(grpc.RpcError) as refused:
        raw(served, "Make", b"", bearer(served))
    assert type(error_of_call(refused.value)) is IdempotencyKeyRequired


def test_a_service_s_own_calls_are_keyed_by_its_name(bench: Bench) -> None:
    keys: list[Any] = []
    bench.stub(lambda _: keys.append(current_call().key), NOBODY, caller="order").Make(Request(request_id="k"))
    assert keys[0].principal == "@order"


def test_a_call_that_may_be_sent_twice_always_has_a_key(bench: Bench) -> None:
    seen: list[Any] = []
    bench.stub(lambda request: seen.append(request.request_id), NOBODY, caller="order").Make(Request())
    assert seen[0]


def test_ids_travel_with_the_call(bench: Bench) -> None:
    seen: list[Any] = []
    stub = bench.stub(lambda _: seen.append(dict(log.context())))
    with log.bound(request_id="r-1", order_id="o-1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"):
        stub.Read(Request())
    assert (seen[0]["request_id"], seen[0]["order_id"]) == ("r-1", "o-1")
    assert seen[0]["traceparent"][:35] == f"00-{'a' * 32}"


def test_what_one_call_bound_is_gone_at_the_next(bench: Bench) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> None:
        seen.append(dict(log.context()))
        log.bind(order_id=request.text)

    stub = bench.stub(answer, threads=1)
    stub.Read(Request(text="o-1"))
    stub.Read(Request(text="o-2"))
    assert all("order_id" not in each for each in seen)
    assert not current_call().rpc


def test_trailers_carry_the_request_id_and_what_was_written(bench: Bench) -> None:
    def answer(_request: Any) -> None:
        current_call().wrote("milk", 7)
        current_call().replayed = True

    served = bench.serve(answer)
    _, trailers = raw(served, "Read", b"", [*bearer(served), ("x-request-id", "r-1")])
    assert trailers["x-request-id"] == "r-1"
    assert trailers["mercato-replayed"] == "true"
    seen: list[Any] = []
    other = bench.serve(lambda _: seen.append(current_call().consistency))
    raw(other, "Read", b"", [*bearer(other), ("x-consistency", trailers["mercato-consistency"])])
    assert seen == [{"milk": 7}]


@pytest.mark.parametrize(("given", "least", "most"), [(None, 4.0, 5.0), (2.0, 1.0, 2.0), (10 * 86_400.0, 29.0, 30.0)])
def test_every_call_has_an_end(bench: Bench, given: float | None, least: float, most: float) -> None:
    seen: list[float] = []
    served = bench.serve(lambda _: seen.append(current_call().remaining or 0.0))
    raw(served, "Read", b"", bearer(served), given)
    assert least < seen[0] <= most


def test_a_call_that_is_over_before_it_began_does_no_work(bench: Bench) -> None:
    reached: list[Any] = []
    served = bench.serve(reached.append)
    with pytest.raises(DeadlineExceeded):
        served.stub(ProbeServiceStub, ANN).Read(Request(), timeout=0.000001)
    with on_behalf_of("ann", seconds=0.01), pytest.raises(DeadlineExceeded):
        served.stub(ProbeServiceStub).Read(Request())
    assert not reached


def test_a_deadline_shrinks_on_its_way(bench: Bench) -> None:
    inner: list[float] = []
    callee = bench.serve(lambda _: inner.append(current_call().remaining or 0.0)).stub(ProbeServiceStub, ANN)
    outer: list[float] = []

    def answer(_request: Any) -> None:
        outer.append(current_call().remaining or 0.0)
        callee.Read(Request())

    bench.stub(answer).Read(Request(), timeout=2.0)
    assert inner[0] < outer[0] - 0.015


def test_the_user_of_the_present_call_is_the_user_of_the_next(bench: Bench) -> None:
    seen: list[Any] = []
    callee = bench.serve(lambda _: seen.append((current_call().principal, current_call().service)))
    onward = callee.stub(ProbeServiceStub, caller="order")
    bench.stub(lambda _: onward.Read(Request()), a_guest("g")).Mine  # noqa: B018  the stub exists
    with on_behalf_of("ann"):
        callee.stub(ProbeServiceStub, caller="order").Step(Request(text="1"))
    assert seen[0][0].subject == "ann"
    assert seen[0][1] == "order"


def test_a_message_above_the_limit_does_not_reach_the_handler(bench: Bench) -> None:
    reached: list[Any] = []
    with pytest.raises(MessageTooLarge):
        bench.stub(reached.append).Read(Request(text="x" * 300_000))
    assert not reached


def test_the_limit_counts_what_a_message_unpacks_to(bench: Bench) -> None:
    served = bench.serve()
    packed = Request(text="x" * 3_000_000).SerializeToString()
    zipped = grpc.insecure_channel(served.address, compression=grpc.Compression.Gzip)
    with zipped as channel, pytest.raises(grpc.RpcError) as refused:
        calling(channel, f"/{SERVICE.full_name}/Read")(packed, metadata=bearer(served), timeout=LONG)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_above_the_limit_is_refused(bench: Bench) -> None:
    served = bench.serve()
    with pytest.raises(grpc.RpcError) as refused:
        raw(served, "Read", b"", [*bearer(served), ("x-long", "x" * 40_000)])
    assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.parametrize("rubbish", [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x22\x02\x08"])
def test_random_bytes_do_not_reach_the_handler_and_the_server_lives(bench: Bench, rubbish: bytes) -> None:
    served = bench.serve()
    with pytest.raises(grpc.RpcError) as refused:
        raw(served, "Read", rubbish, bearer(served))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_of_call(refused.value).reason == "UNREADABLE_MESSAGE"
    assert served.stub(ProbeServiceStub, ANN).Read(Request(text="still here")).text == "still here"


def test_a_connection_outlives_more_unreadable_messages_than_it_has_streams(bench: Bench) -> None:
    served = bench.serve()
    with grpc.insecure_channel(served.address) as channel:
        call: Any = channel.unary_unary(f"/{SERVICE.full_name}/Read")
        metadata = bearer(served)
        for _ in range(11):
            calls = [call.future(b"\xff", metadata=metadata, timeout=LONG) for _ in range(100)]
            assert {each.code() for each in calls} <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
        assert call(b"", metadata=metadata, timeout=LONG) == b""


@pytest.mark.parametrize("path", ["/mercato.api.probe.v1.ProbeService/Nothing", "/nothing.Service/Read"])
def test_an_unknown_rpc_is_unimplemented(bench: Bench, path: str) -> None:
    served = bench.serve()
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as refused:
        calling(channel, path)(b"", metadata=bearer(served), timeout=LONG)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_is_answered_and_each_of_its_messages_validated(bench: Bench) -> None:
    stub = bench.stub(lambda requests: sum(1 for _ in requests), staff("catalog"))
    assert stub.Pour(iter([Request(text="a")] * 1000)).text == "1000"
    with pytest.raises(InvalidArgument):
        stub.Pour(iter([Request(), Request(basket_lines=[Line()])]))


def test_streams_that_never_end_do_not_hold_up_calls(bench: Bench) -> None:
    going, end = threading.Semaphore(0), threading.Event()

    def answer(request: Any) -> object:
        if hasattr(request, "text"):
            return request.text
        going.release()
        return sum(1 for _ in request)

    def pour() -> Iterator[Any]:
        yield Request()
        end.wait(LONG)

    served = bench.serve(answer, threads=1)
    pouring = served.stub(ProbeServiceStub, staff("catalog"))
    threads = [threading.Thread(target=lambda: pouring.Pour(pour())) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert going.acquire(timeout=LONG)
    assert going.acquire(timeout=LONG)
    assert served.stub(ProbeServiceStub, ANN).Read(Request(text="at once"), timeout=LONG).text == "at once"
    end.set()
    for thread in threads:
        thread.join(LONG)


def test_calls_whose_message_never_comes_lose_their_threads_and_no_others_do(bench: Bench) -> None:
    came, go, over = threading.Event(), threading.Event(), threading.Event()

    def answer(_request: Any) -> str:
        came.set()
        go.wait(LONG)
        return "done"

    def nothing() -> Iterator[bytes]:
        over.wait(2 * LONG)
        yield from ()

    served = bench.serve(answer, threads=2, patience=2.0)
    path = f"/{SERVICE.full_name}/Read"
    with grpc.insecure_channel(served.address) as channel:
        honest = calling(channel, path).future(b"", metadata=bearer(served), timeout=2 * LONG)
        assert came.wait(LONG)
        # One after the other, for one thread is left: that of the honest call is not taken from it meanwhile.
        without_message: Any = channel.stream_unary(path)
        silent = [without_message.future(nothing()) for _ in range(2)]
        try:
            assert {call.code() for call in silent} == {grpc.StatusCode.CANCELLED}
        finally:
            over.set()
            go.set()
        assert Reply.FromString(honest.result()).text == "done"


def test_too_many_waiting_calls_are_refused_at_once_even_when_every_thread_is_stuck(bench: Bench) -> None:
    stuck, go = threading.Event(), threading.Event()

    def answer(request: Any) -> str:
        stuck.set()
        go.wait(LONG)
        return "done"

    stub = bench.stub(answer, NOBODY, caller="order", threads=1, waiting=2)
    outcomes: list[Any] = []
    refused = threading.Semaphore(0)

    def call() -> None:
        try:
            outcomes.append(stub.Once(Request(), timeout=LONG).text)
        except errors.MercatoError as error:
            outcomes.append(type(error))
            refused.release()

    threads = [threading.Thread(target=call) for _ in range(12)]
    threads[0].start()
    assert stuck.wait(LONG)
    for thread in threads[1:]:
        thread.start()
    assert all(refused.acquire(timeout=LONG) for _ in range(8))  # while the only thread is held
    go.set()
    for thread in threads:
        thread.join(LONG)
    assert outcomes.count("done") <= 4
    assert set(outcomes) == {"done", Overloaded}


def test_f62_of_calls_that_were_cancelled_nothing_stays(bench: Bench) -> None:
    begun, go = threading.Semaphore(0), threading.Event()

    def answer(request: Any) -> object:
        if request.text == "slow":
            begun.release()
            go.wait(LONG)
        return request.text

    served = bench.serve(answer, threads=4)
    with grpc.insecure_channel(served.address) as channel:
        read: Any = calling(channel, f"/{SERVICE.full_name}/Read")

        def some_are_cancelled() -> None:
            """Forty calls, of which every tenth is given up while it is answered."""
            go.clear()
            slow = [read.future(asked("slow"), metadata=bearer(served), timeout=LONG) for _ in range(4)]
            assert all(begun.acquire(timeout=LONG) for _ in slow)
            for each in slow:
                each.cancel()
            go.set()
            for _ in range(36):
                assert Reply.FromString(read(asked("bread"), metadata=bearer(served), timeout=LONG)).text == "bread"

        some_are_cancelled()
        before = what_stays()
        for _ in range(5):
            some_are_cancelled()
        ends = time.monotonic() + 3 * LONG
        while grown := [kind for kind, number in what_stays().items() if number >= before[kind] + 20]:
            assert time.monotonic() < ends, f"more and more {grown}"


def asked(text: str) -> bytes:
    """A request, as it travels."""
    request: bytes = Request(text=text).SerializeToString()
    return request


def what_stays() -> Counter[str]:
    """What there is of grpc's and ours in this process, and its threads and files."""
    gc.collect()
    there = Counter(type(each).__qualname__ for each in gc.get_objects() if _is_about_calls(type(each).__module__))
    return there + Counter(threads=threading.active_count(), files=sum(1 for _ in Path("/proc/self/fd").iterdir()))


def _is_about_calls(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in {"grpc", "mercato"}


def test_f66_a_caller_of_tomorrow_is_answered_today(bench: Bench) -> None:
    served = bench.serve()
    of_tomorrow = asked("bread") + b"\xc2\x3e\x03new"  # a field that nobody here knows, number 1000
    reply, _ = raw(served, "Read", of_tomorrow, bearer(served))
    assert Reply.FromString(reply).text == "bread"


def test_a_call_without_a_second_effect_is_sent_again_and_another_is_not(bench: Bench) -> None:
    sent: dict[str, int] = {"Read": 0, "Once": 0}

    def answer(_request: Any) -> str:
        name = current_call().rpc.removeprefix("ProbeService.")
        sent[name] += 1
        if sent[name] < 3:
            raise Unavailable("not now")
        return "third time"

    served = bench.serve(answer)
    assert served.stub(ProbeServiceStub, ANN).Read(Request()).text == "third time"
    with pytest.raises(Unavailable):
        served.stub(ProbeServiceStub, NOBODY, caller="order").Once(Request())
    assert sent == {"Read": 3, "Once": 1}


def test_only_calls_without_a_second_effect_stand_in_the_retry_policy() -> None:
    (config,) = service_config(SERVICE)["methodConfig"]
    assert [each["method"] for each in config["name"]] == ["Read", "Make", "Step"]


def test_a_neighbour_that_is_not_there_is_unavailable(bench: Bench) -> None:
    served = bench.serve()
    stub = served.stub(ProbeServiceStub, ANN)
    served.server.stop(0)
    with pytest.raises(Unavailable):
        stub.Read(Request(), timeout=LONG)


def test_a_neighbour_whose_address_nobody_told_is_named(bench: Bench) -> None:
    with pytest.raises(UnknownNeighbour, match="MERCATO_TARGET_PROBE"):
        Channels(bench.serve().signer("gateway"), {}).stub(ProbeServiceStub)


def test_every_call_under_way_is_answered_before_the_server_is_gone(bench: Bench) -> None:
    begun, go = threading.Semaphore(0), threading.Event()

    def answer(_request: Any) -> str:
        begun.release()
        go.wait(LONG)
        return "answered"

    served = bench.serve(answer)
    stub = served.stub(ProbeServiceStub, NOBODY, caller="order")
    outcomes: list[Any] = []
    callers = [threading.Thread(target=lambda: outcomes.append(stub.Once(Request()).text)) for _ in range(8)]
    for caller in callers:
        caller.start()
    assert all(begun.acquire(timeout=LONG) for _ in callers)
    stopping = threading.Thread(target=lambda: outcomes.append(served.server.stop(LONG)))
    stopping.start()
    go.set()
    for thread in (*callers, stopping):
        thread.join(LONG)
    assert outcomes.count("answered") == 8
    assert outcomes.count(True) == 1


@pytest.fixture
def together() -> bool:
    """Whether calls travel together."""
    return True


@pytest.fixture
def pair(bench: Bench, together: bool) -> Iterator[tuple[Served, ProbeServiceStub]]:
    """A server that answers `old`, and a stub that spreads its calls over it and one that answers `new`."""
    old, new = bench.serve(lambda _: "old"), bench.serve(lambda _: "new")
    for path in ("private/order.pem", "order.jwks.json"):
        (new.keys / path).write_bytes((old.keys / path).read_bytes())
    channels = Channels(old.signer("order"), {"probe": f"ipv4:{old.address},{new.address}"}, together=together)
    stub = channels.stub(ProbeServiceStub, NOBODY)
    while {stub.Once(Request()).text for _ in range(10)} != {"old", "new"}:
        continue  # until both connections stand
    yield old, stub
    channels.close()


class Crowd:
    """Four who call without pause while the block lasts."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.outcomes: list[Any] = []
        self._call = call
        self._over = threading.Event()
        self._moved = [threading.Event() for _ in range(4)]
        self._callers = [threading.Thread(target=self._keep_calling, args=[each]) for each in self._moved]

    def _keep_calling(self, moved: threading.Event) -> None:
        in_a_row = 0
        while not self._over.is_set():
            try:
                outcome: Any = self._call(Request(text="the same")).text
            except errors.MercatoError as error:
                outcome = error
            self.outcomes.append(outcome)
            in_a_row = in_a_row + 1 if outcome == "new" else 0
            if in_a_row == 100:
                moved.set()

    def moved_on(self) -> bool:
        """Wait until each of them has heard of nobody but the new server for a hundred calls."""
        return all(each.wait(LONG) for each in self._moved)

    def __enter__(self) -> "Crowd":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(LONG)


def test_a_server_that_leaves_is_not_called_any_more_though_it_would_answer(pair: Any) -> None:
    old, stub = pair
    old.server.leave()
    in_a_row = 0
    for _ in range(5000):
        in_a_row = in_a_row + 1 if stub.Once(Request()).text == "new" else 0
        if in_a_row == 100:
            break
    assert in_a_row == 100


def test_a_server_that_leaves_and_stops_loses_no_call(pair: Any) -> None:
    old, stub = pair
    with Crowd(stub.Once) as crowd:
        old.server.leave()
        assert crowd.moved_on()  # a process gives its callers time for that
        assert old.server.stop(LONG)
    assert set(crowd.outcomes) <= {"old", "new"}
    assert stub.Once(Request()).text == "new"


@pytest.mark.parametrize("together", [False, True])
def test_a_server_that_stops_unannounced_loses_no_call_that_may_be_repeated(pair: Any) -> None:
    old, stub = pair
    with Crowd(stub.Step) as crowd:
        assert old.server.stop(LONG)
        assert crowd.moved_on()
    assert set(crowd.outcomes) <= {"old", "new"}


def test_simultaneous_calls_do_not_mix_up_their_callers(bench: Bench) -> None:
    served = bench.serve(lambda _: current_call().principal.subject)
    stub = served.stub(ProbeServiceStub)

    def call_as(name: str) -> bool:
        with on_behalf_of(name):
            return all(stub.Read(Request()).text == name for _ in range(20))

    names = iter([f"user-{number}" for number in range(8)])
    assert at_once(lambda: call_as(next(names)), times=8) == [True] * 8


def test_a_reply_of_another_kind_is_a_defect(bench: Bench) -> None:
    assert Reply(text="x").text == "x"
    with pytest.raises(Internal):
        bench.stub(raising(AssertionError("never"))).Read(Request())


def test_a_server_that_ends_leaves_the_health_of_another_alone() -> None:
    watched, other = (Server([], address="127.0.0.1:0") for _ in range(2))
    watched.start()
    other.start()
    other.stop(0)
    with grpc.insecure_channel(f"127.0.0.1:{watched.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=LONG)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    watched.stop(0)
