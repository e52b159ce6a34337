"""The gateway's calls that travel together, over a real port: each is answered as if it had gone alone."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import grpc.aio
import pytest

from gateway.calls import Caller, Visit
from gateway.channels import Channels
from mercato import log
from mercato.errors import DeadlineExceeded
from mercato.rpc import Principal
from mercato.rpc.batch import MESSAGES, PASSENGERS, ROOM
from mercato.rpc.call import NOBODY
from mercato.testing import Served, a_customer, a_guest, serve, staff
from tests.component.test_together import LONG, Gate, SetProbe, as_one, behave, gated
from tests.loop import finish
from tests.probe import SERVICE, Line, Probe, Request

CALLS, DIFFERENT = 10_000, 1_000
AT_ONCE = 64
WHO = (a_customer("ann"), a_customer("ben"), a_guest("guest"), staff("support"), staff("finance"), NOBODY)
TEXTS = ("milk", "bread", "", "refuse", "forbid", "x" * 500)


class Edge:
    """A server, and the gateway's way to it."""

    def __init__(self, served: Served, *, together: bool = True, seconds: float = LONG) -> None:
        self.channels = Channels({served.name: f"ipv4:{served.address}"}, together=together)
        self._caller = Caller(self.channels, served.signer("gateway"), timedelta(seconds=seconds), {})

    async def call(self, text: str = "", rpc: str = "Read", who: Principal = NOBODY, visit: Visit | None = None) -> Any:
        """The text that is answered."""
        request = Request(text=text, user_id="me" if who is not NOBODY else "")
        return (await self._caller.call(SERVICE.methods_by_name[rpc], request, visit or Visit(), who)).message.text

    async def told(self, number: int) -> tuple[object, ...]:
        """What becomes of the call that has a number: good, bad, forbidden, late; by this one or that one."""
        rnd = random.Random(number)
        rpc, who = SERVICE.methods_by_name[rnd.choice(["Read", "Read", "Mine", "Make"])], rnd.choice(WHO)
        request = Request(
            text=rnd.choice(TEXTS) if rnd.randrange(250) else "break",
            user_id=rnd.choice(["", "me", "ann", "ben"]),
            request_id=rnd.choice(["", "k1", "k2"]),
            basket_lines=[Line(quantity=rnd.choice([1, 2, 99, 0]))] if not rnd.randrange(5) else [],
        )
        visit = Visit(began=time.monotonic() - (0 if rnd.randrange(50) else 2 * LONG))
        with log.bound(request_id=f"r{number}"):
            try:
                reply = await self._caller.call(rpc, request, visit, who)
                return reply.message.SerializeToString(), reply.headers
            except grpc.aio.AioRpcError as refused:
                return refused.code(), refused.details(), sorted(refused.trailing_metadata() or ())
            except DeadlineExceeded as late:
                return type(late), late.message


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as stack:
        yield stack


def within(edge: Edge, act: Callable[[], Awaitable[Any]]) -> Any:
    """What comes of some calls."""

    async def main() -> Any:
        try:
            return await asyncio.wait_for(act(), 60.0)
        finally:
            await edge.channels.close()

    return finish(main())


async def held_up(edge: Edge, gate: Gate, calls: Sequence[Awaitable[Any]]) -> list["asyncio.Task[Any]"]:
    """Tasks of calls that have come while a first one is under way."""
    first = asyncio.ensure_future(edge.call("first"))
    assert await asyncio.to_thread(gate.reached.wait, LONG)
    tasks = [asyncio.ensure_future(each) for each in calls]
    await asyncio.sleep(0)
    assert not first.done()
    return [first, *tasks]


def travelled() -> tuple[float, float]:
    return MESSAGES.value(), PASSENGERS.value()


