"""Repeats by a key, of every POST of the contracts: they say so, are answered alike, and have no second effect."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from chaos.fuzz.effects import different, digest_of
from gateway.contract import operations, published
from mercato.local.mesh import Mesh
from shop import city
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Buyer, Json, Person, Shop, ordered, until

POSTS = {each.name: each for each in operations(published()) if any(form.method == "POST" for form in each.bindings)}
WITHOUT_EFFECT = {name for name, each in POSTS.items() if each.policy.anyone}
"""What anybody may do: people without a name cannot be told apart, so that their keys mean nothing."""
AS_IT_IS_NOW = {"RebuildProjection"}
"""Whose answers tell of something that never stands still: how far a projection is behind."""
HERE = {"latitude": city.ZONES[0].doorstep[0], "longitude": city.ZONES[0].doorstep[1]}


@dataclass
class Post:
    """Something that somebody asks for with a key; `other` is another request, which the key is not for."""

    rpc: str
    by: Person
    path: str
    body: Json | bytes = field(default_factory=dict)
    other: Json | bytes | None = None
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def ask(self, body: Json | bytes | None = None) -> httpx.Response:
        """Ask for it."""
        body = self.body if body is None else body
        raw, kind = (
            (body, "application/x-ndjson") if isinstance(body, bytes) else (json.dumps(body), "application/json")
        )
        headers = {"Idempotency-Key": self.key, "Content-Type": kind}
        answer = self.by.http.post(self.path, content=raw, headers=headers)
        self.by.http.cookies.clear()
        return answer


class Story:
    """One of each, in the order of their happening."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._slot = shop.slot()
        self._sku = shop.sku(stock=50)
        self._staff: Callable[[str], Person] = shop.staff
        self.told: dict[str, tuple[Post, httpx.Response]] = {}

    def tell(self) -> None:
        """Do all of it."""
        buyer = self._shop.buyer()
        for scene in (self._goods, self._people, self._office):
            for post in scene(buyer):
                self.do(post)
        self._orders(buyer)

    def do(self, post: Post) -> Any:
        """Do something, and keep what was said to it."""
        answer = post.ask()
        assert answer.is_success, (post.rpc, answer.text)
        self.told[post.rpc] = post, answer
        return answer.json()

    def _goods(self, _: Buyer) -> Iterator[Post]:
        catalog, warehouse, mark = self._staff("catalog"), self._staff("warehouse"), secrets.token_hex(6)
        product = {"title": "Made once", "brand": mark}
        yield Post("CreateProduct", catalog, "/v1/products", product, {"title": "?"})
        made = self.told["CreateProduct"][1].json()
        yield Post("ArchiveProduct", catalog, f"/v1/products/{made['id']}:archive", {}, {"etag": made["etag"]})
        yield Post("CreateCategory", catalog, "/v1/categories", {"name": mark}, {"name": "?"})
        row = b'{"sku": "%s", "title": "Imported once", "categoryPath": ["Grocery"]}\n{"sku": 1}\n' % mark.encode()
        yield Post("ImportProducts", catalog, "/v1/products:import", row, row.replace(b"once", b"twice"))
        receipt = {"warehouseId": city.RIVERSIDE.id, "quantity": 3, "reference": "posts"}
        yield Post("ReceiveStock", warehouse, f"/v1/stock/{self._sku}:receive", receipt, {**receipt, "quantity": 4})
        etag = warehouse.get(f"/v1/stock/{self._sku}")["etag"]
        loss = {"warehouseId": city.RIVERSIDE.id, "delta": -1, "reason": "LOSS", "etag": etag}
        yield Post("AdjustStock", warehouse, f"/v1/stock/{self._sku}:adjust", loss, {**loss, "delta": -2})

    def _people(self, buyer: Buyer) -> Iterator[Post]:
        known = buyer.get(f"/v1/users/me/addresses/{buyer.address_id}")
        address = {name: known[name] for name in known if name not in ("id", "zoneId", "etag", "createTime")}
        yield Post("CreateAddress", buyer, "/v1/users/me/addresses", address, {**address, "label": "?"})
        secret = {"oldPassword": PASSWORD, "newPassword": "another one of the posts, 1742"}
        yield Post(
            "ChangePassword", self._shop.buyer(), "/v1/users/me:changePassword", secret, {**secret, "oldPassword": "?"}
        )
        courier = {"id": self._shop.buyer().id, "name": "Hired once"}
        yield Post("CreateCourier", self._staff("warehouse"), "/v1/couriers", courier, {**courier, "name": "?"})

    def _office(self, _: Buyer) -> Iterator[Post]:
        finance, admin, today = self._staff("finance"), self._staff("admin"), datetime.now(UTC).date().isoformat()
        yield Post("ReconcilePayments", finance, "/v1/payments:reconcile", {"date": today}, {"date": "2026-01-01"})
        yield Post("AuditService", admin, "/v1/ops/product:audit")
        yield Post("RebuildProjection", admin, "/v1/ops/order/projections/order.board:rebuild")
        until(lambda: self._rebuilt("order.board"), "it is rebuilt")
        letter = f"/v1/ops/order/deadLetters/{self._dead_letter()}"
        yield Post("DiscardDeadLetter", admin, f"{letter}:discard")
        yield Post("RedriveDeadLetter", admin, f"{letter}:redrive")

    def _rebuilt(self, name: str) -> bool:
        projections = self._staff("admin").get("/v1/ops/order")["projections"]
        return any(each["name"] == name and each["state"] == "LIVE" for each in projections)

    def _dead_letter(self) -> str:
        """The id of something that lies on Kafka and is no event."""
        producer, admin = Producer({"bootstrap.servers": self._shop.mesh.bootstrap}), self._staff("admin")
        producer.produce("mercato.payment.v1", b"no event", secrets.token_hex(8))
        assert not producer.flush(30)
        (letter,) = until(lambda: admin.get("/v1/ops/order/deadLetters").get("deadLetters"), "it is put aside")
        return str(letter["id"])

    def _orders(self, buyer: Buyer) -> None:
        """An order that is brought at the second try and comes back twice; one that is cancelled; one unpaid."""
        self._money(buyer)
        order = self._placed(buyer)
        path = f"/v1/orders/{order['id']}"
        self.do(Post("StartPicking", self._staff("warehouse"), f"{path}:startPicking"))
        self.do(Post("FinishPicking", self._staff("warehouse"), f"{path}:finishPicking"))
        shipment = f"/v1/shipments/{buyer.sees(order['id'], 'READY')['shipmentId']}"
        self._bring(shipment, "FailShipment", "fail", {"reason": "nobody there"})
        buyer.sees(order["id"], "DELIVERY_FAILED")
        again = {"slotId": self._shop.slot()}
        self.do(Post("Redeliver", self._staff("support"), f"{path}:redeliver", again, {"slotId": self._slot}))
        ready = buyer.sees(order["id"], "READY")
        self._bring(f"/v1/shipments/{ready['shipmentId']}", "DeliverShipment", "deliver", {})
        buyer.sees(order["id"], "DELIVERED")
        self._returned(buyer, path)
        (payment,) = buyer.payments(order["id"])
        back = {"amount": {"currencyCode": "USD", "units": "1"}, "reason": "kindness"}
        refund = f"/v1/payments/{payment['id']}:refund"
        self.do(Post("RefundPayment", self._staff("finance"), refund, back, {**back, "reason": "?"}))

    def _placed(self, buyer: Buyer) -> Json:
        wish = buyer.wish(self._slot, ordered(self._sku, 2))
        placed = self.do(Post("PlaceOrder", buyer, "/v1/orders", wish, {**wish, "note": "?"}))
        return buyer.sees(placed["id"], "CONFIRMED")

    def _bring(self, shipment: str, rpc: str, verb: str, body: Json) -> None:
        courier, warehouse = self._staff("courier"), self._staff("warehouse")
        him, another = {"courierId": courier.id}, {"courierId": warehouse.id}
        self.do(Post("AssignShipment", warehouse, f"{shipment}:assign", him, another))
        self.do(Post("PickUpShipment", courier, f"{shipment}:pickUp"))
        self.do(Post("ReportPosition", courier, f"{shipment}/positions", HERE, {**HERE, "latitude": 1}))
        self.do(Post(rpc, courier, f"{shipment}:{verb}", body))

    def _returned(self, buyer: Buyer, path: str) -> None:
        support, back = self._staff("support"), {"lines": [ordered(self._sku)], "reason": "soggy"}
        self.do(Post("RequestReturn", buyer, f"{path}:requestReturn", back, {**back, "reason": "?"}))
        self.do(Post("RefuseReturn", support, f"{path}:refuseReturn", {"reason": "eaten"}, {"reason": "?"}))
        self.do(Post("RequestReturn", buyer, f"{path}:requestReturn", back, {**back, "reason": "?"}))
        self.do(Post("ApproveReturn", support, f"{path}:approveReturn", {}, {"restock": [ordered(self._sku)]}))

    def _money(self, buyer: Buyer) -> None:
        wish = buyer.wish(self._slot, ordered(self._sku))
        cancelled = buyer.order(wish)
        reason = {"reason": "changed my mind"}
        path = f"/v1/orders/{cancelled['id']}:cancel"
        self.do(Post("CancelOrder", buyer, path, reason, {"reason": "?"}))
        unpaid = buyer.order({**wish, "paymentMethod": "pm_capture_fails"})
        self._shop.pick(unpaid["id"])
        buyer.sees(unpaid["id"], "PAYMENT_DUE")
        self.do(Post("RetryStuck", self._staff("admin"), f"/v1/ops/order/stuck/{unpaid['id']}:retry"))
        until(lambda: self._waits(unpaid["id"]), "it waits again")
        means = {"paymentMethod": "pm_card_visa"}
        path = f"/v1/orders/{unpaid['id']}:retryPayment"
        self.do(Post("RetryPayment", buyer, path, means, {"paymentMethod": "cash_on_delivery"}))
        buyer.sees(unpaid["id"], "READY")

    def _waits(self, order_id: str) -> bool:
        stuck = self._staff("admin").get("/v1/ops/order/stuck", pageSize=200).get("stuck", ())
        return any(each["id"] == order_id for each in stuck)


