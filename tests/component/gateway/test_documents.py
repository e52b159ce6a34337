"""The documents: valid, complete and true."""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.asyncapi import events
from gateway.comments import as_html
from gateway.contract import operations, published
from gateway.openapi import public_path
from gateway.reasons import KNOWN
from tests.component.gateway.conftest import Mesh


@pytest.fixture(scope="module")
def document(_shared: Any) -> dict[str, Any]:
    found: dict[str, Any] = _shared.client.get("/openapi.json").json()
    return found


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
def test_a_document_is_sent_to_whoever_does_not_have_it(client: httpx.Client, path: str) -> None:
    etag = client.get(path).headers["etag"]
    had = client.get(path, headers={"If-None-Match": etag})
    assert (had.status_code, had.content, had.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


def test_every_rest_form_of_the_contracts_is_in_it(document: dict[str, Any]) -> None:
    wanted = {
        (binding.method.lower(), public_path(binding.template))
        for operation in operations(published())
        for binding in operation.bindings
    }
    found = {(method, path) for path, item in document["paths"].items() for method in item}
    assert found == wanted | {("get", "/v1/orders/{id}/events"), ("post", "/webhooks/{provider}")}


def test_every_operation_and_field_is_described(document: dict[str, Any]) -> None:
    described = [operation for item in document["paths"].values() for operation in item.values()]
    assert all(operation["summary"] and operation["description"] for operation in described)
    product = document["components"]["schemas"]["Product"]
    assert all(field.get("description") for field in product["properties"].values())


def test_the_rules_of_the_contract_are_in_it(document: dict[str, Any]) -> None:
    product = document["components"]["schemas"]["Product"]["properties"]
    assert product["title"]["maxLength"] == 200
    assert product["variants"]["maxItems"] == 100
    create = document["paths"]["/v1/products"]["post"]
    key = next(each for each in create["parameters"] if each.get("name") == "Idempotency-Key")
    assert key["required"] is True
    assert create["requestBody"]["required"] is True
    assert create["security"] == [{"bearer": []}, {"cookie": []}]
    assert document["paths"]["/v1/products"]["get"]["security"] == [{}]


def test_bodies_offer_neither_what_the_path_says_nor_the_key(document: dict[str, Any]) -> None:
    cancel = document["paths"]["/v1/orders/{id}:cancel"]["post"]
    schema = cancel["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == {"reason", "etag"}
    assert schema["required"] == ["reason"]


def test_an_order_may_be_made_or_accepted(document: dict[str, Any]) -> None:
    assert {"201", "202", "402", "409", "422"} <= document["paths"]["/v1/orders"]["post"]["responses"].keys()


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_large_files_come_packed_to_whoever_takes_that(client: httpx.Client, name: str) -> None:
    plain = client.get(f"/docs/{name}", headers={"Accept-Encoding": "identity"})
    packed = client.get(f"/docs/{name}", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    assert packed.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/docs.js"])
def test_the_api_docs_are_served_from_here(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "//unpkg" not in page.text[:5000]


def test_the_front_page_says_where_to_go(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for address in ("/docs", "/openapi.json", "/asyncapi.json", "/docs/access", "/docs/events", "/docs/problems"):
        assert f'href="{address}"' in page.text
        assert client.get(address).status_code == 200


@pytest.mark.parametrize("reason", [*KNOWN, "OUT_OF_STOCK", "BELOW_RESERVED"])
def test_every_reason_has_a_page(client: httpx.Client, reason: str) -> None:
    assert client.get(f"/docs/problems/{reason.lower().replace('_', '-')}").status_code == 200


def test_an_unknown_reason_has_none(client: httpx.Client) -> None:
    assert client.get("/docs/problems/nonsense").status_code == 404
    assert client.get("/docs/..%2fapp.py").status_code == 404


def test_a_host_is_shown_as_text(mesh: Mesh, client: httpx.Client) -> None:
    assert "<script>" not in client.get("/", headers={"Host": "<script>"}).text


@pytest.fixture(scope="module")
def told(_shared: Any) -> dict[str, Any]:
    found: dict[str, Any] = _shared.client.get("/asyncapi.json").json()
    return found


def test_every_reference_of_the_events_document_leads_somewhere(told: dict[str, Any]) -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else ())
            part = list(part.values())
        if isinstance(part, list):
            for each in part:
                yield from references(each)

    found = set(references(told))
    assert found
    for reference in found:
        target: Any = told
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_public_event_is_in_the_events_document(told: dict[str, Any]) -> None:
    assert told["asyncapi"] == "3.0.0"
    order = told["channels"]["order"]
    assert order["address"] == "mercato.order.v1"
    assert {"OrderPlaced", "OrderConfirmed", "OrderReturnRefused"} <= order["messages"].keys()
    assert told["channels"].keys() == {"product", "inventory", "order", "payment", "delivery", "user", "live"}
    assert {"StockLow", "PriceChanged", "ShipmentFailed", "RolesChanged"} <= told["components"]["messages"].keys()
    assert "VariantFact" not in told["components"]["messages"]


def test_the_page_of_events_shows_each_event_with_a_true_example(client: httpx.Client, told: dict[str, Any]) -> None:
    page = client.get("/docs/events").text
    examples = [json.loads(unescape(each)) for each in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    names = [name for service in sorted(events(published())) for name in told["channels"][service]["messages"]]
    assert re.findall(r'<h3 id="(\w+)">', page) == names
    for name, example in zip(names, examples, strict=True):
        schema = told["components"]["schemas"][name]
        Draft202012Validator({**schema, "components": told["components"]}).validate(example)
        assert example.keys() == schema["properties"].keys()
        assert all(f"<td>{as_html(each['description'])}</td>" in page for each in schema["properties"].values())


def test_the_access_table_says_what_the_policies_say(client: httpx.Client) -> None:
    page = client.get("/docs/access").text
    for operation in operations(published()):
        assert operation.name in page
    row = page.split("RefundPayment</small></td>")[1].split("</tr>")[0]
    cells = [cell.removeprefix("<td>") for cell in row.split("</td>") if cell]
    nobody, guest, customer, support, catalog, warehouse, courier, finance, admin = cells
    assert finance == "all"
    assert {nobody, guest, customer, support, catalog, warehouse, courier, admin} == {"no"}
    capture, void = (page.split(f"<td>{rpc}</td>")[1].split("</tr>")[0] for rpc in ("CapturePayment", "VoidPayment"))
    assert (capture, void) == ("<td>order</td><td>payment_id, amount</td>", "<td>order</td><td>no</td>")
