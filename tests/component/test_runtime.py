"""The life of a process, seen from outside."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mercato.auth import Signer
from mercato.errors import Unavailable
from mercato.keys import create_keys
from mercato.rpc.call import NOBODY
from mercato.rpc.channel import Channels
from tests.probe import SERVICE, ProbeServiceStub, Request

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0


class Bakery:
    """One process, its log, and ways to reach it."""

    def __init__(self, keys: Path, **environment: str) -> None:
        self._keys = keys
        settings = {
            "MERCATO_NAME": "probe",
            "MERCATO_KEYS": str(keys),
            "MERCATO_METRICS_ADDRESS": "127.0.0.1:0",
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bakery"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read the log up to an event."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event} in {self.lines}: {self.process.stderr and self.process.stderr.read()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end; the exit status."""
        assert self.process.stdout
        # Not by communicate(): it passes by what the reader above has already taken from the pipe.
        self.lines += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(timeout=LONG)

    def events(self) -> list[str]:
        """What the log tells."""
        return [line["event"] for line in self.lines]

    def channels(self, port: int) -> Channels:
        """Channels to the process."""
        return Channels(Signer.load(self._keys, "order"), {"probe": f"ipv4:127.0.0.1:{port}"})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of keys."""
    create_keys(tmp_path / "keys", ["probe", "order", "gateway"])
    return tmp_path / "keys"


@pytest.fixture
def bakeries() -> Iterator[list[Bakery]]:
    """Processes, gone at the end."""
    started: list[Bakery] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate(timeout=LONG)


def health(port: int, service: str = "") -> int:
    """What the health server says."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(request, timeout=LONG).status
        return status


def test_a_process_lives_from_ready_to_closed(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys)
    bakeries.append(bakery)
    ready = bakery.until("process.ready")
    assert health(ready["health"]) == health_pb2.HealthCheckResponse.SERVING
    assert health(ready["health"], "readiness") == health_pb2.HealthCheckResponse.SERVING
    assert health(ready["health"], "liveness") == health_pb2.HealthCheckResponse.SERVING
    channels = bakery.channels(ready["grpc"])
    reply = channels.stub(ProbeServiceStub, NOBODY).Once(Request(text="bread"))
    channels.close()
    assert reply.text.startswith("bread")
    assert bakery.end() == 0
    assert "worker.failed" in bakery.events()  # and it went on
    assert bakery.events()[-2:] == ["closed", "process.ended"]
    assert bakery.lines[-1]["clean"] is True


def test_a_call_under_way_at_sigterm_is_answered(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys, MERCATO_BAKERY_BAKES="2s")
    bakeries.append(bakery)
    ready = bakery.until("process.ready")
    channels = bakery.channels(ready["grpc"])
    stub = channels.stub(ProbeServiceStub, NOBODY)
    outcomes: list[Any] = []

    def call() -> None:
        outcomes.append(stub.Once(Request(text="bread")).text)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    while bakery_in_flight(bakery) < 4:
        assert not outcomes
    assert bakery.end() == 0
    for caller in callers:
        caller.join(LONG)
    channels.close()
    assert len(outcomes) == 4
    assert bakery.lines[-1]["clean"] is True


def bakery_in_flight(bakery: Bakery) -> int:
    """How many calls the process says it is answering."""
    if "metrics.ready" not in bakery.events():
        bakery.until("metrics.ready")
    address = next(line["address"] for line in bakery.lines if line["event"] == "metrics.ready")
    page = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    return int(float(next(line for line in page.splitlines() if line.startswith("mercato_rpc_in_flight ")).split()[1]))


@contextmanager
def a_fifth_of_the_processor(pid: int) -> Iterator[None]:
    """Within the block, a process has so much of a processor as a quota would give it: a slice now and then."""
    over = threading.Event()

    def slices() -> None:
        while not over.wait(0.02):
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.08)
            os.kill(pid, signal.SIGCONT)

    slicing = threading.Thread(target=slices)
    slicing.start()
    try:
        yield
    finally:
        over.set()
        slicing.join()


