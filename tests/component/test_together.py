"""Calls that travel together, over a real port: each is answered as if it had come alone."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
import pytest

from mercato import log
from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.errors import DeadlineExceeded, InvalidArgument, MercatoError, NotFound, PermissionDenied, Unavailable
from mercato.grants import Grant, GrantExceeded, GrantMismatch, GrantRequired
from mercato.money import Money
from mercato.rpc import Principal, current_call, on_behalf_of
from mercato.rpc.batch import MESSAGES, MOST, PASSENGERS, ROOM
from mercato.rpc.call import NOBODY
from mercato.rpc.channel import Channels
from mercato.rpc.contract import Unservable
from mercato.rpc.set_form import Item, SetForm
from mercato.testing import Served, a_customer, a_guest, all_at_once, serve, staff
from mercato.wire import money_to_pb
from tests.probe import SERVICE, Line, Probe, ProbeServiceStub, Reply, Request

LONG = 60.0
BATCH = "/mercato.api.batch.v1.BatchService/Call"
ANN = a_customer("ann")


class Gate:
    """Holds the first call that comes, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._first = threading.Lock()

    def pass_through(self) -> None:
        if self._first.acquire(blocking=False):
            self.reached.set()
            assert self.open.wait(LONG)


class SetProbe(Probe):
    """A probe whose `Read` and `Make` have a set form."""

    def __init__(self, answer: Callable[[Any], object], do: Callable[[Sequence[Item]], Sequence[Any]]) -> None:
        super().__init__(answer)
        self.together: Mapping[str, SetForm] = {"Read": do, "Make": do}


class Road:
    """Servers, and callers of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def serve(self, probe: Probe | None = None, **limits: Any) -> Served:
        """A server of the probe."""
        return self._stack.enter_context(serve(probe or Probe(), **limits))

    def stub(self, served: Served, caller: str = "order", *, together: bool = True) -> ProbeServiceStub:
        """Calls for whoever the present call is for."""
        channels = Channels(served.signer(caller), {"probe": f"ipv4:{served.address}"}, together=together)
        self._stack.callback(channels.close)
        return channels.stub(ProbeServiceStub)


@pytest.fixture
def road() -> Iterator[Road]:
    """Servers, stopped at the end."""
    with ExitStack() as stack:
        yield Road(stack)


def travelled() -> tuple[float, float]:
    """Messages, and the calls in them, so far."""
    return MESSAGES.value(), PASSENGERS.value()


def held_up(stub: ProbeServiceStub, gate: Gate, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What calls get that come while a first one is under way."""
    return held_up_by(lambda: stub.Read(Request(text="first")), stub.Read, gate, calls)


