"""Streams and watched orders by themselves: whatever comes when, everybody hears everything once."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

from gateway.calls import Visit
from gateway.live.frame import Frame
from gateway.live.places import Places, room_for
from gateway.live.stream import Stream, Visitor
from gateway.live.watch import Watch, Watched
from gateway.live.wire import Ending
from gateway.problems import Problem
from mercato.api.order.v1 import order_pb2
from mercato.errors import Unavailable
from mercato.rpc.call import Principal

WHO = Visitor("token", Principal("customer"), Visit())


class Client:
    """A wire whose client notes what it hears, and holds it back while `free` is not set."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.ended: Ending | None = None
        self.beats = 0
        self.free = asyncio.Event()
        self.free.set()
        self.busy = asyncio.Event()
        self.left = asyncio.Event()

    async def open(self) -> None:
        return

    async def tell(self, frames: Sequence[Frame]) -> None:
        await self._held()
        self.heard += [frame.version for frame in frames]

    async def beat(self) -> None:
        self.beats += 1
        await self._held()

    async def end(self, ending: Ending) -> None:
        self.ended = ending

    async def gone(self) -> None:
        await self.left.wait()

    async def _held(self) -> None:
        self.busy.set()
        await self.free.wait()
        self.busy.clear()


class Order:
    """An order that is watched, and what happened to it."""

    def __init__(self) -> None:
        self.watch, self.events, self.fails = Watch(), [entry(1)], 0

    async def read(self, _order_id: str, after: int, _visitor: Visitor) -> list[order_pb2.OrderEvent]:
        found = [each for each in self.events if each.version > after]
        await asyncio.sleep(0)  # a question takes time, in which other things happen
        if self.fails:
            self.fails -= 1
            raise Unavailable
        return found

    def happens(self) -> None:
        """Something is committed."""
        self.events.append(entry(self.events[-1].version + 2))


def entry(version: int) -> order_pb2.OrderEvent:
    return order_pb2.OrderEvent(version=version, type="OrderReady")


def watch(watched: Watched, after: int, fresh: Sequence[Any], client: Client) -> "tuple[Stream, asyncio.Task[None]]":
    """Follow an order from a version on, with what is known already."""
    stream = Stream(watched, WHO, after, [Frame.of(each) for each in fresh], patience=30)
    watched.streams.append(stream)
    return stream, asyncio.ensure_future(stream.live(client))


async def settled() -> None:
    """Let whatever is under way come to its end."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_what_happens_while_a_stream_says_that_it_lives_is_told_at_once() -> None:
    async def act() -> None:
        order, client = Order(), Client()
        with order.watch.of("order", order.read) as watched:
            stream, living = watch(watched, 1, [], client)
            await settled()
            client.free.clear()
            stream.beat()
            await client.busy.wait()
            order.happens()
            order.watch.hint(["order"])
            await settled()
            client.free.set()
            await settled()
            assert (client.beats, client.heard) == (1, [3])
            client.left.set()
            await living

    asyncio.run(act())


class Scene:
    """An order, and those who come to watch it and go, in any order."""

    def __init__(self, order: Order, watched: Watched) -> None:
        self.order, self.watched = order, watched
        self.clients: list[tuple[int, Client]] = []

    async def happens(self) -> None:
        self.order.happens()
        await self.hint()

    async def hint(self) -> None:
        self.order.watch.hint(["order"])

    async def fails(self) -> None:
        self.order.fails += 1

    async def come(self, after: int = 0) -> None:
        """Open a stream as the gateway does: read, while things happen, then follow."""
        hints = self.watched.hints
        fresh = [each for each in self.order.events if each.version > after]
        await asyncio.sleep(0)
        client = Client()
        self.clients.append((after, client))
        watch(self.watched, after, fresh, client)
        if self.watched.hints != hints:
            self.watched.hint()

    async def come_late(self) -> None:
        await self.come(self.order.events[-1].version)

    async def come_back(self) -> None:
        """The first client loses its connection, and comes back after what it heard last."""
        if self.clients:
            after, client = self.clients.pop(0)
            client.left.set()
            await settled()
            await self.come(client.heard[-1] if client.heard else after)

    async def stalls(self) -> None:
        """The client that came last reads nothing for a while."""
        if self.clients:
            self.clients[-1][1].free.clear()

    async def end(self) -> None:
        """Everybody has heard everything, once."""
        self.order.fails = 0
        for _, client in self.clients:
            client.free.set()
        await settled()
        if self.watched.stale:  # which is looked after, once a second
            await self.hint()
        await settled()
        for after, client in self.clients:
            assert client.heard == [each.version for each in self.order.events if each.version > after]
            client.left.set()
        await settled()


STEPS = ["happens"] * 3 + ["come", "come_late", "come_back", "stalls", "hint", "fails"]


def test_whoever_comes_and_goes_hears_everything_once() -> None:
    async def act(random: Random) -> None:
        order = Order()
        with order.watch.of("order", order.read) as watched:
            scene = Scene(order, watched)
            for step in ["come", "come", *random.choices(STEPS, k=random.randint(1, 20))]:
                await getattr(scene, step)()
                for _ in range(random.randint(0, 3)):
                    await asyncio.sleep(0)
            await scene.end()

    for seed in range(250):
        asyncio.run(act(Random(seed)))


def test_places_are_given_back_whatever_ends_a_stream() -> None:
    places = Places(most=2, each=1, address=2)
    with ExitStack() as stack:
        stack.enter_context(places.taken("a", "here"))
        assert [refused(places, "a", "there"), refused(places, "b", "here")] == ["TOO_MANY_STREAMS", ""]
        stack.enter_context(places.taken("b", "here"))
        assert refused(places, "c", "there") == "OVERLOADED"
    with suppress(ZeroDivisionError), places.taken("a", "here"):
        raise ZeroDivisionError
    assert places.open == 0
    assert refused(places, "a", "here") == ""


def refused(places: Places, subject: str, sender: str) -> str:
    """Why there is no place; nothing if there is one, which is left at once."""
    try:
        with places.taken(subject, sender):
            return ""
    except Problem as problem:
        return problem.reason


def test_there_is_no_room_for_more_streams_than_descriptors() -> None:
    assert 0 < room_for(10**9) < 10**9
    assert room_for(10) == 10
