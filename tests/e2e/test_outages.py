"""Parts of the mesh that go and come back while the shop is open: nobody waits in vain, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

from chaos.recording import records
from mercato.local.mesh import Mesh
from tests.e2e.town import Json, Shop, killed, ordered, until

OUTAGE, PACE = 10.0, 0.1
SLOTS = 4
"""Enough for an order at each pace of the outage, on however fast a machine."""
REQUESTS, AT_ONCE = 200, 4


@contextmanager
def without(mesh: Mesh, name: str) -> Iterator[None]:
    """A part is stopped for the length of the block."""
    mesh.stop(name)
    try:
        yield
    finally:
        mesh.start(name)


def test_orders_are_taken_without_kafka_and_their_events_come_later(mesh: Mesh, shop: Shop) -> None:
    buyer, sku, scarce = shop.buyer(), shop.sku(stock=500), shop.sku(stock=1)
    slots = cycle([shop.slot() for _ in range(SLOTS)])
    orders, pause = list[Json](), threading.Event()
    with without(mesh, "kafka"):
        reopens = time.monotonic() + OUTAGE
        orders.append(buyer.post("/v1/orders", buyer.wish(next(slots), ordered(scarce))))
        while time.monotonic() < reopens:
            pause.wait(PACE)
            answer = buyer.ask("/v1/orders", buyer.wish(next(slots), ordered(sku)))
            assert answer.status_code == 201, answer.text
            orders.append(answer.json())
    expected = {(order["id"], type_) for order in orders for type_ in ("OrderPlaced", "OrderConfirmed")}

    def carried() -> bool:
        return expected <= {(record.key, record.type) for record in records(mesh.bootstrap, "order")}

    until(carried, "Kafka carries what happened without it")
    # What follows from events follows: the hint in the catalogue, and the way to the door.
    until(lambda: _availability(shop, scarce) == "OUT_OF_STOCK", "the catalogue knows what is sold out")
    shop.pick(orders[-1]["id"])
    shop.deliver(buyer.sees(orders[-1]["id"], "READY"))
    buyer.sees(orders[-1]["id"], "DELIVERED")
    _check_order_of_versions(mesh)


def _availability(shop: Shop, sku: str) -> str:
    (product,) = shop.staff("catalog").get("/v1/products", pageSize=1, brand=sku)["products"]
    return str(product["variants"][0]["availability"])


def _check_order_of_versions(mesh: Mesh) -> None:
    """The events of one aggregate came in the order in which they happened; some may have come again."""
    seen = dict[str, list[int]]()
    for record in records(mesh.bootstrap, "order"):
        seen.setdefault(record.key, []).append(int(record.headers["version"]))
    assert all(list(dict.fromkeys(versions)) == sorted(set(versions)) for versions in seen.values())


def test_a_service_that_is_restarted_under_load_fails_no_request(mesh: Mesh, shop: Shop) -> None:
    path = f"/v1/products/{_product_id(shop)}"
    visitor = shop.staff("catalog")
    before, over = mesh.report("product").pid, threading.Event()

    def ask() -> list[int]:
        codes = list[int]()
        while not over.is_set() or len(codes) < REQUESTS / AT_ONCE:
            codes.append(visitor.http.get(path).status_code)
        return codes

    with ThreadPoolExecutor(AT_ONCE) as threads:
        asking = [threads.submit(ask) for _ in range(AT_ONCE)]
        try:
            mesh.restart("product")
        finally:
            over.set()
        codes = [code for each in asking for code in each.result()]
    assert mesh.report("product").pid != before
    assert set(codes) == {200}
    assert len(codes) >= REQUESTS


def _product_id(shop: Shop) -> str:
    (product,) = shop.staff("catalog").get("/v1/products", pageSize=1)["products"]
    return str(product["id"])


def test_an_event_stream_survives_the_order_service_that_it_reads_from(mesh: Mesh, shop: Shop) -> None:
    buyer = shop.buyer()
    order = buyer.order(buyer.wish(shop.slot(), ordered(shop.sku())))
    with buyer.watch(order["id"], after=int(order["version"])) as events:
        killed(mesh, "order")
        shop.staff("warehouse").post(f"/v1/orders/{order['id']}:startPicking")
        assert next(type_ for _, type_ in events if type_.startswith("OrderPicking")) == "OrderPickingStarted"