@pytest.fixture(scope="module")
def told(mesh: Mesh, shop: Shop) -> Mapping[str, tuple[Post, httpx.Response]]:
    """What everybody did, and what was said to it; the mesh is at rest."""
    story = Story(shop)
    story.tell()
    return story.told


def test_every_post_of_the_contracts_is_in_the_story_or_means_nothing(
    told: Mapping[str, tuple[Post, httpx.Response]],
) -> None:
    assert told.keys() == POSTS.keys() - WITHOUT_EFFECT
    assert {"RegisterUser", "SignIn", "StartGuestSession"} == WITHOUT_EFFECT
    assert not [name for name in told if POSTS[name].policy.idempotent_by != "request_id"]


def test_every_repeat_says_so_is_answered_alike_and_has_no_second_effect(
    mesh: Mesh, told: Mapping[str, tuple[Post, httpx.Response]]
) -> None:
    before = digest_of(mesh)
    for rpc, (post, first) in told.items():
        again, once_more = post.ask(), post.ask()
        for answer in (again, once_more):
            assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (first.status_code, "true"), rpc
        assert again.content == once_more.content or rpc in AS_IT_IS_NOW, rpc
        # What it made, as it is now: if that has moved on, it says so.
        assert again.content == first.content or moved(first.json(), again.json()), (rpc, first.text, again.text)
        assert "Idempotent-Replayed" not in first.headers, rpc
    after = digest_of(mesh)
    assert {table: (before[table], after[table]) for table in different(before, after)} == {}


def moved(first: Json, now: Json) -> bool:
    """Whether what an answer is about has another version, or another place, than it had."""
    return first.get("id", first.get("name")) == now.get("id", now.get("name")) and first != now


def test_a_key_is_for_no_other_request(told: Mapping[str, tuple[Post, httpx.Response]]) -> None:
    others: Sequence[Post] = [post for post, _ in told.values() if post.other is not None]
    answers = {post.rpc: post.ask(post.other) for post in others}
    refused = {rpc: (answer.status_code, answer.json().get("reason")) for rpc, answer in answers.items()}
    assert len(refused) > 15
    assert {rpc: told for rpc, told in refused.items() if told != (422, "IDEMPOTENCY_KEY_REUSED")} == {}
