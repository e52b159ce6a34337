"""Whose a request is: bearer tokens, cookies, guests, and tokens that open nothing."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest
from google.protobuf.empty_pb2 import Empty

from gateway.config import GatewayConfig
from gateway.sessions import Credential, Sessions
from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2
from mercato.api.user.v1 import user_pb2
from mercato.config import BadSettings, load
from mercato.errors import NotFound, Unauthenticated, Unavailable
from mercato.local.server import free_port
from mercato.rpc.call import NOBODY, Principal
from mercato.testing import FixedClock
from tests.component.gateway.conftest import CUSTOMER, GUEST, Mesh, Running
from tests.component.gateway.test_edge import problem

COOKIE = {"Cookie": f"__Host-session={CUSTOMER}"}


@pytest.fixture
def home(port: int) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{port}"}


def cart(_request: Any) -> order_pb2.Cart:
    return order_pb2.Cart()


def signed_in(_request: Any) -> user_pb2.SignInResponse:
    reply = user_pb2.SignInResponse(token=CUSTOMER)
    reply.expire_time.FromJsonString("2100-01-01T00:00:00Z")
    return reply


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(mesh: Mesh, client: httpx.Client) -> None:
    mesh.user.answers["SignIn"] = signed_in
    answer = client.post("/v1/sessions", json={"email": "a@example.org", "password": "correct horse"})
    assert (answer.status_code, answer.json()["token"]) == (201, CUSTOMER)
    assert answer.headers["cache-control"] == "no-store"
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name == f"__Host-session={CUSTOMER}"
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(attributes)


def test_signing_out_takes_the_cookie_away(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    mesh.user.answers["SignOut"] = lambda _: Empty()
    answer = client.delete("/v1/sessions/current", headers=customer)
    assert (answer.status_code, answer.headers["set-cookie"].split("; ")[1]) == (204, "Max-Age=0")


def test_a_cookie_signs_reads(mesh: Mesh, client: httpx.Client) -> None:
    mesh.order.answers["GetCart"] = cart
    assert client.get("/v1/cart", headers=COOKIE).status_code == 200
    assert mesh.order.last.call.principal.subject.endswith("01")


def test_a_cookie_signs_changes_from_our_own_pages_alone(
    mesh: Mesh, client: httpx.Client, home: dict[str, str]
) -> None:
    mesh.order.answers["ClearCart"] = lambda _: Empty()
    assert client.delete("/v1/cart", headers={**COOKIE, **home}).status_code == 204
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}):
        problem(client.delete("/v1/cart", headers={**COOKIE, **origin}), 403, "ORIGIN_REFUSED")
    assert len(mesh.order.asked) == 1


def test_a_bearer_token_needs_no_origin_and_wins_over_a_cookie(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    mesh.order.answers["ClearCart"] = lambda _: Empty()
    answer = client.delete("/v1/cart", headers={**customer, "Cookie": f"__Host-session={GUEST}"})
    assert answer.status_code == 204
    assert mesh.order.last.call.principal.subject.endswith("01")


def test_a_guest_has_a_cart_and_no_orders(mesh: Mesh, client: httpx.Client) -> None:
    mesh.order.answers["GetCart"] = cart
    guest = {"Authorization": f"Bearer {GUEST}"}
    assert client.get("/v1/cart", headers=guest).status_code == 200
    problem(client.get("/v1/orders", headers=guest), 403, "FORBIDDEN")


def test_a_session_that_has_ended_still_lets_one_sign_in(mesh: Mesh, client: httpx.Client) -> None:
    mesh.user.answers["SignIn"] = signed_in
    body = {"email": "a@example.org", "password": "correct horse"}
    stale = {"Authorization": "Bearer has-ended"}
    assert client.post("/v1/sessions", json=body, headers=stale).status_code == 201
    assert mesh.user.last.call.principal == NOBODY
    problem(client.get("/v1/products", headers=stale), 401, "UNAUTHENTICATED")


def test_a_cookie_that_has_ended_is_taken_away(client: httpx.Client) -> None:
    refusal = client.get("/v1/products", headers={"Cookie": "__Host-session=has-ended"})
    problem(refusal, 401, "UNAUTHENTICATED")
    assert "Max-Age=0" in refusal.headers["set-cookie"]


def test_a_strange_cookie_is_no_cookie(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["ListProducts"] = lambda _: product_pb2.ListProductsResponse()
    for cookie in ("a=b; c", "__Host-session", "__Host-session=", '__Host-session="'):
        assert client.get("/v1/products", headers={"Cookie": cookie}).status_code == 200


class Copies:
    """A Redis that a test has filled, or broken."""

    def __init__(self, copy: bytes | None = None, broken: bool = False) -> None:
        self._copy = copy
        self._broken = broken

    async def get(self, name: str) -> bytes | None:
        assert name.startswith("session:")
        if self._broken:
            raise ConnectionError(name)
        return self._copy

    async def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return [await self.get(key) for key in keys]


async def from_the_service(_digest: str) -> Principal:
    return Principal("asked")


def copy(expires: str = "2027-01-01T00:00:00Z", **further: Any) -> bytes:
    identity = {"sessionId": "s", "subject": "copied", "roles": ["customer"], "expireTime": expires, **further}
    return json.dumps(identity).encode()


@pytest.mark.parametrize(
    ("copies", "subject"),
    [
        (None, "asked"),
        (Copies(), "asked"),
        (Copies(b""), "asked"),
        (Copies(b"{}"), "asked"),
        (Copies(b"nonsense"), "asked"),
        (Copies(broken=True), "asked"),
        (Copies(copy(expires="2025-01-01T00:00:00Z")), "asked"),
        (Copies(copy()), "copied"),
        (Copies(copy(guestId="g")), "copied"),
    ],
)
def test_a_copy_spares_the_question_and_decides_nothing_else(copies: Copies | None, subject: str) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert asyncio.run(Sessions(copies, from_the_service, clock).principal("token")).subject == subject


async def whose(digest: str) -> Principal:
    """What the user service says: of one token that its session has ended, of another nothing at all."""
    if digest == sha256(b"ended").hexdigest():
        raise NotFound
    if digest == sha256(b"who knows").hexdigest():
        raise Unavailable
    return Principal("asked")


@pytest.mark.parametrize(
    ("copies", "subject"),
    [(None, "asked"), (Copies(b""), "asked"), (Copies(b"nonsense"), "asked"), (Copies(copy()), "copied")],
)
def test_of_many_sessions_each_is_known_as_one_is(copies: Copies | None, subject: str) -> None:
    sessions = Sessions(copies, whose, FixedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    found = asyncio.run(sessions.current(["token", "ended", "who knows"]))
    told = {token: principal and principal.subject for token, principal in found.items()}
    asked = {"token": "asked", "ended": None}
    assert told == (asked if subject == "asked" else dict.fromkeys(("token", "ended", "who knows"), "copied"))


def test_a_redis_that_answers_late_makes_nobody_ask_for_thousands_at_once() -> None:
    async def act() -> list[int]:
        sessions = Sessions(Copies(broken=True), whose, FixedClock())
        return [len(await sessions.current(["token"])) for _ in range(4)]

    assert asyncio.run(act()) == [0, 0, 1, 1]


def test_a_redis_that_is_away_costs_a_question_and_nothing_else(
    mesh: Mesh, start: Callable[..., Running], customer: dict[str, str]
) -> None:
    mesh.order.answers["GetCart"] = cart
    running = start(MERCATO_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    answer = running.client.get("/v1/cart", headers=customer)
    assert (answer.status_code, mesh.user.last.rpc) == (200, "LookUpSession")
    assert answer.elapsed.total_seconds() < 10


def test_authorization_is_bearer_and_a_token() -> None:
    assert Credential.of({"authorization": "bearer abc"}).token == "abc"
    for header in ("", "Bearer", "Bearer ", "Basic abc", "Bearer a b", f"Bearer {'x' * 513}", "Bearer ž"):
        with pytest.raises(Unauthenticated):
            Credential.of({"authorization": header})


def test_what_the_service_does_not_know_opens_nothing() -> None:
    async def unknown(_digest: str) -> Principal:
        raise NotFound

    with pytest.raises(Unauthenticated):
        asyncio.run(Sessions(None, unknown, FixedClock()).principal("token"))


@pytest.mark.parametrize(
    "origins", ["*", "https://*.shop.example", "null", "shop.example", "https://shop.example/x", "HTTPS://Shop.Example"]
)
def test_pages_that_may_bring_a_cookie_are_named_one_by_one(origins: str) -> None:
    with pytest.raises(BadSettings, match="ORIGINS"):
        load(GatewayConfig, {"MERCATO_GATEWAY_ORIGINS": origins})
    named = load(GatewayConfig, {"MERCATO_GATEWAY_ORIGINS": "https://shop.example,http://localhost:5173"})
    assert named.origins == ("https://shop.example", "http://localhost:5173")
