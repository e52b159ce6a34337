"""A gateway on a real port, over services whose answers the tests give; gRPC, tokens and policies are the real ones."""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from gateway.config import GatewayConfig
from gateway.keeping import Replies
from gateway.server import serve
from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2
from mercato.api.user.v1 import user_pb2
from mercato.auth import Verifier
from mercato.config import Settings, load
from mercato.errors import NotFound, Unimplemented
from mercato.keys import create_keys
from mercato.local.server import free_port
from mercato.rpc.call import Call, current_call
from mercato.rpc.contract import owner_of
from mercato.rpc.enforce import Enforced, Traffic
from mercato.rpc.server import Server
from tests.loop import begin, finish
from tests.valkeys import PATIENCE
from tools import stubs

CUSTOMER, OTHER, STAFF, GUEST = "customer-token", "other-token", "staff-token", "guest-token"
PEOPLE = {
    CUSTOMER: ("0190a6e0-0000-7000-8000-000000000001", ("customer",)),
    OTHER: ("0190a6e0-0000-7000-8000-000000000002", ("customer",)),
    STAFF: ("0190a6e0-0000-7000-8000-000000000003", ("catalog", "support")),
    GUEST: ("0190a6e0-0000-7000-8000-0000000000ff", ("guest",)),
}


@dataclass(slots=True)
class Asked:
    """A call that a service got."""

    rpc: str
    request: Any
    call: Call


@dataclass
class Fake:
    """A service that answers as a test says."""

    contract: ServiceDescriptor
    answers: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        if name not in self.contract.methods_by_name:
            raise AttributeError(name)
        return partial(self._answer, name)

    def _answer(self, name: str, request: Any, _context: Any) -> Any:
        self.asked.append(Asked(name, request, current_call()))
        if name not in self.answers:
            raise Unimplemented
        return self.answers[name](request)

    @property
    def last(self) -> Asked:
        """The call that came last."""
        return self.asked[-1]


class Mesh:
    """The services behind the gateway."""

    def __init__(self) -> None:
        self.product = Fake(product_pb2.DESCRIPTOR.services_by_name["ProductService"])
        self.order = Fake(order_pb2.DESCRIPTOR.services_by_name["OrderService"])
        self.user = Fake(user_pb2.DESCRIPTOR.services_by_name["UserService"])
        self.fakes = (self.product, self.order, self.user)
        self.forget()

    def forget(self) -> None:
        """Be as new."""
        for fake in self.fakes:
            fake.answers.clear()
            fake.asked.clear()
        self.user.answers["LookUpSession"] = _look_up


def _look_up(request: Any) -> user_pb2.SessionIdentity:
    known = {hashlib.sha256(token.encode()).hexdigest(): who for token, who in PEOPLE.items()}
    if request.token_hash not in known:
        raise NotFound
    subject, roles = known[request.token_hash]
    identity = user_pb2.SessionIdentity(session_id=f"session-{subject[-2:]}", subject=subject, roles=roles)
    identity.expire_time.FromJsonString("2100-01-01T00:00:00Z")
    return identity


