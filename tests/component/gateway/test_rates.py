"""How often one may ask: the contract's rates at the edge, with Redis and without."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import ip_network
from itertools import cycle, islice, takewhile
from typing import Any

import httpx
import pytest

from gateway.rates import address
from mercato.api.order.v1 import order_pb2
from mercato.api.user.v1 import user_pb2
from mercato.errors import Unauthenticated
from mercato.local.server import free_port
from tests.component.gateway.conftest import CUSTOMER, OTHER, Mesh, Running, bearer
from tests.component.gateway.test_edge import problem
from tests.valkeys import full, only_reading

SIGN_IN = {"email": "a@example.org", "password": "correct horse"}
PLACE = {
    "addressId": "0190a6e0-0000-7000-8000-0000000000aa",
    "slotId": "0190a6e0-0000-7000-8000-0000000000bb",
    "paymentMethod": "pm_card_visa",
}

BURST, REFILL = 12, 5
"""Sign-ins of one address at once, and the seconds after which it may try once more."""


def refused(_request: Any) -> user_pb2.SignInResponse:
    raise Unauthenticated


@pytest.fixture
def strict(start: Callable[..., Running], mesh: Mesh, valkey_url: str) -> Running:
    """A gateway with the rates of production, over a Redis that nobody has counted in."""
    from redis import Redis

    Redis.from_url(valkey_url).flushdb()
    mesh.user.answers["SignIn"] = refused
    return start(MERCATO_REDIS_URL=valkey_url, MERCATO_GATEWAY_RATE_FACTOR="1")


def sign_in(gateway: Running, **headers: str) -> httpx.Response:
    return gateway.client.post("/v1/sessions", json=SIGN_IN, headers=headers)


def tries_until_refused(*gateways: Running) -> tuple[list[httpx.Response], int]:
    """Sign-ins, at one gateway after the other, up to the first 429; and how many more a slow machine may admit."""
    began, answers = time.monotonic(), list[httpx.Response]()
    for gateway in islice(cycle(gateways), 100):
        answers.append(sign_in(gateway))
        if answers[-1].status_code == 429:
            break
    return answers, math.ceil((time.monotonic() - began) / REFILL)


def test_an_address_that_asks_too_often_is_told_when_to_come_again(strict: Running) -> None:
    (first, *others, last), late = tries_until_refused(strict)
    assert {answer.status_code for answer in (first, *others)} == {401}
    assert BURST <= len((first, *others)) < BURST + late
    assert first.headers["ratelimit-limit"] == "12"
    assert first.headers["ratelimit-remaining"] == "11"
    assert last.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(last.headers["retry-after"]) <= REFILL
    assert problem(last, 429, "RATE_LIMITED")


def test_two_gateways_count_together(start: Callable[..., Running], strict: Running, valkey_url: str) -> None:
    other = start(MERCATO_REDIS_URL=valkey_url, MERCATO_GATEWAY_RATE_FACTOR="1")
    (*admitted, _), late = tries_until_refused(strict, other)
    assert BURST <= len(admitted) < BURST + late


def test_a_refused_request_reaches_no_service(strict: Running, mesh: Mesh) -> None:
    statuses = [sign_in(strict).status_code for _ in range(20)]
    assert {*statuses} == {401, 429}
    assert len([asked for asked in mesh.user.asked if asked.rpc == "SignIn"]) == statuses.count(401)


def test_rates_of_one_principal_are_not_those_of_another(strict: Running, mesh: Mesh) -> None:
    mesh.order.answers["PlaceOrder"] = lambda _: order_pb2.Order(id=PLACE["slotId"], state=order_pb2.Order.CONFIRMED)

    def place(token: str, number: int) -> int:
        headers = bearer(token, Idempotency_Key=f"key-{number}")
        return strict.client.post("/v1/orders", json=PLACE, headers=headers).status_code

    passed = next(number for number in range(1000) if place(CUSTOMER, number) == 429)
    assert passed >= 100
    assert place(OTHER, 1) != 429


def test_without_redis_each_gateway_counts_for_itself_and_strictly_where_that_matters(
    start: Callable[..., Running], mesh: Mesh
) -> None:
    mesh.user.answers["SignIn"] = refused
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    alone = start(MERCATO_REDIS_URL=nowhere, MERCATO_GATEWAY_RATE_FACTOR="1")
    statuses = [sign_in(alone).status_code for _ in range(4)]
    assert statuses == [401] * 3 + [429]


def from_somewhere(gateway: Running, place: int, email: str = SIGN_IN["email"]) -> httpx.Response:
    """A try to sign in from one of very many addresses."""
    sender = {"X-Forwarded-For": f"203.0.{place // 250}.{place % 250}"}
    return gateway.client.post("/v1/sessions", json={**SIGN_IN, "email": email}, headers=sender)


@pytest.fixture
def proxied(start: Callable[..., Running], strict: Running, valkey_url: str) -> Running:
    """A gateway with the rates of production that hears from a proxy who asks."""
    trusted = {"MERCATO_GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8", "MERCATO_GATEWAY_RATE_FACTOR": "1"}
    return start(MERCATO_REDIS_URL=valkey_url, **trusted)


def test_many_addresses_that_try_one_account_are_refused_and_its_owner_is_not(proxied: Running, mesh: Mesh) -> None:
    mesh.user.answers["SignIn"] = lambda _: user_pb2.SignInResponse(token="t")
    assert from_somewhere(proxied, 0).status_code == 201
    mesh.user.answers["SignIn"] = refused
    spellings = ("a@example.org", "A@Example.ORG")
    tries = (from_somewhere(proxied, 1 + number, spellings[number % 2]) for number in range(200))
    passed = [*takewhile(lambda answer: answer.status_code == 401, tries)]
    last = next(tries)
    assert len(passed) >= 29  # the owner's own was the first of thirty
    assert problem(last, 429, "RATE_LIMITED")
    assert 1 <= int(last.headers["retry-after"]) <= 120
    assert last.headers["ratelimit-policy"] == "30;w=3600"
    assert {each.headers["ratelimit-limit"] for each in passed} == {"12"}
    assert from_somewhere(proxied, 0).status_code == 401
    assert from_somewhere(proxied, 40, "b@example.org").status_code == 401


def test_nobody_learns_from_the_rate_who_has_an_account_or_what_was_asked(
    proxied: Running, mesh: Mesh, valkey_url: str
) -> None:
    from redis import Redis

    mesh.user.answers["SignIn"] = lambda _: user_pb2.SignInResponse(token="t")
    assert from_somewhere(proxied, 900, "somebody@example.org").status_code == 201
    mesh.user.answers["SignIn"] = refused
    asked = len(mesh.user.asked)
    tries = (from_somewhere(proxied, number, "nobody@example.org").status_code for number in range(200))
    passed = len([*takewhile(lambda status: status == 401, tries)])
    assert next(tries) == 429
    assert len([each for each in mesh.user.asked[asked:] if each.rpc == "SignIn"]) == passed >= 30
    with Redis.from_url(valkey_url) as redis:
        kept = [key for key in redis.keys("*") if redis.ttl(key) > 24 * 3600]
        assert kept
        assert not [key for key in kept if b"203.0." in key]
        assert not [key for key in redis.keys("*") if b"nobody" in key or b"somebody" in key]


@pytest.mark.parametrize("ailing", [full, only_reading])
def test_a_redis_that_takes_nothing_is_one_that_is_away(
    ailing: Callable[[Any], AbstractContextManager[None]], strict: Running, valkey_url: str
) -> None:
    from redis import Redis

    with Redis.from_url(valkey_url) as redis, ailing(redis):
        statuses = [sign_in(strict).status_code for _ in range(4)]
    assert statuses == [401] * 3 + [429]


def test_in_development_sixty_may_register_and_a_hundred_and_twenty_sign_in(
    start: Callable[..., Running], mesh: Mesh, valkey_url: str
) -> None:
    from redis import Redis

    Redis.from_url(valkey_url).flushdb()
    mesh.user.answers["SignIn"] = refused
    mesh.user.answers["RegisterUser"] = lambda _: user_pb2.User(id=PLACE["slotId"])
    gateway = start(MERCATO_REDIS_URL=valkey_url)
    new = {**SIGN_IN, "displayName": "A"}
    assert {gateway.client.post("/v1/users", json=new).status_code for _ in range(60)} == {201}
    assert {sign_in(gateway).status_code for _ in range(120)} == {401}


def test_nobody_counts_as_another_by_a_header(strict: Running) -> None:
    statuses = [sign_in(strict, **{"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(13)]
    assert statuses[-1] == 429


def test_behind_a_trusted_proxy_the_address_that_it_saw_counts() -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"6.6.6.6, 203.0.113.9, 10.0.0.7")]}
    assert address(scope, [ip_network("10.0.0.0/8")]) == "203.0.113.9"
    assert address(scope, []) == "10.0.0.1"


def test_a_home_counts_as_one_address_of_ipv6() -> None:
    scope = {"client": ("2001:db8:1:2:3:4:5:6", 1), "headers": []}
    assert address(scope, []) == "2001:db8:1:2::/64"
