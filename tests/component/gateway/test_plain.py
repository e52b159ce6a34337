"""Plain reads take the short way; what they are answered does not show it."""

from typing import Any

import httpx
import pytest

from mercato.api.product.v1 import product_pb2
from mercato.errors import FieldViolation, InvalidArgument, NotFound, Unavailable
from tests.component.gateway.conftest import Mesh

ID = "0190a6e0-0000-7000-8000-0000000000a1"
LONG = {"Accept": "application/json;q=0.9"}  # nothing else is wished for, but it takes a thought to see that


def answer(request: Any) -> product_pb2.Product:
    match request.id[-2:]:
        case "00":
            raise NotFound("no such thing", what="a product")
        case "01":
            raise Unavailable("not now").after(3)
        case "02":
            raise InvalidArgument.about([FieldViolation("id", "ODD", "is odd")])
        case "03":
            raise ValueError("hunter2")
    return product_pb2.Product(id=request.id, title="Milk", attributes={"a": "b"}, etag="7")


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/products/{ID}",
        *(f"/v1/products/{ID[:-2]}{end}" for end in ("00", "01", "02", "03")),
        f"/v1/products/{ID}?unknown=1",
        f"/v1/products/{ID}?",
        "/v1/products?pageSize=2&pageSize=3",
        "/v1/products?pageSize=2",
        "/v1/products?minPrice=%FF",
        "/v1/products/%2e%2e",
        f"/v1/products/{ID}?{'x' * 2000}=1",
    ],
)
def test_the_short_way_and_the_long_one_answer_the_same(mesh: Mesh, client: httpx.Client, path: str) -> None:
    mesh.product.answers["GetProduct"] = answer
    mesh.product.answers["ListProducts"] = lambda _: product_pb2.ListProductsResponse(next_page_token="next")
    short, long = told(client.get(path)), told(client.get(path, headers=LONG))
    assert short == long


def told(response: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """An answer, but for what no two of them have in common."""
    headers = {name: value for name, value in response.headers.items() if name not in ("x-request-id", "date")}
    body = response.json()
    body.pop("requestId", None)
    return response.status_code, {**headers, "content-length": ""}, body


def test_a_read_on_the_short_way_keeps_its_ids(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["GetProduct"] = answer
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-Id": "r-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert client.get(f"/v1/products/{ID}", headers=headers).headers["x-request-id"] == "r-1"
    assert mesh.product.last.call.request_id == "r-1"
    refused = client.get(f"/v1/products/{ID[:-2]}00", headers={"X-Request-Id": "r-2"})
    assert (refused.headers["x-request-id"], refused.json()["requestId"]) == ("r-2", "r-2")
