"""The gateway as a process: it starts, ends when told or alone, and says why it cannot start."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import httpx
import pytest

from gateway.config import GatewayConfig
from mercato.config import BadSettings, load
from mercato.keys import create_keys
from mercato.local.server import free_port


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    create_keys(tmp_path, ["gateway"])
    return {
        **os.environ,
        "MERCATO_NAME": "gateway",
        "MERCATO_KEYS": str(tmp_path),
        "MERCATO_GATEWAY_ADDRESS": f"127.0.0.1:{free_port()}",
    }


@contextmanager
def process(environment: dict[str, str], door: socket.socket | None = None) -> Iterator["subprocess.Popen[str]"]:
    shared = {"MERCATO_GATEWAY_LISTENER": str(door.fileno())} if door else {}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        env=environment | shared,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(door.fileno(),) if door else (),
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def line(output: IO[str] | None, event: str) -> dict[str, Any]:
    """The first line of a log that tells of the event."""
    assert output
    found: dict[str, Any] = next(each for each in map(json.loads, output) if each["event"] == event)
    return found


def test_it_answers_logs_each_request_on_one_line_and_ends_when_told(environment: dict[str, str]) -> None:
    with process(environment) as child, httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
        address = line(child.stdout, "gateway.ready")["address"]
        client.get(f"http://{address}/v1/orders/%0d%0aforged", headers={"X-Request-Id": "r-1"})
        logged = line(child.stdout, "http.request")
        assert (logged["request_id"], logged["status"], logged["route"]) == ("r-1", 401, "/v1/orders/{id}")
        assert logged["path"] == "/v1/orders/\r\nforged"
        child.send_signal(signal.SIGTERM)
        assert line(child.stdout, "gateway.ended")
        assert child.wait(60) == 0


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
# However a request ends, and whichever way it goes: method, path, what it says beside that, and its answer.
ONE_LINE_EACH: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("GET", "/v1/products", {}, 503),  # nobody is there who could answer: the short way
    ("GET", "/v1/products", {"Authorization": "Basic x"}, 401),
    ("GET", "/nowhere", {}, 404),
    ("DELETE", "/v1/products", {}, 405),
    ("HEAD", "/openapi.json", {}, 200),
    ("GET", "/openapi.json", {"If-None-Match": "*"}, 304),
    ("OPTIONS", "/v1/products", {}, 204),
    ("GET", "/v1/products/" + "x" * 9000, {}, 414),
    ("GET", "/v1/products", {"X-Much": "x" * 17_000}, 431),
    ("GET", "/v1/orders/1/events", UPGRADE, 401),
)


def test_every_request_has_one_line_in_the_log(environment: dict[str, str]) -> None:
    with process(environment) as child, httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
        address = line(child.stdout, "gateway.ready")["address"]
        for number, (method, path, headers, status) in enumerate(ONE_LINE_EACH):
            answer = client.request(
                method, f"http://{address}{path}", headers={"X-Request-Id": f"r-{number}", **headers}
            )
            assert answer.status_code == status, (method, path[:40])
        child.send_signal(signal.SIGTERM)
        assert child.stdout
        logged = [json.loads(each) for each in child.stdout if '"http.request"' in each]
    found = Counter((each["request_id"], each["method"], each["status"]) for each in logged)
    assert found == Counter((f"r-{number}", each[0], each[3]) for number, each in enumerate(ONE_LINE_EACH))


def test_what_is_shed_is_told_and_has_its_line_whichever_way_it_goes(environment: dict[str, str]) -> None:
    asked = [("GET", "/v1/products"), ("GET", "/v1/orders"), ("POST", "/v1/sessions"), ("HEAD", "/v1/products")]
    full = {**environment, "MERCATO_GATEWAY_MOST_REQUESTS": "0"}
    with process(full) as child, httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
        address = line(child.stdout, "gateway.ready")["address"]
        for method, path in asked:
            answer = client.request(method, f"http://{address}{path}", headers={"X-Request-Id": f"{method}-{path[4:]}"})
            assert (answer.status_code, int(answer.headers["Retry-After"]) >= 1) == (503, True), path
            assert method == "HEAD" or answer.json()["reason"] == "OVERLOADED"
        assert client.get(f"http://{address}/healthz").status_code == 200
        child.send_signal(signal.SIGTERM)
        assert child.stdout
        logged = [json.loads(each) for each in child.stdout if '"http.request"' in each]
    found = [(each["request_id"], each["method"], each["route"], each["status"]) for each in logged]
    assert Counter(found) == Counter((f"{method}-{path[4:]}", method, path, 503) for method, path in asked)


class Visitor(Thread):
    """Somebody who asks again and again on a connection that is kept, until it is closed by an answer."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.answers = Counter[Any]()
        self.asked, self.leave = Event(), Event()
        self._connection = HTTPConnection(address[0], address[1], timeout=30)

    def run(self) -> None:
        while not self.leave.is_set():
            try:
                self._connection.request("GET", "/healthz")
                answer = self._connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
            except (OSError, HTTPException) as failed:
                self.answers[repr(failed)] += 1
                self._connection.close()
            self.asked.set()
        self._connection.close()


