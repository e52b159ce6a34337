"""Operations through the gateway: the service is in the path, and only admin gets through."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import gateway
from gateway.config import GatewayConfig
from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.api.user.v1 import user_pb2
from mercato.auth import Signer, Verifier
from mercato.config import Settings, load
from mercato.errors import NotFound
from mercato.keys import create_keys
from mercato.parking import StillRefused
from mercato.rpc.enforce import Enforced, Traffic
from mercato.rpc.server import Server
from mercato.testing import CALLERS
from tests.loop import finish

WHO = {"admin": ["admin"], "support": ["support"], "finance": ["finance"], "customer": ["customer"]}


class Users:
    """Knows everybody's session: the token is the name of the role."""

    contract = user_pb2.DESCRIPTOR.services_by_name["UserService"]

    def __getattr__(self, rpc: str) -> Any:
        if rpc not in self.contract.methods_by_name:
            raise AttributeError(rpc)
        return self.look_up

    def look_up(self, request: Any, _: Any) -> user_pb2.SessionIdentity:
        for name, roles in WHO.items():
            if request.token_hash == hashlib.sha256(name.encode()).hexdigest():
                identity = user_pb2.SessionIdentity(session_id="s", subject=f"the-{name}", roles=roles)
                identity.expire_time.FromJsonString("2100-01-01T00:00:00Z")
                return identity
        raise NotFound


class Operations:
    """One service's operations."""

    contract = pb.DESCRIPTOR.services_by_name["OpsService"]

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Any] = []

    def __getattr__(self, rpc: str) -> Any:
        if rpc not in self.contract.methods_by_name:
            raise AttributeError(rpc)
        return self.answer

    def answer(self, request: Any, _: Any) -> Any:
        self.asked.append(request)
        match request:
            case pb.GetOperationsRequest():
                return pb.Operations(service=self.name, dead_letters=2)
            case pb.RedriveDeadLetterRequest(id="1"):
                raise StillRefused("ValueError: no sense", 1, 2)
            case pb.DiscardDeadLetterRequest() | pb.RedriveDeadLetterRequest():
                return pb.Redriven(applied=3)
            case pb.ListStuckRequest():
                return pb.ListStuckResponse(stuck=[pb.Stuck(id="o", waits_for="money")])
            case pb.AuditServiceRequest():
                return pb.Audit(rules=4)
        raise NotFound


class Desk:
    """The gateway, asked by whoever."""

    def __init__(self, client: httpx.AsyncClient, services: dict[str, Operations]) -> None:
        self._client = client
        self.services = services

    def ask(self, method: str, path: str, who: str = "admin") -> httpx.Response:
        headers = {"Authorization": f"Bearer {who}"} if who else {}
        return finish(self._client.request(method, path, headers=headers))


@asynccontextmanager
async def _opened(keys: Path, ports: dict[str, int]) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"MERCATO_NAME": "gateway", "MERCATO_KEYS": str(keys)}
    environment |= {f"MERCATO_TARGET_{name.upper()}": f"ipv4:127.0.0.1:{port}" for name, port in ports.items()}
    settings, config = load(Settings, environment), load(GatewayConfig, environment)
    async with gateway(settings, config, signer=Signer.load(keys, "gateway")) as wired:
        transport = httpx.ASGITransport(wired.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            yield client


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    keys, services = tmp_path_factory.mktemp("keys"), {"order": Operations("order")}
    create_keys(keys, CALLERS)
    servicers: dict[str, Any] = {**services, "user": Users()}
    servers = {
        name: Server([Enforced(each, Verifier(keys, name), Traffic())], address="127.0.0.1:0")
        for name, each in servicers.items()
    }
    for server in servers.values():
        server.start()
    opened = _opened(keys, {name: server.port for name, server in servers.items()})
    yield Desk(finish(opened.__aenter__()), services)
    finish(opened.__aexit__(None, None, None))
    for server in servers.values():
        server.stop(0)


def test_the_service_in_the_path_answers(desk: Desk) -> None:
    answer = desk.ask("GET", "/v1/ops/order")
    assert answer.status_code == 200
    assert answer.json()["service"] == "order"
    assert answer.json()["deadLetters"] == "2"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/ops/order/deadLetters"),
        ("GET", "/v1/ops/order/deadLetters/7"),
        ("POST", "/v1/ops/order/deadLetters/7:redrive"),
        ("POST", "/v1/ops/order/deadLetters/7:discard"),
        ("POST", "/v1/ops/order/projections/order.list:rebuild"),
        ("POST", "/v1/ops/order:audit"),
        ("GET", "/v1/ops/order/stuck"),
        ("POST", "/v1/ops/order/stuck/0190a6e0-0000-7000-8000-000000000001:retry"),
    ],
)
def test_every_operation_has_its_address_and_is_for_admin_alone(desk: Desk, method: str, path: str) -> None:
    desk.services["order"].asked.clear()
    desk.ask(method, path)
    (asked,) = desk.services["order"].asked
    assert asked.service == "order"
    for who in ("support", "finance", "customer"):
        refusal = desk.ask(method, path, who)
        assert (refusal.status_code, refusal.json()["reason"]) == (403, "FORBIDDEN")
    assert desk.ask(method, path, "").status_code == 401
    assert len(desk.services["order"].asked) == 1


@pytest.mark.parametrize("name", ["payment", "nothing", "gateway", "ops"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/ops/{}"), ("POST", "/v1/ops/{}:audit")])
def test_a_service_that_is_not_there_is_not_found(desk: Desk, method: str, path: str, name: str) -> None:
    answer = desk.ask(method, path.format(name))
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["reason"]) == (404, "NOT_FOUND")
    assert desk.ask(method, path.format(name), "customer").status_code == 403


def test_a_dead_letter_that_is_refused_again_is_a_problem_that_says_how_far_it_came(desk: Desk) -> None:
    answer = desk.ask("POST", "/v1/ops/order/deadLetters/1:redrive")
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (409, "STILL_REFUSED")
    assert (problem["applied"], problem["remaining"]) == (1, 2)


def test_what_is_redriven_is_counted(desk: Desk) -> None:
    answer = desk.ask("POST", "/v1/ops/order/deadLetters/7:redrive")
    assert (answer.status_code, answer.json()["applied"]) == (200, 3)
