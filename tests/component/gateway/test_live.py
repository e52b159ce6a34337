"""The live events of an order."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mercato.api.product.v1 import product_pb2
from mercato.errors import NotFound
from tests.component.gateway.conftest import Mesh, Running
from tests.component.gateway.test_edge import problem
from tests.component.gateway.watching import ID, PATH, happened, read


def test_a_stream_tells_what_happened_and_what_happens_and_ends(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    with client.stream("GET", PATH, headers=customer) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert read(lines, lambda found: len(found) == 1) == [("1", "OrderPlaced")]
        history.add("OrderConfirmed")
        history.add("OrderDelivered")
        assert read(lines, lambda _: False) == [("3", "OrderConfirmed"), ("5", "OrderDelivered")]


def test_data_is_the_entry_of_the_history(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderRejected")
    stream = client.get(PATH, headers=customer).text
    entry = client.get(f"/v1/orders/{ID}/history", headers=customer).text.removeprefix('{"events":[').removesuffix("]}")
    assert f"data: {entry}\n" in stream


@pytest.mark.parametrize(("last", "told"), [("1", ["OrderConfirmed", "OrderCancelled"]), ("3", ["OrderCancelled"])])
def test_a_stream_goes_on_after_the_last_event_id(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str], last: str, told: list[str]
) -> None:
    happened(mesh, "OrderPlaced", "OrderConfirmed", "OrderCancelled")
    stream = client.get(PATH, headers={**customer, "Last-Event-ID": last})
    assert [kind for _, kind in read(iter(stream.text.splitlines()), lambda _: False)] == told


def test_a_stream_that_was_read_to_its_end_is_over(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    happened(mesh, "OrderPlaced", "OrderDelivered")
    assert client.get(PATH, headers={**customer, "Last-Event-ID": "3"}).status_code == 204


def test_a_service_that_is_away_for_a_while_interrupts_nothing(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    with client.stream("GET", PATH, headers=customer) as stream:
        lines = stream.iter_lines()
        read(lines, lambda found: len(found) == 1)
        history.away = 5
        history.add("OrderCancelled")
        assert read(lines, lambda _: False) == [("3", "OrderCancelled")]


def test_a_foreign_order_is_not_there(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    def missing(_request: Any) -> None:
        raise NotFound

    mesh.order.answers["ListOrderEvents"] = missing
    problem(client.get(PATH, headers=customer), 404, "NOT_FOUND")
    problem(client.get(PATH), 401, "UNAUTHENTICATED")


def test_a_last_event_id_that_is_none_is_refused(client: httpx.Client, customer: dict[str, str]) -> None:
    for given in ("x", "-1", "1.5", "9" * 19):
        problem(client.get(PATH, headers={**customer, "Last-Event-ID": given}), 400, "VALIDATION_FAILED")


def test_a_client_that_goes_away_leaves_nothing_behind(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    history = happened(mesh, "OrderPlaced")
    with client.stream("GET", PATH, headers=customer) as stream:
        read(stream.iter_lines(), lambda found: len(found) == 1)
    # Nobody asks for the order any more: with a reader there is a look every 50 ms.
    with history.asked:
        assert eventually_quiet(history.asked)


def eventually_quiet(asked: threading.Condition) -> bool:
    return any(not asked.wait(0.4) for _ in range(20))


def test_a_gateway_that_ends_says_goodbye_to_its_streams(
    mesh: Mesh, start: Callable[..., Running], customer: dict[str, str]
) -> None:
    happened(mesh, "OrderPlaced")
    running = start()
    with running.client.stream("GET", PATH, headers=customer) as stream:
        lines = stream.iter_lines()
        read(lines, lambda found: len(found) == 1)
        running.stop()
        assert [line for line in lines if "goodbye" in line] == [": goodbye, come back"]
    assert running.ended(within=60)


def test_a_gateway_that_ends_answers_what_is_under_way(mesh: Mesh, start: Callable[..., Running]) -> None:
    begun, finish = threading.Event(), threading.Event()

    def slowly(_request: Any) -> product_pb2.Product:
        begun.set()
        finish.wait(60)
        return product_pb2.Product(id=ID)

    mesh.product.answers["GetProduct"] = slowly
    running = start()
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(running.client.get(f"/v1/products/{ID}").status_code))
    asking.start()
    assert begun.wait(60)
    running.stop()
    assert not running.ended(within=0.3)
    finish.set()
    asking.join(60)
    assert answers == [200]
    assert running.ended(within=60)