def test_whoever_takes_over_a_door_nobody_is_turned_away(environment: dict[str, str]) -> None:
    environment = environment | {"MERCATO_LEAVE_FIRST": "2s"}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door, process(environment, door) as old:
        visitors = [Visitor(door.getsockname()) for _ in range(8)]
        for visitor in visitors:
            visitor.start()
        line(old.stdout, "gateway.ready")
        with process(environment, door) as new:
            line(new.stdout, "gateway.ready")
            old.send_signal(signal.SIGTERM)
            assert old.wait(60) == 0
            for visitor in visitors:  # each is answered by the new one
                visitor.asked.clear()
                assert visitor.asked.wait(60)
                visitor.leave.set()
                visitor.join()
    answers = sum((visitor.answers for visitor in visitors), Counter[Any]())
    assert set(answers) == {200}


def test_a_gateway_without_file_descriptors_answers_again_when_it_has_some(environment: dict[str, str]) -> None:
    with process(environment) as child, ExitStack() as held:
        host, _, port = line(child.stdout, "gateway.ready")["address"].partition(":")
        assert _answers(host, int(port), within=60)
        few = len(list(Path(f"/proc/{child.pid}/fd").iterdir())) + 8
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (few, hard))
        for _ in range(32):
            held.enter_context(socket.create_connection((host, int(port))))
        assert not _answers(host, int(port), within=2)
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (soft, hard))
        held.close()
        assert _answers(host, int(port), within=60)
        assert child.poll() is None


def _answers(host: str, port: int, within: float) -> bool:
    connection = HTTPConnection(host, port, timeout=within)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def test_it_does_not_outlive_whoever_started_it(environment: dict[str, str]) -> None:
    with process({**environment, "MERCATO_PARENT_PID": "1"}) as child:
        assert child.wait(60) == 0


def test_a_port_that_somebody_has_is_told(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with process({**environment, "MERCATO_GATEWAY_ADDRESS": address}) as child:
            _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (2, f"mercato: cannot listen at {address}: Address already in use\n")


@pytest.mark.parametrize(("name", "value"), [("ADDRESS", "nowhere"), ("ADDRESS", "a:99999"), ("DEADLINE", "soon")])
def test_settings_that_cannot_be_are_refused(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=value):
        load(GatewayConfig, {f"MERCATO_GATEWAY_{name}": value})


def test_single_rpcs_may_have_deadlines_of_their_own() -> None:
    config = load(GatewayConfig, {"MERCATO_GATEWAY_DEADLINES": "PlaceOrder=4s, SearchProducts=200ms"})
    assert config.deadlines == {"PlaceOrder": timedelta(seconds=4), "SearchProducts": timedelta(milliseconds=200)}