def test_ten_thousand_mixed_calls_answer_the_same_alone_and_together(stack: ExitStack) -> None:
    served = stack.enter_context(serve(SetProbe(behave, as_one), threads=4, waiting=2 * AT_ONCE))

    def told(calls: int, *, together: bool) -> dict[int, tuple[object, ...]]:
        edge, found, numbers = Edge(served, together=together), dict[int, tuple[object, ...]](), iter(range(calls))

        async def some() -> None:
            for number in numbers:
                found[number] = await edge.told(number % DIFFERENT)

        async def all_of_them() -> None:
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))

        within(edge, all_of_them)
        return found

    alone, before = told(DIFFERENT, together=False), travelled()
    in_company = told(CALLS, together=True)
    assert in_company == {number: alone[number % DIFFERENT] for number in range(CALLS)}
    assert travelled()[1] - before[1] > CALLS / 2
    codes = {each[0].name for each in alone.values() if isinstance(each[0], grpc.StatusCode)}
    assert codes == {"INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "INTERNAL"}


def test_who_comes_while_a_call_is_under_way_travels_in_one_message(stack: ExitStack) -> None:
    gate, answer = gated()
    edge, (messages, passengers) = Edge(stack.enter_context(serve(Probe(answer)))), travelled()

    async def act() -> list[str]:
        tasks = await held_up(edge, gate, [edge.call(f"call {number}") for number in range(8)])
        gate.open.set()
        return list(await asyncio.gather(*tasks))

    assert within(edge, act) == ["first", *(f"call {number}" for number in range(8))]
    assert travelled() == (messages + 1, passengers + 8)


def test_one_after_the_other_calls_go_plainly(stack: ExitStack) -> None:
    edge, before = Edge(stack.enter_context(serve(Probe()))), travelled()

    async def act() -> list[str]:
        return [await edge.call(str(number)) for number in range(20)]

    assert within(edge, act) == [str(number) for number in range(20)]
    assert travelled() == before


def test_a_caller_who_leaves_takes_nothing_from_the_others(stack: ExitStack) -> None:
    gate, answer = gated()
    edge = Edge(stack.enter_context(serve(Probe(answer))))

    async def act() -> list[Any]:
        first, *tasks = await held_up(edge, gate, [edge.call(f"call {number}") for number in range(4)])
        tasks[1].cancel()  # while it waits for its turn
        first.cancel()  # while it is under way, alone: the next message goes at once
        told = await asyncio.gather(*tasks, return_exceptions=True)
        gate.open.set()
        return told

    told = within(edge, act)
    assert [told[0], told[2], told[3]] == ["call 0", "call 2", "call 3"]
    assert isinstance(told[1], asyncio.CancelledError)


def test_a_caller_who_leaves_a_message_under_way_takes_nothing_from_the_others(stack: ExitStack) -> None:
    second, (gate, answer) = Gate(), gated()

    def answer_behind_both(request: Any) -> object:
        if request.text.startswith("call"):
            second.pass_through()
        return answer(request)

    edge = Edge(stack.enter_context(serve(Probe(answer_behind_both))))

    async def act() -> list[Any]:
        tasks = await held_up(edge, gate, [edge.call(f"call {number}") for number in range(4)])
        gate.open.set()
        assert await asyncio.to_thread(second.reached.wait, LONG)
        tasks[2].cancel()
        await asyncio.sleep(0)
        second.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    told = within(edge, act)
    assert [told[0], told[1], told[3], told[4]] == ["first", "call 0", "call 2", "call 3"]
    assert isinstance(told[2], asyncio.CancelledError)


def test_a_caller_whose_time_is_over_leaves_and_the_others_are_answered(stack: ExitStack) -> None:
    gate, answer = gated()
    edge = Edge(stack.enter_context(serve(Probe(answer))))

    async def act() -> Any:
        late = Visit(began=time.monotonic() - LONG + 0.1)
        tasks = await held_up(edge, gate, [edge.call("patient"), edge.call("hasty", visit=late)])
        with pytest.raises((grpc.aio.AioRpcError, DeadlineExceeded)) as refused:
            await tasks[2]
        gate.open.set()
        if isinstance(refused.value, grpc.aio.AioRpcError):  # else the machine was so busy that it never set out
            assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return await asyncio.gather(*tasks[:2])

    assert within(edge, act) == ["first", "patient"]


def test_a_message_that_does_not_come_back_is_overtaken(stack: ExitStack) -> None:
    gate, answer = gated()
    edge = Edge(stack.enter_context(serve(Probe(answer))))

    async def act() -> list[str]:
        first, *tasks = await held_up(edge, gate, [edge.call(f"call {number}") for number in range(3)])
        told = await asyncio.gather(*tasks)
        assert not first.done()
        gate.open.set()
        return [await first, *told]

    assert within(edge, act) == ["first", "call 0", "call 1", "call 2"]


def test_replies_for_which_a_message_has_no_room_are_asked_for_alone(stack: ExitStack) -> None:
    gate, answer = gated(lambda request: request.text * (ROOM // 3))
    edge = Edge(stack.enter_context(serve(Probe(answer))))

    async def act() -> list[str]:
        tasks = await held_up(edge, gate, [edge.call(text) for text in "abcdefghijklmno"])
        gate.open.set()
        return list(await asyncio.gather(*tasks[1:]))

    assert [(each[0], len(each)) for each in within(edge, act)] == [(each, ROOM // 3) for each in "abcdefghijklmno"]


def test_a_message_that_is_lost_is_sent_again_for_those_who_may_be_repeated(stack: ExitStack) -> None:
    gate, answer = gated()
    edge = Edge(stack.enter_context(serve(Probe(answer))))

    async def act() -> list[Any]:
        travel = edge.channels.travel(SERVICE.methods_by_name["Read"], "probe", list)
        assert travel
        nowhere = grpc.aio.insecure_channel("127.0.0.1:1")
        post: Any = nowhere.unary_unary
        travel._message_by = post("/lost", lambda message: message.SerializeToString(), None)
        tasks = await held_up(edge, gate, [edge.call("a") for _ in range(12)])
        gate.open.set()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        await nowhere.close()
        return told

    told = within(edge, act)
    assert told.count("a") == 4  # as far as the budget of retries goes
    assert {each.code() for each in told if not isinstance(each, str)} == {grpc.StatusCode.UNAVAILABLE}
