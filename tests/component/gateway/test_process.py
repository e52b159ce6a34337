"""The gateway as a process: it starts, ends when told or alone, and says why it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from gateway.config import GatewayConfig
from mercato.auth import create_keys
from mercato.config import BadSettings, load
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
def process(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "gateway"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
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
        assert child.wait(10) == 0


def test_it_does_not_outlive_whoever_started_it(environment: dict[str, str]) -> None:
    with process({**environment, "MERCATO_PARENT_PID": "1"}) as child:
        assert child.wait(20) == 0


def test_a_port_that_somebody_has_is_told(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with process({**environment, "MERCATO_GATEWAY_ADDRESS": address}) as child:
            _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (2, f"mercato: cannot listen at {address}: Address already in use\n")


@pytest.mark.parametrize(("name", "value"), [("ADDRESS", "nowhere"), ("ADDRESS", "a:99999"), ("DEADLINE", "soon")])
def test_settings_that_cannot_be_are_refused(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=value):
        load(GatewayConfig, {f"MERCATO_GATEWAY_{name}": value})


def test_single_rpcs_may_have_deadlines_of_their_own() -> None:
    config = load(GatewayConfig, {"MERCATO_GATEWAY_DEADLINES": "PlaceOrder=4s, SearchProducts=200ms"})
    assert config.deadlines == {"PlaceOrder": timedelta(seconds=4), "SearchProducts": timedelta(milliseconds=200)}