def test_f60_a_process_that_starves_is_never_taken_for_dead_and_does_its_work(
    keys: Path, bakeries: list[Bakery]
) -> None:
    bakery = Bakery(keys)
    bakeries.append(bakery)
    ready = bakery.until("process.ready")
    channels = bakery.channels(ready["grpc"])
    stub = channels.stub(ProbeServiceStub, NOBODY)
    with a_fifth_of_the_processor(bakery.process.pid):
        baked = [int(stub.Once(Request(text="bread"), timeout=LONG).text.split()[1]) for _ in range(5)]
        for probe in 5 * ("readiness", "liveness"):
            assert health(ready["health"], probe) == health_pb2.HealthCheckResponse.SERVING
        while int(stub.Once(Request(text="bread"), timeout=LONG).text.split()[1]) <= baked[-1]:
            assert bakery.process.poll() is None  # its worker goes on, too
    channels.close()
    assert bakery.end() == 0
    assert bakery.lines[-1]["clean"] is True


def test_a_process_without_the_role_does_not_serve(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys, MERCATO_ROLES="process")
    bakeries.append(bakery)
    ready = bakery.until("process.ready")
    assert ready["grpc"] is None
    assert health(ready["health"]) == health_pb2.HealthCheckResponse.SERVING
    assert bakery.end(signal.SIGINT) == 0


def test_reflection_is_for_development_alone(keys: Path, tmp_path: Path, bakeries: list[Bakery]) -> None:
    create_keys(tmp_path / "production", ["probe"], development=False)
    development = Bakery(keys)
    production = Bakery(tmp_path / "production", MERCATO_ENVIRONMENT="production", MERCATO_SECRET="of-its-own")
    bakeries += [development, production]
    assert SERVICE.full_name in reflected(development)
    with pytest.raises(grpc.RpcError) as refused:
        reflected(production)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def reflected(bakery: Bakery) -> list[str]:
    """The services that a process tells of."""
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    port = bakery.until("process.ready")["grpc"]
    bakery.until("metrics.ready")  # the last of what comes late
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(ask, timeout=LONG)
        return [each.name for answer in answers for each in answer.list_services_response.service]


def test_a_process_ends_with_its_parent(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys, MERCATO_PARENT_PID="1")
    bakeries.append(bakery)
    assert bakery.ended() == 0
    assert "process.orphaned" in bakery.events()


def test_a_setting_that_is_missing_is_one_sentence(bakeries: list[Bakery], keys: Path) -> None:
    bakery = Bakery(keys, MERCATO_THREADS="lots")
    bakeries.append(bakery)
    _, complaint = bakery.process.communicate(timeout=LONG)
    assert bakery.process.returncode == 1
    assert complaint.startswith("mercato: THREADS")
    assert "Traceback" not in complaint


def test_production_does_not_start_on_what_everybody_knows(keys: Path, bakeries: list[Bakery]) -> None:
    known_secret = Bakery(keys, MERCATO_ENVIRONMENT="production")
    known_keys = Bakery(keys, MERCATO_ENVIRONMENT="production", MERCATO_SECRET="of-its-own")
    bakeries += [known_secret, known_keys]
    _, complaint = known_secret.process.communicate(timeout=LONG)
    assert "MERCATO_SECRET" in complaint
    assert known_keys.ended() == 2
    assert "development" in next(line for line in known_keys.lines if line["event"] == "process.unfit")["problem"]


def test_a_process_that_cannot_be_built_says_why_and_ends(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys, MERCATO_BAKERY_BROKEN="no flour")
    bakeries.append(bakery)
    assert bakery.ended() == 1
    assert "no flour" in next(line for line in bakery.lines if line["event"] == "process.failed")["exception"]


def test_an_address_in_use_is_told(keys: Path, bakeries: list[Bakery]) -> None:
    first = Bakery(keys)
    bakeries.append(first)
    port = first.until("process.ready")["grpc"]
    second = Bakery(keys, MERCATO_GRPC_ADDRESS=f"127.0.0.1:{port}")
    bakeries.append(second)
    assert second.ended() == 1
    assert str(port) in json.dumps(second.lines)


def test_after_the_end_there_is_nobody_to_call(keys: Path, bakeries: list[Bakery]) -> None:
    bakery = Bakery(keys)
    bakeries.append(bakery)
    ready = bakery.until("process.ready")
    bakery.end()
    channels = bakery.channels(ready["grpc"])
    with pytest.raises(Unavailable):
        channels.stub(ProbeServiceStub, NOBODY).Once(Request(), timeout=LONG)
    channels.close()