class Running:
    """A gateway, on the loop that all gateways of these tests share."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = free_port()
        environment = {"MERCATO_NAME": "gateway", "MERCATO_GATEWAY_ADDRESS": f"127.0.0.1:{self.port}", **environment}
        self._settings, self._config = load(Settings, environment), load(GatewayConfig, environment)
        self.replies = Replies(self._config.cache_bytes, frozenset({"product"}))
        self._stop = asyncio.Event()
        self._life = begin(serve(self._settings, self._config, self._stop, self.replies))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        pause = threading.Event()
        for _ in range(5000):
            try:
                self.client.get("/readyz")
                return
            except httpx.ConnectError:
                pause.wait(0.01)
        raise TimeoutError("the gateway does not listen")

    def stop(self) -> None:
        """Tell it to end, as SIGTERM does."""
        finish(self._end())

    async def _end(self) -> None:
        self._stop.set()

    def ended(self, within: float) -> bool:
        """Whether it has ended in time."""
        return not wait([self._life], within).not_done

    def close(self) -> None:
        """End it."""
        self.stop()
        self._life.result(60)
        self.client.close()


@contextmanager
def _served(mesh: Mesh, keys: Path) -> Iterator[dict[str, str]]:
    """The services on free ports, and the settings by which a gateway finds them."""
    create_keys(keys, ["gateway"])
    environment = {"MERCATO_KEYS": str(keys), "MERCATO_LEAVE_FIRST": "0ms", "MERCATO_GATEWAY_LOOK": "50ms"}
    environment["MERCATO_GATEWAY_CACHE_BYTES"] = "0"  # tests share a gateway, and change the answers behind it
    environment["MERCATO_REDIS_PATIENCE"] = f"{PATIENCE:.0f}s"
    with ExitStack() as stack:
        for fake in mesh.fakes:
            name = owner_of(fake.contract)
            server = Server([Enforced(fake, Verifier(keys, name), Traffic())], address="127.0.0.1:0")
            server.start()
            stack.callback(server.stop, 0)
            environment[f"MERCATO_TARGET_{name.upper()}"] = f"ipv4:127.0.0.1:{server.port}"
        yield environment


@pytest.fixture(scope="session")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, dict[str, str]]]:
    mesh = Mesh()
    with _served(mesh, tmp_path_factory.mktemp("keys")) as environment:
        yield mesh, environment


@pytest.fixture(scope="session")
def _shared(_world: tuple[Mesh, dict[str, str]]) -> Iterator[Running]:
    running = Running(_world[1])
    yield running
    running.close()


@pytest.fixture
def mesh(_world: tuple[Mesh, dict[str, str]]) -> Mesh:
    """The services, as new."""
    _world[0].forget()
    return _world[0]


@pytest.fixture
def client(_shared: Running, mesh: Mesh) -> httpx.Client:
    """A client of the gateway that all tests share, over services as new."""
    _shared.client.cookies.clear()
    return _shared.client


@pytest.fixture
def port(_shared: Running) -> int:
    """Where that gateway listens."""
    return _shared.port


@pytest.fixture
def start(_world: tuple[Mesh, dict[str, str]]) -> Iterator[Callable[..., Running]]:
    """Starts gateways of one's own, with further settings."""
    with ExitStack() as stack:

        def begin(**further: str) -> Running:
            running = Running({**_world[1], **further})
            stack.callback(running.close)
            return running

        yield begin


def bearer(token: str, **headers: str) -> dict[str, str]:
    """The headers of somebody's request."""
    return {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}


@pytest.fixture
def customer() -> dict[str, str]:
    """The headers of a customer."""
    return bearer(CUSTOMER)


@pytest.fixture
def staff() -> dict[str, str]:
    """The headers of somebody who keeps the catalogue."""
    return bearer(STAFF)


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptor]:
    """The sample contract in both of its versions, compiled like any other."""
    folder = tmp_path_factory.mktemp("protos")
    shutil.copytree(stubs.ROOT / "protos/mercato/api/policy", folder / "mercato/api/policy")
    for version, source in (("v1", "sample.proto"), ("v2", "sample_v2.proto")):
        contract = folder / "mercato/api/sample" / version / "sample.proto"
        contract.parent.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name(source), contract)
    stubs.image(folder, folder / "image.binpb")
    pool = descriptor_pool.Default()
    for file in descriptor_pb2.FileDescriptorSet.FromString((folder / "image.binpb").read_bytes()).file:
        if file.package.startswith("mercato.api.sample."):
            pool.AddSerializedFile(file.SerializeToString())
    return [pool.FindFileByName(f"mercato/api/sample/{version}/sample.proto") for version in ("v1", "v2")]