def held_up_by(begin: Callable[[], Any], rpc: Any, gate: Gate, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What calls of an rpc get that come while this one is under way."""
    lane = rpc._send._lane
    lane.jam = LONG  # however long a busy machine takes to start the others: they shall wait for the first
    first = threading.Thread(target=begin)
    first.start()
    assert gate.reached.wait(LONG)
    begun = threading.Barrier(len(calls) + 1)
    outcomes: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        begun.wait()
        try:
            outcomes[number] = calls[number]()
        except MercatoError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=call, args=[number]) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    begun.wait()
    while len(lane._waiting) < len(calls):
        threading.Event().wait(0.001)  # looks again; how long that takes decides nothing
    gate.open.set()
    for thread in [first, *threads]:
        thread.join(LONG)
    return outcomes


def gated(answer: Callable[[Any], object] = lambda request: request.text) -> tuple[Gate, Callable[[Any], object]]:
    gate = Gate()

    def answer_behind(request: Any) -> object:
        gate.pass_through()
        return answer(request)

    return gate, answer_behind


def test_who_comes_while_a_call_is_under_way_travels_in_one_message(road: Road) -> None:
    gate, answer = gated()
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    messages, passengers = travelled()
    texts = [f"call {number}" for number in range(8)]
    replies = held_up(stub, gate, [lambda text=text: stub.Read(Request(text=text)).text for text in texts])  # type: ignore[misc]
    assert replies == texts
    assert travelled() == (messages + 1, passengers + 8)


def test_one_after_the_other_calls_go_plainly(road: Road) -> None:
    stub, before = road.stub(road.serve(), "gateway"), travelled()
    assert [stub.Read(Request(text=str(number))).text for number in range(20)] == [str(number) for number in range(20)]
    assert travelled() == before


def test_calls_that_travel_together_show_each_its_own_grant(road: Road) -> None:
    gate, answer = gated()
    served = road.serve(Probe(answer))
    stub, sign = road.stub(served), served.granter().sign

    def take(who: str, grant: str) -> str:
        with on_behalf_of(who, grant=grant):
            reply: str = stub.Take(Request(text=who, payment_id=who, amount=money_to_pb(Money(910, "USD")))).text
            return reply

    def agreed(who: str, amount: int = 910) -> str:
        return sign(Grant(who, "", who, "", Money(amount, "USD"), frozenset({"probe.Take"})))

    shown = {"ann": agreed("ann"), "ben": agreed("ben"), "cid": agreed("ann"), "dee": agreed("dee", 909), "eve": ""}
    calls = [partial(take, who, grant) for who, grant in shown.items()]
    before = travelled()
    outcomes = held_up_by(lambda: take("first", agreed("first")), stub.Take, gate, calls)
    assert travelled() == (before[0] + 1, before[1] + len(calls))
    assert outcomes[:2] == ["ann", "ben"]
    assert [type(each) for each in outcomes[2:]] == [GrantMismatch, GrantExceeded, GrantRequired]


def test_one_bad_call_harms_no_other(road: Road) -> None:
    gate, answer = gated(lambda request: 1 / 0 if request.text == "bad" else request.text)
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    bad = Request(basket_lines=[Line(quantity=0)])
    calls: list[Callable[[], Any]] = [
        lambda: stub.Read(Request(text="good")).text,
        lambda: stub.Read(bad),
        lambda: stub.Read(Request(text="bad")),
        lambda: stub.Read(Request(text="fine")).text,
    ]
    good, invalid, broken, fine = held_up(stub, gate, calls)
    assert (good, fine) == ("good", "fine")
    assert isinstance(invalid, InvalidArgument)
    assert invalid.fields[0].field == "basketLines[0].quantity"
    assert broken.message == "internal error"


def test_each_travels_under_its_own_name_and_ids(road: Road) -> None:
    gate, answer = gated(lambda _: f"{current_call().principal.subject} {log.context()['request_id']}")
    stub = road.stub(road.serve(Probe(answer)), "gateway")

    def called_by(name: str) -> Callable[[], str]:
        def call() -> str:
            with on_behalf_of(name, request_id=f"r-{name}"):
                return str(stub.Read(Request()).text)

        return call

    names = ["ann", "ben", "cay"]
    assert held_up(stub, gate, list(map(called_by, names))) == [f"{name} r-{name}" for name in names]


def test_a_caller_whose_time_is_over_leaves_and_the_others_are_answered(road: Road) -> None:
    gate, answer = gated()
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    first = threading.Thread(target=stub.Read, args=[Request(text="first")])
    first.start()
    assert gate.reached.wait(LONG)
    with pytest.raises(DeadlineExceeded):
        stub.Read(Request(text="hasty"), timeout=0.05)
    gate.open.set()
    assert stub.Read(Request(text="patient")).text == "patient"
    first.join(LONG)


def test_a_message_that_does_not_come_back_holds_nobody_up_for_long(road: Road) -> None:
    gate, answer = gated()
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    first = threading.Thread(target=stub.Read, args=[Request(text="first")])
    first.start()
    assert gate.reached.wait(LONG)
    replies = all_at_once([lambda: stub.Read(Request(text="later")).text] * 4)
    assert replies == ["later"] * 4
    assert first.is_alive()
    gate.open.set()
    first.join(LONG)


def doing(seen: list[int], act: Callable[[Item], Any]) -> SetForm:
    """A set form that notes how many came, and does this with each."""

    def do(items: Sequence[Item]) -> list[Any]:
        seen.append(len(items))
        return [item.run(act, item) for item in items]

    return do


def test_a_set_form_does_many_as_one_each_in_its_own_name(road: Road) -> None:
    gate, answer = gated()
    seen: list[int] = []
    do = doing(seen, lambda item: Reply(text=f"{current_call().principal.subject} {item.request.text}"))
    stub = road.stub(road.serve(SetProbe(answer, do)), "gateway")

    def call(name: str) -> str:
        with on_behalf_of(name):
            return str(stub.Read(Request(text="asks")).text)

    replies = held_up(stub, gate, [lambda: call("ann"), lambda: call("ben"), lambda: call("cay")])
    assert replies == ["ann asks", "ben asks", "cay asks"]
    assert seen == [3]


def test_a_set_form_refuses_some_and_answers_others(road: Road) -> None:
    gate, answer = gated()
    do = doing([], lambda item: Reply(text="yes") if item.request.text == "a" else NotFound("no such thing"))
    stub = road.stub(road.serve(SetProbe(answer, do)), "gateway")
    texts = ["a", "b", "a"]
    outcomes = held_up(stub, gate, [lambda text=text: stub.Read(Request(text=text)).text for text in texts])  # type: ignore[misc]
    assert [outcomes[0], str(outcomes[1]), outcomes[2]] == ["yes", "no such thing", "yes"]


def test_what_a_set_form_cannot_do_is_done_one_by_one(road: Road) -> None:
    gate, answer = gated()
    stub = road.stub(road.serve(SetProbe(answer, doing([], lambda _: 1 / 0))), "gateway")
    assert held_up(stub, gate, [lambda: stub.Read(Request(text="a")).text] * 3) == ["a"] * 3


def test_of_a_set_that_met_silence_each_hears_that_nobody_knows(road: Road) -> None:
    gate, answer = gated()

    def silent(_item: Item) -> Any:
        raise Unavailable("the database is silent").after(0.1)

    stub = road.stub(road.serve(SetProbe(answer, doing([], silent))), "gateway")
    outcomes = held_up(stub, gate, [lambda: stub.Read(Request(text="a"), timeout=LONG).text] * 3)
    assert {type(each) for each in outcomes} <= {Unavailable, str}
    assert any(isinstance(each, Unavailable) for each in outcomes)


def test_set_forms_are_of_rpcs_that_travel_together(road: Road) -> None:
    probe = SetProbe(lambda _: "", lambda _: [])
    probe.together = {"Once": lambda _: []}
    with pytest.raises(Unservable, match="Once"):
        road.serve(probe)


def test_a_server_that_opens_no_messages_is_called_plainly(road: Road) -> None:
    gate, answer = gated()
    served = road.serve(Probe(answer))
    stub = road.stub(served, "gateway")
    stub.Read._send._send = stub.Read._send._call  # to this server, an rpc that it does not take this for
    unknown = grpc.insecure_channel(served.address)
    stub.Read._send._send = unknown.unary_unary(
        "/mercato.api.batch.v1.OldService/Call", pb.CallRequest.SerializeToString, pb.CallResponse.FromString
    )
    assert held_up(stub, gate, [lambda: stub.Read(Request(text="a")).text] * 4) == ["a"] * 4
    unknown.close()


def test_only_processes_of_the_mesh_send_messages_and_none_too_large(road: Road) -> None:
    served = road.serve()
    with grpc.insecure_channel(served.address) as channel:
        send = channel.unary_unary(BATCH, pb.CallRequest.SerializeToString, pb.CallResponse.FromString)
        with pytest.raises(grpc.RpcError) as anonymous:
            send(pb.CallRequest(items=[pb.Item()]))
        with pytest.raises(grpc.RpcError) as large:
            send(pb.CallRequest(items=[pb.Item()] * (MOST + 1)), metadata=bearer(served, "order", NOBODY))
    assert code_of(anonymous) is grpc.StatusCode.UNAUTHENTICATED
    assert code_of(large) is grpc.StatusCode.INVALID_ARGUMENT


def code_of(caught: Any) -> Any:
    return caught.value.code()


def bearer(served: Served, caller: str, who: Principal) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {served.signer(caller).token('probe', who)}"),)


# The differential test: what comes alone and what comes together is answered the same, to the byte.


def behave(request: Any) -> object:
    """What handlers do: answer, refuse, break."""
    match request.text:
        case "refuse":
            raise NotFound("no such thing", what=[1, "two"])
        case "forbid":
            raise PermissionDenied("not today").after(0.5)
        case "break":
            raise ValueError("hunter2")
        case text:
            current_call().wrote("thing", len(text))
            return f"{text} {current_call().principal.subject} {current_call().only_of} {current_call().key}"


def as_one(items: Sequence[Item]) -> list[Any]:
    """The same as a set."""

    def one(item: Item) -> Any:
        try:
            return Reply(text=str(behave(item.request)))
        except Exception as raised:  # noqa: BLE001  an outcome
            return raised

    return [item.run(one, item) for item in items]


WHO = (ANN, a_guest("guest"), staff("support"), staff("finance"), staff("warehouse"), NOBODY)
TEXTS = ("milk", "bread", "", "refuse", "forbid", "x" * 500)
BROKEN = ("break",)  # rare: a defect's traceback takes longer to print than all else


def any_call(served: Served, rnd: random.Random) -> pb.Item:
    """A call of any kind: good, invalid, forbidden, without a token, unreadable, of no rpc."""
    request = Request(
        text=rnd.choice(TEXTS * 4 + BROKEN),
        user_id=rnd.choice(["", "me", "ann", "ben"]),
        request_id=rnd.choice(["", "k1", "k2"]),
        basket_lines=[Line(quantity=rnd.choice([1, 2, 0, 100])) for _ in range(rnd.choice([0, 0, 1, 2]))],
    ).SerializeToString()
    rpc = rnd.choice(["Read", "Read", "Mine", "Make", "Step", "Lost"])
    who, caller = rnd.choice(WHO), rnd.choice(["gateway", "order", "product"])
    audience = rnd.choice(["probe", "probe", "probe", "inventory"])
    token = served.signer(caller).token(audience, who)
    headers = rnd.choice([["authorization", f"Bearer {token}"]] * 9 + [["authorization", "Basic ann"]])
    return pb.Item(
        method=f"/{SERVICE.full_name}/{rpc}",
        request=rnd.choice([request] * 19 + [b"\xff"]),
        metadata=[*headers, "x-request-id", f"r{rnd.randrange(10**6)}", "x-order-id", "order"],
    )


def alone(channel: grpc.Channel, item: pb.Item) -> pb.Outcome:
    """What becomes of a call that goes by itself."""
    metadata = tuple(zip(item.metadata[::2], item.metadata[1::2], strict=True))
    rpc: Any = channel.unary_unary(item.method)
    try:
        reply, done = rpc.with_call(item.request, metadata=metadata, timeout=LONG)
        return pb.Outcome(reply=reply, trailing=_told(done))
    except grpc.RpcError as failed:
        call: Any = failed
        details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        code = call.code().value[0]
        return pb.Outcome(code=code, message=call.details(), details=details, trailing=_told(call))


def _told(call: Any) -> list[str]:
    pairs = [each for each in call.trailing_metadata() or () if each[0] != "grpc-status-details-bin"]
    return [text for pair in pairs for text in pair]


@pytest.mark.parametrize("probe", [lambda: Probe(behave), lambda: SetProbe(behave, as_one)], ids=["one", "set"])
def test_thousands_of_mixed_calls_answer_the_same_alone_and_together(road: Road, probe: Callable[[], Probe]) -> None:
    served, rnd = road.serve(probe(), threads=4), random.Random(7)
    items = [any_call(served, rnd) for _ in range(1500)]
    with grpc.insecure_channel(served.address) as channel:
        send = channel.unary_unary(BATCH, pb.CallRequest.SerializeToString, pb.CallResponse.FromString)
        metadata = bearer(served, "order", NOBODY)
        together: list[pb.Outcome] = []
        for start in range(0, len(items), 60):
            together += send(pb.CallRequest(items=items[start : start + 60]), metadata=metadata, timeout=LONG).outcomes
        apart = [alone(channel, item) for item in items]
    for item, one, other in zip(items, apart, together, strict=True):
        assert one == other, item
    assert {outcome.code for outcome in together} == {0, 3, 5, 7, 12, 13, 16}


def test_a_call_whose_time_is_over_is_refused_in_company_too(road: Road) -> None:
    seen: list[str] = []
    served = road.serve(Probe(lambda request: seen.append(request.text)))
    metadata = ["authorization", f"Bearer {served.signer('order').token('probe', NOBODY)}"]
    item = pb.Item(method=f"/{SERVICE.full_name}/Step", metadata=metadata)
    late, early = pb.Item(), pb.Item()
    late.CopyFrom(item)
    early.CopyFrom(item)
    late.request, late.remaining_us = Request(text="late").SerializeToString(), 1
    early.request, early.remaining_us = Request(text="early").SerializeToString(), 20_000_000
    with grpc.insecure_channel(served.address) as channel:
        send = channel.unary_unary(BATCH, pb.CallRequest.SerializeToString, pb.CallResponse.FromString)
        response = send(pb.CallRequest(items=[late, early]), metadata=bearer(served, "order", NOBODY), timeout=LONG)
    assert [outcome.code for outcome in response.outcomes] == [4, 0]
    assert seen == ["early"]


def test_a_crowd_of_callers_gets_what_each_would_get_alone(road: Road) -> None:
    served = road.serve(SetProbe(behave, as_one))
    stubs = {way: road.stub(served, "gateway", together=way) for way in (True, False)}

    def call(stub: ProbeServiceStub, number: int) -> list[tuple[object, ...]]:
        rnd, told = random.Random(number), list[tuple[object, ...]]()
        for _ in range(20):
            rpc = rnd.choice(["Read", "Mine", "Make", "Step"])
            request = Request(text=rnd.choice(TEXTS), user_id="me", request_id="k")
            with on_behalf_of(rnd.choice(["ann", "ben"]), request_id=f"r{number}"):
                try:
                    told.append((getattr(stub, rpc)(request, timeout=LONG).text,))
                except MercatoError as error:
                    told.append((type(error), error.message, error.metadata, error.retry_after))
        return told

    _, before = travelled()
    together = all_at_once([lambda number=number: call(stubs[True], number) for number in range(24)])  # type: ignore[misc]
    _, after = travelled()
    apart = [call(stubs[False], number) for number in range(24)]
    assert together == apart
    assert after > before


def test_replies_for_which_a_message_has_no_room_are_asked_for_alone(road: Road) -> None:
    gate, answer = gated(lambda request: request.text * (ROOM // 3))
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    calls = [lambda text=text: len(stub.Read(Request(text=text)).text) for text in "abcdefghijklmno"]
    assert held_up(stub, gate, calls) == [ROOM // 3] * 15


def test_a_message_that_is_lost_is_sent_again_for_those_who_may_be_repeated(road: Road) -> None:
    gate, answer = gated()
    stub = road.stub(road.serve(Probe(answer)), "gateway")
    nowhere = grpc.insecure_channel("127.0.0.1:1")
    stub.Read._send._send = nowhere.unary_unary(BATCH, pb.CallRequest.SerializeToString, pb.CallResponse.FromString)
    outcomes = held_up(stub, gate, [lambda: stub.Read(Request(text="a")).text] * 12)
    nowhere.close()
    assert outcomes.count("a") == 4  # as far as the budget of retries goes
    assert {type(each) for each in outcomes if each != "a"} == {Unavailable}


def test_a_lane_is_one_for_all_stubs_of_a_channel(road: Road) -> None:
    served = road.serve()
    channels = Channels(served.signer("order"), {"probe": f"ipv4:{served.address}"})
    one, other = channels.stub(ProbeServiceStub), channels.stub(ProbeServiceStub, ANN)
    assert one.Read._send is other.Read._send
    assert one.Read._send is not one.Step._send
    channels.close()
