"""Whom one trusts changes while the shop is open: keys are rotated, and sessions end, everywhere and at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mercato.local.mesh import Mesh
from mercato.local.valkey import Valkey
from mercato.rotation import rotate_all
from tests.component.gateway.conftest import Running
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Buyer, Person, Shop, ordered, until

AT_ONCE, PACE = 3, 0.02


def test_keys_rotate_under_a_steady_stream_of_calls_and_none_fails(mesh: Mesh, shop: Shop) -> None:
    buyers = [shop.buyer() for _ in range(AT_ONCE)]
    slot, over = shop.slot(), threading.Event()
    order = buyers[0].order(buyers[0].wish(slot, ordered(shop.sku())))
    logs = {name: mesh.home.log(name) for name in ("gateway", "order", "user")}
    written = {name: log.stat().st_size for name, log in logs.items()}

    def ask(buyer: Buyer) -> list[int]:
        """Through the gateway, to services that ask others: the order service asks for the address' owner."""
        codes = list[int]()
        while not over.wait(PACE):
            path = f"/v1/orders/{order['id']}" if buyer is buyers[0] else "/v1/users/me"
            codes.append(buyer.http.get(path).status_code)
            codes.append(buyer.http.put(f"/v1/cart/lines/{order['lines'][0]['sku']}", json={"quantity": 1}).status_code)
        return codes

    def renewed(name: str) -> bool:
        return b'"keys.renewed"' in logs[name].read_bytes()[written[name] :]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        asking = [threads.submit(ask, buyer) for buyer in buyers]
        try:
            rotate_all(mesh.home.keys, [path.stem for path in (mesh.home.keys / "private").glob("*.pem")])
            until(lambda: renewed("gateway") and renewed("order"), "the new keys are used")
        finally:
            over.set()
        codes = [code for each in asking for code in each.result()]
    assert set(codes) == {200}
    assert len(codes) > 4 * AT_ONCE
    # Every pair of an order's neighbours trusts the new keys.
    buyers[1].order(buyers[1].wish(slot, ordered(shop.sku())))


@pytest.fixture(scope="module")
def second(mesh: Mesh) -> Iterator[Running]:
    """Another gateway of the same mesh."""
    valkey = Valkey(mesh.home.folder / "valkey", mesh.home.port("valkey"), mesh.home.secret("valkey"))
    targets = {f"MERCATO_TARGET_{name.upper()}": target for name, target in mesh.targets.items()}
    shared = {"MERCATO_KEYS": str(mesh.home.keys), "MERCATO_REDIS_URL": mesh.settings.redis_url or valkey.url}
    shared["MERCATO_REDIS_PATIENCE"] = "10s"
    gateway = Running(targets | shared)
    yield gateway
    gateway.close()


def test_a_session_that_is_revoked_is_over_at_every_gateway_and_on_every_open_stream(
    mesh: Mesh, shop: Shop, second: Running
) -> None:
    buyer, helper = shop.buyer(), shop.staff("support")
    order = buyer.order(buyer.wish(shop.slot(), ordered(shop.sku())))
    doors = [mesh.url, str(second.client.base_url)]
    seen = [_visitor(buyer, url) for url in doors]
    assert [person.http.get("/v1/users/me").status_code for person in seen] == [200, 200]  # each has a copy
    (session,) = [each for each in buyer.get("/v1/sessions")["sessions"] if each["current"]]
    path = f"/v1/orders/{order['id']}/events"
    with seen[0].http.stream("GET", path) as here, seen[1].http.stream("GET", path) as there:
        heard = [stream.iter_lines() for stream in (here, there)]
        assert [next(lines).partition(":")[0] for lines in heard] == ["retry", "retry"]
        assert helper.http.delete(f"/v1/sessions/{session['id']}").status_code == 204
        refused = [person.http.get("/v1/users/me") for person in seen]
        assert [answer.status_code for answer in refused] == [401, 401]
        for lines in heard:
            assert not [line for line in lines if "PickingStarted" in line]  # until it ends
        again = seen[0].http.get(path)
    assert (again.status_code, again.json()["reason"]) == (401, "UNAUTHENTICATED")
    for person in seen:
        person.close()


def _visitor(buyer: Buyer, url: str) -> Person:
    """The same session at some door."""
    person = Person(url)
    person.carry(str(buyer.http.headers["Authorization"]).removeprefix("Bearer "))
    return person


def test_a_new_password_ends_all_other_sessions_and_new_roles_hold_at_once(shop: Shop, second: Running) -> None:
    buyer = shop.buyer()
    elsewhere = _visitor(buyer, str(second.client.base_url))
    buyer.sign_in(buyer.identity.email)
    admin = shop.staff("admin")
    assert elsewhere.http.get("/v1/stock").status_code == 403
    admin.put(f"/v1/users/{buyer.id}/roles", {"roles": ["customer", "warehouse"]})
    assert elsewhere.http.get("/v1/stock").status_code == buyer.http.get("/v1/stock").status_code == 200
    admin.put(f"/v1/users/{buyer.id}/roles", {"roles": ["customer"]})
    assert elsewhere.http.get("/v1/stock").status_code == buyer.http.get("/v1/stock").status_code == 403
    buyer.post("/v1/users/me:changePassword", {"oldPassword": PASSWORD, "newPassword": PASSWORD + "!"})
    assert (elsewhere.http.get("/v1/users/me").status_code, buyer.http.get("/v1/users/me").status_code) == (401, 200)
    elsewhere.close()
