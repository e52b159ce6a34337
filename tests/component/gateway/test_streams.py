"""The sample contract served whole: streams in and out, and two versions of one resource side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import gateway
from gateway.config import GatewayConfig
from mercato.auth import Signer
from mercato.config import Settings, load
from mercato.keys import create_keys
from tests.loop import finish

HEADERS = [(b"host", b"x"), (b"content-type", b"application/x-ndjson")]


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Shelf:
    """A service of both versions, and what it was asked."""

    def __init__(self, files: list[FileDescriptor]) -> None:
        self.v1, self.v2 = (each.services_by_name["SampleService"] for each in files)
        self.things = 3
        self.padding = 0
        self.told = 0
        self.breaks_at = -1
        self.requests: list[Any] = []

    def thing(self, **values: Any) -> Any:
        return GetMessageClass(self.v1.methods_by_name["GetThing"].output_type)(**values)

    def get_v1(self, request: Any, _: Any) -> Any:
        return self.thing(name=request.name, size=len(request.name))

    def get_v2(self, request: Any, _: Any) -> Any:
        reply = GetMessageClass(self.v2.methods_by_name["GetThing"].output_type)
        return reply(full_name=f"{request.shelf}/{request.name}", size="small")

    def watch(self, request: Any, context: Any) -> Iterator[Any]:
        for number in range(self.things):
            if number == self.breaks_at:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            self.told += 1
            yield self.thing(name=f"{request.shelf}-{number}", colour="x" * self.padding, inner={"id": str(number)})

    def bring(self, requests: Iterator[Any], _: Any) -> Any:
        self.requests = list(requests)
        reply = GetMessageClass(self.v1.methods_by_name["BringThings"].output_type)()
        reply.counts["things"] = sum(len(request.things) for request in self.requests)  # type: ignore[attr-defined]
        return reply

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        forms = {"GetThing": self.get_v1, "WatchThings": self.watch, "BringThings": self.bring}
        first = {name: _handler(self.v1.methods_by_name[name], form) for name, form in forms.items()}
        second = {"GetThing": _handler(self.v2.methods_by_name["GetThing"], self.get_v2)}
        return [
            grpc.method_handlers_generic_handler(self.v1.full_name, first),
            grpc.method_handlers_generic_handler(self.v2.full_name, second),
        ]


def _handler(rpc: Any, behaviour: Any) -> Any:
    kind = f"{'stream' if rpc.client_streaming else 'unary'}_{'stream' if rpc.server_streaming else 'unary'}"
    return getattr(grpc, f"{kind}_rpc_method_handler")(
        behaviour, GetMessageClass(rpc.input_type).FromString, lambda message: message.SerializeToString()
    )


@dataclass
class Door:
    """The gateway over that service."""

    app: Any
    shelf: Shelf
    paused: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, address: str, body: bytes = b"", **headers: str) -> Answer:
        """An answer; while `paused` is set nobody takes it."""
        path, _, query = address.partition("?")
        further = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [*HEADERS, *further],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        answer = Answer()
        came = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return came.pop() if came else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            answer.body += message.get("body", b"")
            answer.whole = not message.get("more_body", False)
            if answer.body and self.paused.is_set():
                await asyncio.Event().wait()

        await self.app(scope, receive, send)
        return answer


@asynccontextmanager
async def _opened(keys: Path, files: list[FileDescriptor]) -> AsyncIterator[Door]:
    create_keys(keys, ["gateway"])
    pool = ThreadPoolExecutor(4)
    shelf, server = Shelf(files), grpc.server(pool)
    server.add_generic_rpc_handlers(tuple(shelf.handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = {"MERCATO_NAME": "gateway", "MERCATO_TARGET_SAMPLE": f"ipv4:127.0.0.1:{port}"}
    settings, config = load(Settings, environment), load(GatewayConfig, environment)
    try:
        async with gateway(settings, config, signer=Signer.load(keys, "gateway"), files=files) as wired:
            yield Door(wired.app, shelf)
    finally:
        server.stop(None).wait()
        pool.shutdown()


@pytest.fixture
def play(tmp_path: Path, sample_files: list[FileDescriptor]) -> Callable[[Callable[[Door], Awaitable[None]]], None]:
    """Plays a story at the door of a new gateway."""

    def run(story: Callable[[Door], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with _opened(tmp_path, sample_files) as door:
                await asyncio.wait_for(story(door), 60)

        finish(whole())

    return run


def test_two_versions_of_a_resource_are_served_side_by_side(play: Any) -> None:
    async def story(door: Door) -> None:
        first, second = (
            await door.ask("GET", "/v1/shelves/7/things/saw"),
            await door.ask("GET", "/v2/shelves/7/things/saw"),
        )
        assert (first.status, json.loads(first.body)["size"]) == (200, "3")
        assert json.loads(second.body) == {"fullName": "7/saw", "size": "small"}
        assert (await door.ask("GET", "/v3/shelves/7/things/saw")).status == 404

    play(story)


def test_replies_that_stream_are_lines_of_json(play: Any) -> None:
    async def story(door: Door) -> None:
        answer = await door.ask("GET", "/v1/shelves/7/things:watch", accept="application/x-ndjson")
        assert (answer.status, answer.headers["content-type"], answer.whole) == (200, "application/x-ndjson", True)
        assert [line["name"] for line in answer.lines] == ["7-0", "7-1", "7-2"]
        parts = await door.ask("GET", "/v1/things:sizes")
        assert [line["id"] for line in parts.lines] == ["0", "1", "2"]
        door.shelf.things = 0
        assert (await door.ask("GET", "/v1/things:sizes")).body == b""
        assert (await door.ask("GET", "/v1/things:sizes", accept="application/json")).status == 406

    play(story)


def test_what_breaks_before_the_first_line_is_a_problem_and_later_the_last_line(play: Any) -> None:
    async def story(door: Door) -> None:
        door.shelf.breaks_at = 0
        refused = await door.ask("GET", "/v1/things:sizes")
        assert (refused.status, json.loads(refused.body)["reason"]) == (503, "UNAVAILABLE")
        door.shelf.breaks_at = 2
        broken = await door.ask("GET", "/v1/things:sizes")
        assert (broken.status, broken.whole, len(broken.lines)) == (200, False, 3)
        assert broken.lines[-1]["problem"]["reason"] == "UNAVAILABLE"

    play(story)


def test_whoever_reads_slowly_is_not_read_ahead_of(play: Any) -> None:
    async def story(door: Door) -> None:
        door.shelf.things, door.shelf.padding = 200, 1_000_000
        door.paused.set()
        asking = asyncio.create_task(door.ask("GET", "/v1/things:sizes"))
        seen = -1
        while door.shelf.told != seen or not seen:  # until the service is not asked for more
            seen = door.shelf.told
            await asyncio.sleep(0.2)
        asking.cancel()
        assert 0 < seen < 100

    play(story)


def test_rows_go_where_the_body_says_and_the_path_is_in_each_message(play: Any) -> None:
    async def story(door: Door) -> None:
        rows = b"".join(b'{"name": "t%d"}\n' % number for number in range(7))
        answer = await door.ask("POST", "/v1/shelves/7/things:bring?note=hello", rows)
        assert json.loads(answer.body) == {"counts": {"things": "7"}}
        assert [len(request.things) for request in door.shelf.requests] == [3, 3, 1]
        assert {(request.shelf, request.note) for request in door.shelf.requests} == {("7", "hello")}
        each = await door.ask("POST", "/v1/shelves/7:each", b'{"note": "a", "things": [{}]}\n{"note": "b"}\n')
        assert each.status == 200
        assert [(request.shelf, request.note) for request in door.shelf.requests] == [("7", "a"), ("7", "b")]

    play(story)


def test_where_a_reply_has_no_place_for_bad_rows_the_first_one_ends_the_upload(play: Any) -> None:
    async def story(door: Door) -> None:
        answer = await door.ask("POST", "/v1/shelves/7/things:bring", b'{"name": "a"}\n{"name": 5}\n{"name": 6}\n')
        assert answer.status == 400
        assert [error["field"] for error in json.loads(answer.body)["errors"]] == ["line 2: name"]
        assert (await door.ask("POST", "/v1/shelves/7/things:bring?name=a", b"")).status == 400

    play(story)


def test_the_document_of_all_forms_and_both_versions_is_valid(play: Any) -> None:
    async def story(door: Door) -> None:
        document = json.loads((await door.ask("GET", "/openapi.json")).body)
        assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
        watch = document["paths"]["/v1/shelves/{shelf}/things:watch"]["get"]["responses"]["200"]
        assert watch["content"].keys() == {"application/x-ndjson"}

    play(story)
