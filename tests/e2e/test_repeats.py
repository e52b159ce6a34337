"""Keys of requests: what is committed and not answered, because the process was killed, is answered to the repeat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chaos.sweep.control import Controls
from mercato.local.mesh import Mesh
from mercato.rpc.contract import owner_of
from shop import city
from tests.access import ROWS
from tests.e2e.asking import RPCS
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Identity, Json, Person, Shop, cents, killed, ordered, until

PROCESSES = ("product", "inventory", "payment", "order", "order-2")


@dataclass
class Deed:
    """Something that is to be done once: `wrong` is refused for what it says, `other` is another request."""

    rpc: str
    by: Person
    path: str
    body: Json
    wrong: Json
    other: Json
    done_once: Callable[[], bool]
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def place(self) -> str:
        """Where the process has committed and not answered."""
        return f"{owner_of(RPCS[self.rpc].containing_service)}.{self.rpc}.after_commit"

    def ask(self, **changes: Any) -> httpx.Response:
        """Ask for it, or for something a little different, by its key."""
        return self.by.ask(self.path, {**self.body, **changes}, self.key)


def drafts(catalog: Person, brand: str) -> Sequence[Json]:
    """The drafts of a brand."""
    return list(catalog.get("/v1/products", brand=brand, state="DRAFT").get("products", ()))


class Deeds:
    """One of each operation that must not be done twice."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._buyer, self._slot = shop.buyer(), shop.slot()
        self._sku = shop.sku(stock=50)
        once = (self._creation, self._receipt, self._adjustment, self._purchase, self._cancellation, self._retry)
        self.all = [*(prepare() for prepare in once), *self._returns()]

    def _creation(self) -> Deed:
        catalog, brand = self._shop.staff("catalog"), secrets.token_hex(6)
        return Deed(
            *("CreateProduct", catalog, "/v1/products", {"title": "Made once", "brand": brand}),
            *({"categoryId": str(uuid4())}, {"title": "?"}, lambda: len(drafts(catalog, brand)) == 1),
        )

    def _receipt(self) -> Deed:
        sku = self._shop.sku(stock=10)
        body = {"warehouseId": city.RIVERSIDE.id, "quantity": 3, "reference": "repeats"}
        return Deed(
            *("ReceiveStock", self._shop.staff("warehouse"), f"/v1/stock/{sku}:receive", body),
            *({"warehouseId": "nowhere"}, {"quantity": 4}, lambda: self._shop.stock(sku) == (13, 0)),
        )

    def _adjustment(self) -> Deed:
        sku, warehouse = self._shop.sku(stock=10), self._shop.staff("warehouse")
        etag = warehouse.get(f"/v1/stock/{sku}")["etag"]
        body = {"warehouseId": city.RIVERSIDE.id, "delta": -1, "reason": "DAMAGE", "etag": etag}
        return Deed(
            *("AdjustStock", warehouse, f"/v1/stock/{sku}:adjust", body),
            *({"delta": -11}, {"delta": -2}, lambda: self._shop.stock(sku) == (9, 0)),
        )

    def _purchase(self) -> Deed:
        buyer, sku = self._shop.buyer(), self._shop.sku()
        return Deed(
            *("PlaceOrder", buyer, "/v1/orders", buyer.wish(self._slot, ordered(sku))),
            *({"expectedTotal": {"currencyCode": "USD", "units": "1"}}, {"note": "?"}),
            lambda: self._shop.stock(sku) == (10, 1) and len(buyer.get("/v1/orders")["orders"]) == 1,
        )

    def _cancellation(self) -> Deed:
        order = self._order()
        return Deed(
            *("CancelOrder", self._buyer, f"/v1/orders/{order['id']}:cancel", {"reason": "changed my mind"}),
            *({"etag": "999999"}, {"reason": "?"}, self._told_once(order, "OrderCancelled")),
        )

    def _retry(self) -> Deed:
        order = self._order("pm_capture_fails")
        self._shop.pick(order["id"])
        self._buyer.sees(order["id"], "PAYMENT_DUE")

        def paid_once() -> bool:
            now = self._buyer.sees(order["id"], "READY")
            return bool(now["capturedTotal"] == now["total"])

        return Deed(
            *("RetryPayment", self._buyer, f"/v1/orders/{order['id']}:retryPayment", {"paymentMethod": "pm_card_visa"}),
            *({"paymentMethod": "no such means"}, {"paymentMethod": "cash_on_delivery"}, paid_once),
        )

    def _returns(self) -> Sequence[Deed]:
        asked, approved, refused = (self._delivered() for _ in range(3))
        support, finance = self._shop.staff("support"), self._shop.staff("finance")
        back = {"lines": [ordered(self._sku)], "reason": "soggy"}
        for order in (approved, refused):
            self._buyer.post(f"/v1/orders/{order['id']}:requestReturn", back)
        (payment,) = self._buyer.payments(asked["id"])
        amount = {"currencyCode": "USD", "units": "1"}
        return [
            Deed(
                *("RequestReturn", self._buyer, f"/v1/orders/{asked['id']}:requestReturn", back),
                *({"lines": [ordered(self._sku, 99)]}, {"reason": "?"}, self._told_once(asked, "OrderReturnRequested")),
            ),
            Deed(
                *("ApproveReturn", support, f"/v1/orders/{approved['id']}:approveReturn", {"restock": []}),
                *({"restock": [ordered(self._sku, 99)]}, {"restock": [ordered(self._sku)]}),
                self._told_once(approved, "OrderReturnApproved"),
            ),
            Deed(
                *("RefuseReturn", support, f"/v1/orders/{refused['id']}:refuseReturn", {"reason": "eaten"}),
                *({"reason": ""}, {"reason": "?"}, self._told_once(refused, "OrderReturnRefused")),
            ),
            Deed(
                *("RefundPayment", finance, f"/v1/payments/{payment['id']}:refund"),
                *({"amount": amount, "reason": "kindness"}, {"amount": {**amount, "units": "999"}}, {"reason": "?"}),
                lambda: cents(finance.get(f"/v1/payments/{payment['id']}").get("refunded")) == 100,
            ),
        ]

    def _order(self, method: str = "pm_card_visa") -> Json:
        return self._buyer.order(self._buyer.wish(self._slot, ordered(self._sku), method=method))

    def _delivered(self) -> Json:
        order = self._order()
        self._shop.pick(order["id"])
        self._shop.deliver(self._buyer.sees(order["id"], "READY"))
        return self._buyer.sees(order["id"], "DELIVERED")

    def _told_once(self, order: Json, type_: str) -> Callable[[], bool]:
        def told() -> bool:
            events = self._buyer.get(f"/v1/orders/{order['id']}/history")["events"]
            return [event["type"] for event in events].count(type_) == 1

        return told


