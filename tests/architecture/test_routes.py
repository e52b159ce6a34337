"""The public surface: every address that was promised is served, and stands in the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import gateway
from gateway.config import GatewayConfig
from mercato.auth import Signer
from mercato.config import Settings, load
from mercato.keys import create_keys
from tests.loop import finish

PROMISED = """
GET /v1/products
GET /v1/products:search
GET /v1/products:batchGet
GET /v1/products/{id}
POST /v1/products
PATCH /v1/products/{product.id}
POST /v1/products/{id}:archive
POST /v1/products:import
GET /v1/categories
GET /v1/categories/{id}
POST /v1/categories
PATCH /v1/categories/{category.id}
GET /v1/availability
GET /v1/warehouses
GET /v1/stock
GET /v1/stock/{sku}
POST /v1/stock/{sku}:receive
POST /v1/stock/{sku}:adjust
GET /v1/stock/{sku}/movements
GET /v1/cart
PUT /v1/cart/lines/{sku}
DELETE /v1/cart/lines/{sku}
DELETE /v1/cart
POST /v1/orders
GET /v1/orders
GET /v1/orders/{id}
GET /v1/orders/{id}/history
GET /v1/orders/{id}/events
POST /v1/orders/{id}:cancel
POST /v1/orders/{id}:startPicking
POST /v1/orders/{id}:finishPicking
POST /v1/orders/{id}:retryPayment
POST /v1/orders/{id}:redeliver
POST /v1/orders/{id}:requestReturn
POST /v1/orders/{id}:approveReturn
POST /v1/orders/{id}:refuseReturn
GET /v1/orders:board
GET /v1/payments
GET /v1/payments/{id}
POST /v1/payments/{id}:refund
GET /v1/ledger/accounts
GET /v1/ledger/entries
POST /v1/payments:reconcile
POST /webhooks/{provider}
GET /v1/zones
GET /v1/zones:locate
GET /v1/slots
GET /v1/quotes
GET /v1/shipments
GET /v1/shipments/{id}
POST /v1/shipments/{id}:assign
POST /v1/shipments/{id}:pickUp
POST /v1/shipments/{id}:deliver
POST /v1/shipments/{id}:fail
POST /v1/shipments/{id}/positions
GET /v1/couriers
POST /v1/couriers
POST /v1/users
POST /v1/sessions
POST /v1/sessions:guest
GET /v1/sessions
DELETE /v1/sessions/{id}
DELETE /v1/sessions/current
GET /v1/users
GET /v1/users/{id}
PATCH /v1/users/{user.id}
DELETE /v1/users/{id}
POST /v1/users/me:changePassword
GET /v1/users/{user_id}/addresses
POST /v1/users/{user_id}/addresses
GET /v1/users/{user_id}/addresses/{id}
PATCH /v1/users/{user_id}/addresses/{address.id}
DELETE /v1/users/{user_id}/addresses/{id}
PUT /v1/users/{id}/roles
GET /v1/ops/{service}
GET /v1/ops/{service}/deadLetters
GET /v1/ops/{service}/deadLetters/{id}
POST /v1/ops/{service}/deadLetters/{id}:redrive
POST /v1/ops/{service}/deadLetters/{id}:discard
POST /v1/ops/{service}/projections/{name}:rebuild
POST /v1/ops/{service}:audit
GET /v1/ops/{service}/stuck
POST /v1/ops/{service}/stuck/{id}:retry
""".strip().splitlines()
OWN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
NOBODY_HOME = {"ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"}


class Door:
    """A gateway with no mesh behind it: what it has no route for it says itself."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def ask(self, method: str, path: str) -> httpx.Response:
        """The answer to a request that says no more than that."""
        return finish(self._client.request(method, path))


@asynccontextmanager
async def _opened(keys: Path) -> AsyncIterator[httpx.AsyncClient]:
    create_keys(keys, ["gateway"])
    environment = {"MERCATO_NAME": "gateway", "MERCATO_KEYS": str(keys)}
    settings, config = load(Settings, environment), load(GatewayConfig, environment)
    async with gateway(settings, config, signer=Signer.load(keys, "gateway")) as wired:
        transport = httpx.ASGITransport(wired.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            yield client


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    opened = _opened(tmp_path_factory.mktemp("keys"))
    yield Door(finish(opened.__aenter__()))
    finish(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def document(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = door.ask("GET", "/openapi.json").json()
    return found


def shape(path: str) -> str:
    """A path, whatever its variables are called."""
    return re.sub(r"{[^{}]*}", "{}", path)


@pytest.mark.parametrize("promise", PROMISED)
def test_what_was_promised_is_served(door: Door, promise: str) -> None:
    method, path = promise.split()
    answer = door.ask(method, re.sub(r"{[^{}]*}", "0190a6e0-0000-7000-8000-000000000001", path))
    assert answer.json().get("reason") not in NOBODY_HOME


def test_what_was_promised_is_documented(document: dict[str, Any]) -> None:
    documented = {f"{method.upper()} {shape(path)}" for path, item in document["paths"].items() for method in item}
    assert not {shape(promise) for promise in PROMISED} - documented


@pytest.mark.parametrize("path", OWN)
def test_the_gateway_has_pages_of_its_own(door: Door, path: str) -> None:
    assert door.ask("GET", path).status_code == 200


def test_what_nobody_promised_is_not_served(door: Door) -> None:
    assert door.ask("GET", "/v1/reports/sales").json()["reason"] == "ROUTE_NOT_FOUND"
    assert door.ask("PUT", "/v1/orders").json()["reason"] == "METHOD_NOT_ALLOWED"
