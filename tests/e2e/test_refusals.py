"""What somebody tries who knows the surface and means no good: fields that are not theirs, verbs, tokens, sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import grpc
import pytest

from mercato.api.order.v1 import order_pb2
from mercato.cli.token import sign
from mercato.local.mesh import Mesh
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Buyer, Shop, ordered

SOMEBODY = "0190a6e0-0000-7000-8000-00000000beef"
PAST = "2001-01-01T00:00:00Z"
FREE = {"currencyCode": "USD", "units": "0"}

# What a request of a kind is given beside what it may say. It is refused by its name, or has no effect.
SMUGGLED: Mapping[str, Mapping[str, Any]] = {
    "registration": {"id": SOMEBODY, "roles": ["admin"], "state": "ERASED", "createTime": PAST, "etag": "77"},
    "profile": {"roles": ["admin"], "state": "ERASED", "email": "other@mercato.example", "createTime": PAST},
    "address": {"id": SOMEBODY, "userId": SOMEBODY, "zoneId": "elsewhere", "etag": "77"},
    "product": {"id": SOMEBODY, "createTime": PAST, "updateTime": PAST, "categoryPath": ["Mine"], "etag": "77"},
    "order": {
        "id": SOMEBODY,
        "customerId": SOMEBODY,
        "user_id": SOMEBODY,
        "state": "DELIVERED",
        "paid": True,
        "total": FREE,
        "subtotal": FREE,
        "deliveryFee": FREE,
        "paymentId": SOMEBODY,
        "version": "77",
        "createTime": PAST,
        "warehouseId": "mine",
        "requestId": "mine",
    },
    "line": {"unitPrice": FREE, "total": FREE, "price": FREE, "pickedQuantity": 9},
}


@pytest.fixture(scope="module")
def buyer(shop: Shop) -> Buyer:
    """Who tries."""
    return shop.buyer()


def tried(shop: Shop, buyer: Buyer, kind: str, more: Mapping[str, Any]) -> Any:
    """The answer to an otherwise good request of a kind with something more in it."""
    match kind:
        case "registration":
            mail = f"{uuid4().hex}@mercato.example"
            return shop.guest().ask("/v1/users", {"email": mail, "password": PASSWORD, "displayName": "A", **more})
        case "profile":
            etag = buyer.get("/v1/users/me")["etag"]
            return buyer.http.patch("/v1/users/me", json={"displayName": "B", "etag": etag, **more})
        case "address":
            known = buyer.get(f"/v1/users/me/addresses/{buyer.address_id}")
            own = {name: value for name, value in known.items() if name not in SMUGGLED["address"]}
            return buyer.ask("/v1/users/me/addresses", {**own, **more})
        case "product":
            return shop.staff("catalog").ask("/v1/products", {"title": "Biscuits", "brand": uuid4().hex, **more})
        case "order":
            return buyer.ask("/v1/orders", {**buyer.wish(str(uuid4()), ordered("no-such-thing")), **more})
        case _:
            return buyer.ask("/v1/orders", buyer.wish(str(uuid4()), {**ordered("no-such-thing"), **more}))


def test_what_is_not_the_clients_to_say_is_refused_or_has_no_effect(shop: Shop, buyer: Buyer) -> None:
    wrong = []
    for kind, fields in SMUGGLED.items():
        for name, value in fields.items():
            answer = tried(shop, buyer, kind, {name: value})
            said = answer.json()
            refused = answer.status_code == 400 and name in json.dumps(said.get("errors", said["detail"]))
            ignored = answer.status_code in (200, 201) and said.get(name) != value
            if not (refused or ignored):
                wrong.append(f"{name} in {kind}: {answer.status_code} {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    me = buyer.get("/v1/users/me")
    assert (me["id"], me["roles"], me["state"], me["email"]) == (
        *(buyer.id, ["customer"]),
        *("ACTIVE", buyer.identity.email),
    )


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_verb_is_what_the_request_line_says(shop: Shop, buyer: Buyer, header: str) -> None:
    path = f"/v1/users/me/addresses/{buyer.address_id}"
    assert buyer.http.get(path, headers={header: "DELETE"}).status_code == 200
    assert buyer.http.get(path, params={"_method": "DELETE"}).status_code == 400
    assert buyer.http.post(path, json={}, headers={header: "DELETE"}).status_code == 405
    assert buyer.get(path)["id"] == buyer.address_id
    stock = shop.staff("finance").http  # may look, and nothing else
    assert stock.get("/v1/stock").status_code == 200
    for verb in ("PUT", "PATCH", "DELETE", "POST", "TRACE", "PROPFIND"):
        answer = stock.request(verb, "/v1/stock", headers={"Idempotency-Key": uuid4().hex})
        assert answer.status_code in (405, 501), (verb, answer.status_code)


def test_a_session_opens_no_service_and_a_service_s_token_no_door(mesh: Mesh, buyer: Buyer) -> None:
    session = str(buyer.http.headers["Authorization"]).removeprefix("Bearer ")
    with grpc.insecure_channel(mesh.targets["order"]) as channel:
        ask: Any = channel.unary_unary("/mercato.api.order.v1.OrderService/ListOrders")
        request = order_pb2.ListOrdersRequest().SerializeToString()
        for metadata in ((), (("authorization", f"Bearer {session}"),), (("cookie", f"__Host-session={session}"),)):
            with pytest.raises(grpc.RpcError) as refused:
                ask(request, metadata=metadata, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    token = sign(mesh.home.keys, "order", "admin", buyer.id)
    answer = buyer.http.get("/v1/orders", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["reason"]) == (401, "UNAUTHENTICATED")


def test_a_session_is_chosen_by_us_begins_anew_with_each_sign_in_and_ends_with_signing_out(shop: Shop) -> None:
    visitor = shop.buyer()
    guest = shop.guest().post("/v1/sessions:guest")["token"]
    chosen = "a-session-that-somebody-else-knows"
    seen = {guest, chosen, str(visitor.http.headers["Authorization"]).removeprefix("Bearer ")}
    account = {"email": visitor.identity.email, "password": PASSWORD}
    for fixed in (guest, chosen):
        begun = visitor.http.post(
            "/v1/sessions",
            json=account,
            headers={"Authorization": "", "Cookie": f"__Host-session={fixed}", "Origin": str(visitor.http.base_url)},
        )
        visitor.http.cookies.clear()
        assert begun.status_code in (201, 401), begun.text
        if begun.is_success:
            assert begun.json()["token"] not in seen
            seen.add(begun.json()["token"])
    visitor.carry(chosen)
    assert visitor.http.get("/v1/users/me").status_code == 401
    visitor.sign_in(visitor.identity.email)
    assert visitor.http.delete("/v1/sessions/current").status_code == 204
    assert visitor.http.get("/v1/users/me").status_code == 401
    assert visitor.http.delete("/v1/sessions/current").status_code == 401


def test_nobody_learns_by_signing_in_who_has_an_account(shop: Shop) -> None:
    emails = (shop.buyer().identity.email, f"{uuid4().hex}@mercato.example")
    wrong = [{"email": email, "password": "not the password, 1742"} for email in emails]
    answers = [shop.guest().http.post("/v1/sessions", json=account) for account in wrong]
    assert {answer.status_code for answer in answers} == {401}
    unlike = ("requestId", "instance", "x-request-id", "date", "ratelimit-remaining", "ratelimit-reset")
    told = [
        {name: value for name, value in [*answer.json().items(), *answer.headers.items()] if name not in unlike}
        for answer in answers
    ]
    assert told[0] == told[1]


def test_an_account_that_is_erased_and_its_sessions_open_nothing(shop: Shop) -> None:
    leaver = shop.buyer()
    assert leaver.http.delete("/v1/users/me").status_code == 204
    assert leaver.http.get("/v1/users/me").status_code == 401
    again = leaver.http.post("/v1/sessions", json={"email": leaver.identity.email, "password": PASSWORD})
    assert (again.status_code, again.json()["reason"]) == (401, "INVALID_CREDENTIALS")
    assert shop.staff("support").http.get(f"/v1/users/{leaver.id}").status_code == 404