@pytest.fixture(scope="module")
def deeds(mesh: Mesh, shop: Shop) -> Sequence[Deed]:
    """One of each operation that wants a key."""
    return Deeds(shop).all


def test_there_is_a_deed_of_every_operation_that_wants_a_key(deeds: Sequence[Deed]) -> None:
    assert sorted(deed.rpc for deed in deeds) == sorted(row.rpc for row in ROWS.values() if row.key)


def test_without_a_key_nothing_is_done_and_what_is_refused_does_not_use_its_key_up(deeds: Sequence[Deed]) -> None:
    for deed in deeds:
        without = deed.by.http.post(deed.path, json=deed.body)
        assert (without.status_code, without.json()["reason"]) == (400, "IDEMPOTENCY_KEY_REQUIRED")
        refused = deed.ask(**deed.wrong)
        assert 400 <= refused.status_code < 500, (deed.rpc, refused.text)
    # That the keys are free is what the next test lives on: its first request with them must be done, not replayed.


def test_what_was_done_by_processes_that_were_killed_before_they_answered_is_answered_to_the_repeat(
    mesh: Mesh, controls: Controls, deeds: Sequence[Deed]
) -> None:
    places = {deed.place for deed in deeds}
    controls.arm(*(f"{place}=hang" for place in places))
    with ThreadPoolExecutor(len(deeds)) as threads:
        asked = [threads.submit(deed.ask) for deed in deeds]
        until(lambda: struck(controls) >= places, "everything is committed, and nothing answered")
        killed(mesh, *PROCESSES)
        early = [each.result() for each in asked]
    for deed, first in zip(deeds, early, strict=True):
        repeat, again = answered(deed), answered(deed)
        for answer in (repeat, again):
            assert answer.is_success, (deed.rpc, answer.text)
            assert answer.headers.get("Idempotent-Replayed") == "true", deed.rpc
        assert name_of(repeat) == name_of(again), deed.rpc
        assert not first.is_success or name_of(first) == name_of(repeat), deed.rpc
        other = deed.ask(**deed.other)
        assert (other.status_code, other.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED"), deed.rpc
        until(deed.done_once, f"{deed.rpc} was done once")


def struck(controls: Controls) -> set[str]:
    """The armed places where somebody hangs."""
    answers = [process.ask() or {"struck": ()} for process in controls.processes()]
    return {place for answer in answers for place in answer["struck"]}


def answered(deed: Deed) -> httpx.Response:
    """What is said to a repeat, once the gateway has found the new processes."""

    def ask() -> httpx.Response | None:
        answer = deed.ask()
        return answer if answer.status_code < 500 else None

    answer = until(ask, f"{deed.rpc} is answered")
    assert answer is not None
    return answer


def name_of(answer: httpx.Response) -> str:
    """What an answer is about."""
    said = answer.json()
    return str(said.get("id") or said["sku"])


def test_who_comes_while_the_first_is_under_way_waits_a_moment_and_is_told_to_come_again(
    shop: Shop, controls: Controls
) -> None:
    catalog, brand, key = shop.staff("catalog"), secrets.token_hex(6), secrets.token_hex(8)
    product = {"title": "Under way", "brand": brand}
    controls.arm("product.CreateProduct.before_commit=hang")
    with ThreadPoolExecutor(1) as threads:
        try:
            first = threads.submit(catalog.ask, "/v1/products", product, key)
            until(lambda: struck(controls), "the first one is about to commit")
            second = catalog.ask("/v1/products", product, key)
        finally:
            controls.disarm()
        first.result()
    assert (second.status_code, second.json()["reason"]) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert int(second.headers["Retry-After"]) >= 1
    assert catalog.ask("/v1/products", product, key).is_success
    assert len(drafts(catalog, brand)) == 1


def test_a_key_of_one_is_nothing_to_another_and_of_nobody_to_nobody(shop: Shop) -> None:
    key, buyers = secrets.token_hex(8), [shop.buyer(), shop.buyer()]
    address = {**buyers[0].get(f"/v1/users/me/addresses/{buyers[0].address_id}"), "label": "second"}
    body = {name: value for name, value in address.items() if name not in ("id", "zoneId", "etag", "createTime")}
    made = [buyer.ask("/v1/users/me/addresses", body, key) for buyer in buyers]
    assert [answer.status_code for answer in made] == [201, 201]
    assert not [answer for answer in made if "Idempotent-Replayed" in answer.headers]
    again = buyers[1].ask("/v1/users/me/addresses", body, key)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (made[1].json()["id"], "true")
    for person in (shop.guest(), shop.guest()):
        identity: Identity = person.identity
        account = {"email": identity.email, "password": PASSWORD, "displayName": identity.name}
        assert person.ask("/v1/users", account, key).status_code == 201
        assert person.ask("/v1/users", account, key).json()["reason"] == "EMAIL_TAKEN"
