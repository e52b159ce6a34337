"""What the edge refuses, and how; nothing of it reaches a service."""

import socket
from typing import Any

import httpx
import pytest

from tests.component.gateway.conftest import Mesh

JSON = {"Content-Type": "application/json"}
SIGN_IN = "/v1/sessions"


def problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """The problem that a response is, which must be a proper one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert (body["status"], body["reason"]) == (status, reason)
    assert body["type"] == f"/docs/problems/{reason.lower().replace('_', '-')}"
    assert body["requestId"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status", "reason"),
    [
        ("POST", SIGN_IN, JSON, b"{", 400, "MALFORMED_JSON"),
        ("POST", SIGN_IN, JSON, b"[" * 10_000, 400, "MALFORMED_JSON"),
        ("POST", SIGN_IN, JSON, b'{"email": "\xff"}', 400, "MALFORMED_JSON"),
        ("POST", SIGN_IN, JSON, b'{"email": "a", "email": "b"}', 400, "VALIDATION_FAILED"),
        ("POST", SIGN_IN, JSON, b'{"roles": ["admin"]}', 400, "VALIDATION_FAILED"),
        ("POST", SIGN_IN, JSON, b"x" * 65_537, 413, "MESSAGE_TOO_LARGE"),
        ("POST", SIGN_IN, {}, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", SIGN_IN, {"Content-Type": "text/plain"}, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", SIGN_IN, {"Content-Type": "application/json; charset=latin1"}, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", SIGN_IN, {**JSON, "Content-Encoding": "gzip"}, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", f"{SIGN_IN}?email=a", JSON, b"{}", 400, "VALIDATION_FAILED"),
        ("POST", SIGN_IN, {**JSON, "Idempotency-Key": "x" * 256}, b"{}", 400, "VALIDATION_FAILED"),
        ("POST", SIGN_IN, {**JSON, "Idempotency-Key": ""}, b"{}", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products", {"Accept": "text/xml"}, b"", 406, "NOT_ACCEPTABLE"),
        ("GET", "/v1/products", {"Accept": "application/json;q=0"}, b"", 406, "NOT_ACCEPTABLE"),
        ("GET", "/v1/products?pageSize=1&pageSize=2", {}, b"", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products?pageSize=abc", {}, b"", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products?colour=red", {}, b"", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products?brand=%ff", {}, b"", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products?brand=%00", {}, b"", 400, "VALIDATION_FAILED"),
        ("GET", "/v1/products", JSON, b"{}", 400, "VALIDATION_FAILED"),
        ("GET", f"/v1/products?brand={'x' * 8200}", {}, b"", 414, "URL_TOO_LONG"),
        ("GET", "/v1/products", {"X-Long": "x" * 17_000}, b"", 431, "HEADERS_TOO_LARGE"),
        ("GET", "/v1/orders", {}, b"", 401, "UNAUTHENTICATED"),
        ("GET", "/v1/products", {"Authorization": "Basic YTpi"}, b"", 401, "UNAUTHENTICATED"),
        ("GET", "/v1/products", {"Authorization": "Bearer nobody-knows"}, b"", 401, "UNAUTHENTICATED"),
        ("GET", "/v1/products", {"Authorization": "Bearer a b"}, b"", 401, "UNAUTHENTICATED"),
        ("GET", "/v1/nothing", {}, b"", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1/products/%2e%2e/orders", {}, b"", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1//products", {}, b"", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1/products;a=b", {}, b"", 404, "ROUTE_NOT_FOUND"),
        ("PUT", "/v1/products", JSON, b"{}", 405, "METHOD_NOT_ALLOWED"),
        ("TRACE", "/v1/products", {}, b"", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/products/7", {"X-HTTP-Method-Override": "PATCH"}, b"", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_bad_input_is_refused_with_its_problem(
    mesh: Mesh, client: httpx.Client, method: str, path: str, headers: dict[str, str], content: bytes,
    status: int, reason: str,
) -> None:  # fmt: skip
    request = client.build_request(method, path, headers=headers, content=content or None)
    problem(client.send(request), status, reason)
    assert {asked.rpc for fake in mesh.fakes for asked in fake.asked} <= {"LookUpSession"}


def test_a_problem_names_the_field(client: httpx.Client, staff: dict[str, str]) -> None:
    body = {"variants": [{"sku": "a", "price": {"units": "ten"}}]}
    refusal = client.post("/v1/products", json=body, headers={**staff, "Idempotency-Key": "k"})
    errors = problem(refusal, 400, "VALIDATION_FAILED")["errors"]
    assert errors == [{"field": "variants[0].price.units", "reason": "WRONG_TYPE", "message": "must be a whole number"}]


def test_the_rules_of_the_contract_name_fields_as_the_client_wrote_them(
    mesh: Mesh, client: httpx.Client, staff: dict[str, str]
) -> None:
    body = {"title": "x" * 201, "variants": [{"sku": "not a sku"}]}
    refusal = client.post("/v1/products", json=body, headers={**staff, "Idempotency-Key": "k"})
    named = [error["field"] for error in problem(refusal, 400, "VALIDATION_FAILED")["errors"]]
    assert named == ["title", "variants[0].sku"]


def test_405_says_what_is_allowed(client: httpx.Client) -> None:
    assert client.delete("/v1/products").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    options = client.options("/v1/products/7")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")


def test_401_says_how_to_sign_in(client: httpx.Client) -> None:
    assert client.get("/v1/orders").headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("given", "echoed"), [("a-1._Z", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)])
def test_a_proper_request_id_is_echoed_and_another_is_replaced(client: httpx.Client, given: str, echoed: bool) -> None:
    assert (client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given) is echoed


def test_a_body_without_an_end_is_given_up(start: Any) -> None:
    running = start(MERCATO_GATEWAY_BODY_TIMEOUT="200ms")
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.settimeout(30)
        connection.sendall(
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in answer


def test_an_endless_body_is_cut_at_the_limit(client: httpx.Client) -> None:
    endless = (b"x" * 8192 for _ in range(1000))
    problem(client.post(SIGN_IN, content=endless, headers=JSON), 413, "MESSAGE_TOO_LARGE")


def test_more_headers_than_anybody_needs_are_refused(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={f"x-{number}": "1" for number in range(120)}).status_code == 431


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/healthz", "/v1/nothing", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    get, head = client.get("/openapi.json"), client.head("/openapi.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
