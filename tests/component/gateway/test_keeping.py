"""Replies that gateways keep: what they spare, and that nobody gets what is stale."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mercato.api.product.v1 import product_pb2
from mercato.errors import NotFound
from mercato.ids import uuid7
from mercato.kafka import Kafka
from mercato.local.server import free_port
from tests.component.gateway.conftest import CUSTOMER, STAFF, Asked, Mesh, Running, bearer

ID, OTHER_ID, CATEGORY = (f"0190a6e0-0000-7000-8000-0000000000{end}" for end in ("a1", "a2", "c1"))
PATH = f"/v1/products/{ID}"


class Shelf:
    """A product whose title changes."""

    def __init__(self) -> None:
        self.title = "Milk"
        self.version = 1

    def rename(self, title: str) -> None:
        self.title, self.version = title, self.version + 1

    def get(self, request: Any) -> product_pb2.Product:
        if request.id == CATEGORY:
            raise NotFound
        return product_pb2.Product(id=request.id, title=self.title, etag=str(self.version), category_id=CATEGORY)

    def list(self, _request: Any) -> product_pb2.ListProductsResponse:
        return product_pb2.ListProductsResponse(products=[product_pb2.Product(id=ID, title=self.title)] * 20)


@pytest.fixture
def shelf(mesh: Mesh) -> Shelf:
    shelf = Shelf()
    mesh.product.answers["GetProduct"] = shelf.get
    mesh.product.answers["ListProducts"] = shelf.list
    return shelf


@pytest.fixture(scope="module")
def _listening(_world: tuple[Mesh, dict[str, str]], kafka: Kafka) -> Iterator[Running]:
    further = {"MERCATO_GATEWAY_CACHE_BYTES": "1000000", "MERCATO_KAFKA_BOOTSTRAP": kafka.bootstrap}
    gateway = Running({**_world[1], **further})
    until(gateway, lambda: gateway.replies.live)
    yield gateway
    gateway.close()


@pytest.fixture
def keeping(_listening: Running, shelf: Shelf) -> Running:
    """A gateway that hears of what happens, and has kept nothing yet."""
    _listening.replies.forget()
    _listening.client.cookies.clear()
    return _listening


def until(gateway: Running, reached: Callable[[], bool]) -> None:
    """Wait until something has come to a gateway."""
    pause = threading.Event()
    for _ in range(5000):
        if reached():
            return
        pause.wait(0.01)
    raise TimeoutError("it did not come")


def happens(kafka: Kafka, *ids: str) -> None:
    """Something happened to products, and Kafka has it."""
    kafka.make(["mercato.product.v1"])
    producer = kafka.producer()
    for each in ids:
        producer.produce("mercato.product.v1", key=each.encode(), value=b"")
    assert producer.flush(60) == 0


def asked(mesh: Mesh, rpc: str) -> list[Asked]:
    return [each for each in mesh.product.asked if each.rpc == rpc]


def test_a_kept_reply_is_the_same_as_the_first_and_asks_nobody(keeping: Running, mesh: Mesh) -> None:
    first, second = keeping.client.get(PATH), keeping.client.get(PATH)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    per_request = {"x-request-id", "date"}
    assert {k: v for k, v in first.headers.items() if k not in per_request} == {
        k: v for k, v in second.headers.items() if k not in per_request
    }
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(asked(mesh, "GetProduct")) == 1


def test_an_event_makes_the_reply_of_its_product_stale_and_no_other(
    keeping: Running, mesh: Mesh, shelf: Shelf, kafka: Kafka
) -> None:
    for path in (PATH, f"/v1/products/{OTHER_ID}", "/v1/products"):
        keeping.client.get(path)
    shelf.rename("Oat milk")
    happens(kafka, ID)
    until(keeping, lambda: keeping.client.get(PATH).json()["title"] == "Oat milk")
    assert keeping.client.get("/v1/products").json()["products"][0]["title"] == "Oat milk"
    assert keeping.client.get(f"/v1/products/{OTHER_ID}").json()["title"] == "Milk"


def test_an_event_of_its_category_makes_a_product_stale(keeping: Running, shelf: Shelf, kafka: Kafka) -> None:
    keeping.client.get(PATH)
    shelf.rename("Milk, elsewhere")
    happens(kafka, CATEGORY)
    until(keeping, lambda: keeping.client.get(PATH).json()["title"] == "Milk, elsewhere")


def test_what_was_asked_for_before_the_event_is_not_kept_after_it(
    keeping: Running, mesh: Mesh, shelf: Shelf, kafka: Kafka
) -> None:
    reading, told = threading.Event(), threading.Event()
    fresh = str(uuid7())  # of which nothing was told before: gateways hear of the last minutes when they start
    path = f"/v1/products/{fresh}"

    def slow(request: Any) -> product_pb2.Product:
        found = shelf.get(request)
        reading.set()
        assert told.wait(60)
        return found

    mesh.product.answers["GetProduct"] = slow
    with ThreadPoolExecutor(1) as threads:
        old = threads.submit(keeping.client.get, path)
        assert reading.wait(60)
        shelf.rename("Oat milk")
        happens(kafka, fresh)
        until(keeping, lambda: not keeping.replies.was_quiet(f"product/{fresh}"))
        told.set()
        assert old.result().json()["title"] == "Milk"
    assert keeping.client.get(path).json()["title"] == "Oat milk"


def test_many_who_ask_for_the_same_at_once_ask_the_service_once(keeping: Running, mesh: Mesh, shelf: Shelf) -> None:
    reading, told = threading.Event(), threading.Event()

    def slow(request: Any) -> product_pb2.Product:
        reading.set()
        assert told.wait(60)
        return shelf.get(request)

    mesh.product.answers["GetProduct"] = slow
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(keeping.client.get, PATH) for _ in range(8)]
        assert reading.wait(60)
        told.set()
        assert {answer.result().json()["title"] for answer in answers} == {"Milk"}
    assert len(asked(mesh, "GetProduct")) == 1


@pytest.mark.parametrize(
    "headers",
    [bearer(CUSTOMER), bearer(STAFF), {"Cookie": f"__Host-session={CUSTOMER}"}, {"X-Consistency": "anything"}],
    ids=["customer", "staff", "cookie", "consistency"],
)
def test_who_has_a_session_or_has_written_is_answered_by_the_service(
    keeping: Running, mesh: Mesh, shelf: Shelf, headers: dict[str, str]
) -> None:
    keeping.client.get(PATH)
    shelf.rename("Oat milk")
    assert keeping.client.get(PATH, headers=headers).json()["title"] == "Oat milk"
    assert keeping.client.get(PATH).json()["title"] == "Milk"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer nobody-knows"}, 401),
        ({"Accept": "text/xml"}, 406),
        ({"X-Long": "x" * 17_000}, 431),
        ({"Content-Length": "2", "Content-Type": "application/json"}, 400),
    ],
)
def test_a_kept_reply_hides_no_refusal(keeping: Running, headers: dict[str, str], status: int) -> None:
    keeping.client.get(PATH)
    content = b"{}" if "Content-Length" in headers else None
    assert keeping.client.request("GET", PATH, headers=headers, content=content).status_code == status


def test_an_etag_spares_a_kept_reply_too(keeping: Running) -> None:
    etag = keeping.client.get(PATH).headers["etag"]
    answers = [keeping.client.get(PATH, headers={"If-None-Match": wanted}) for wanted in (etag, f"W/{etag}", '"other"')]
    assert [answer.status_code for answer in answers] == [304, 304, 200]
    assert answers[0].content == b""
    assert answers[0].headers["etag"] == etag


def test_a_large_kept_reply_is_compressed_for_who_takes_it(keeping: Running) -> None:
    for _ in range(2):
        plain = keeping.client.get("/v1/products", headers={"Accept-Encoding": "identity"})
        packed = keeping.client.get("/v1/products", headers={"Accept-Encoding": "gzip"})
        assert plain.content == packed.content
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"


def test_a_refusal_is_not_kept(keeping: Running, mesh: Mesh) -> None:
    missing = f"/v1/products/{CATEGORY}"
    assert [keeping.client.get(missing).status_code for _ in range(2)] == [404, 404]
    assert len(asked(mesh, "GetProduct")) == 2


def test_while_nobody_tells_what_is_stale_a_reply_is_kept_for_a_second(
    start: Callable[..., Running], shelf: Shelf
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    blind = start(MERCATO_GATEWAY_CACHE_BYTES="1000000", MERCATO_KAFKA_BOOTSTRAP=nowhere)
    blind.client.get(PATH)
    shelf.rename("Oat milk")
    until(blind, lambda: blind.client.get(PATH).json()["title"] == "Oat milk")


def test_gateways_share_lists_by_redis_and_do_without(
    start: Callable[..., Running], kafka: Kafka, mesh: Mesh, shelf: Shelf, valkey_url: str
) -> None:
    both = [
        start(
            MERCATO_GATEWAY_CACHE_BYTES="1000000", MERCATO_KAFKA_BOOTSTRAP=kafka.bootstrap, MERCATO_REDIS_URL=valkey_url
        )
        for _ in range(2)
    ]
    for gateway in both:
        until(gateway, lambda gateway=gateway: gateway.replies.live)  # type: ignore[misc]
    path = f"/v1/products?brand={kafka.bootstrap.rpartition(':')[2]}"
    shelf.rename("Shared milk")
    # What was asked for within a second of an event is not believed by others: their clocks may differ by that much.
    until(both[1], lambda: _shared_by(both, path, mesh))


def _shared_by(gateways: list[Running], path: str, mesh: Mesh) -> bool:
    for gateway in gateways:
        gateway.replies.forget()
    before = len(asked(mesh, "ListProducts"))
    answers: list[httpx.Response] = [gateway.client.get(path) for gateway in gateways]
    assert answers[0].content == answers[1].content
    return len(asked(mesh, "ListProducts")) <= before + 1


def test_memory_for_replies_is_bounded(start: Callable[..., Running], kafka: Kafka, shelf: Shelf) -> None:
    small = start(MERCATO_GATEWAY_CACHE_BYTES="20000", MERCATO_KAFKA_BOOTSTRAP=kafka.bootstrap)
    for number in range(60):
        assert small.client.get("/v1/products", params={"brand": str(number)}).status_code == 200
    assert 0 < small.replies.bytes <= 20_000
