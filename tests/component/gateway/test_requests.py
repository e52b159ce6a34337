"""From a request to a call, and from a reply to an answer."""

import threading
from typing import Any

import httpx
import pytest
from google.protobuf.empty_pb2 import Empty

from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2
from mercato.errors import (
    AlreadyExists,
    FailedPrecondition,
    IdempotencyKeyInUse,
    MercatoError,
    NotFound,
    NotYetConsistent,
    Overloaded,
    ResourceExhausted,
    Unimplemented,
)
from mercato.rpc.call import current_call
from tests.component.gateway.conftest import Mesh, Running
from tests.component.gateway.test_edge import problem

ID = "0190a6e0-0000-7000-8000-00000000000a"
KEY = {"Idempotency-Key": "key-1"}


class OutOfStock(FailedPrecondition):
    """Too few are left."""


class PaymentDeclined(FailedPrecondition):
    """The card was refused."""


def a_product(_request: Any = None) -> product_pb2.Product:
    return product_pb2.Product(id=ID, title="Milk", state=product_pb2.Product.ACTIVE, etag="7")


def an_order(state: str = "CONFIRMED") -> order_pb2.Order:
    return order_pb2.Order(id=ID, state=order_pb2.Order.State.Value(state), etag="1")


def refusing(error: MercatoError) -> Any:
    def refuse(_request: Any) -> None:
        raise error

    return refuse


def test_a_path_a_query_and_a_header_become_one_request(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["ListProducts"] = lambda _: product_pb2.ListProductsResponse(products=[a_product()])
    answer = client.get(
        "/v1/products?pageSize=3&inStock=false&state=DRAFT&orderBy=price+desc", headers={"X-Request-Id": "r-1"}
    )
    assert answer.status_code == 200
    assert answer.json()["products"][0]["title"] == "Milk"
    assert answer.json()["nextPageToken"] == ""
    asked = mesh.product.last
    assert (asked.request.page_size, asked.request.in_stock, asked.request.order_by) == (3, False, "price desc")
    assert asked.request.HasField("in_stock")
    assert asked.call.request_id == "r-1"
    assert not asked.call.principal.subject


def test_lists_in_a_query_are_repeated_or_separated_by_commas(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["BatchGetProducts"] = lambda _: product_pb2.BatchGetProductsResponse()
    for query in (f"ids={ID}&ids={ID[:-1]}b", f"ids={ID},{ID[:-1]}b"):
        assert client.get(f"/v1/products:batchGet?{query}").status_code == 200
        assert list(mesh.product.last.request.ids) == [ID, f"{ID[:-1]}b"]


def test_the_session_says_who_asks(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    mesh.order.answers["GetCart"] = lambda _: order_pb2.Cart()
    assert client.get("/v1/cart", headers=customer).status_code == 200
    call = mesh.order.last.call
    assert (call.principal.subject[-2:], sorted(call.principal.roles), call.service) == ("01", ["customer"], "gateway")


def test_a_role_that_the_contract_does_not_name_is_refused_at_the_door(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str]
) -> None:
    problem(client.post("/v1/products", json={"title": "x"}, headers={**customer, **KEY}), 403, "FORBIDDEN")
    assert not mesh.product.asked


def test_creates_answer_201_with_their_address(mesh: Mesh, client: httpx.Client, staff: dict[str, str]) -> None:
    mesh.product.answers["CreateProduct"] = a_product
    made = client.post("/v1/products", json={"title": "Milk"}, headers={**staff, **KEY})
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/products/{ID}")
    assert mesh.product.last.request.request_id == "key-1"


@pytest.mark.parametrize(("state", "status"), [("CONFIRMED", 201), ("PENDING", 202), ("PICKING", 201)])
def test_an_order_that_is_still_to_be_decided_is_accepted(
    mesh: Mesh, client: httpx.Client, customer: dict[str, str], state: str, status: int
) -> None:
    mesh.order.answers["PlaceOrder"] = lambda _: an_order(state)
    body = {"addressId": ID, "slotId": ID, "paymentMethod": "pm_card_visa"}
    placed = client.post("/v1/orders", json=body, headers={**customer, **KEY})
    assert (placed.status_code, placed.headers["location"]) == (status, f"/v1/orders/{ID}")


def test_deletes_answer_204_without_a_body(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    mesh.order.answers["ClearCart"] = lambda _: Empty()
    answer = client.delete("/v1/cart", headers=customer)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_service_that_nobody_placed_is_away_and_no_defect(client: httpx.Client) -> None:
    problem(client.get("/v1/availability?skus=a"), 503, "UNAVAILABLE")


def test_a_patch_without_a_mask_changes_the_fields_that_it_names(
    mesh: Mesh, client: httpx.Client, staff: dict[str, str]
) -> None:
    mesh.product.answers["UpdateProduct"] = a_product
    path = f"/v1/products/{ID}"
    assert (
        client.patch(path, json={"title": "x", "brand": None, "etag": "7", "id": ID}, headers=staff).status_code == 200
    )
    request = mesh.product.last.request
    assert (list(request.update_mask.paths), request.product.id, request.product.etag) == (["title", "brand"], ID, "7")
    client.patch(f"{path}?updateMask=title,categoryId", json={"title": "x", "etag": "7"}, headers=staff)
    assert list(mesh.product.last.request.update_mask.paths) == ["title", "category_id"]


def test_a_patch_of_nothing_that_there_is_names_the_mask(client: httpx.Client, staff: dict[str, str]) -> None:
    refusal = client.patch(f"/v1/products/{ID}?updateMask=cost", json={"title": "x"}, headers=staff)
    assert problem(refusal, 400, "VALIDATION_FAILED")["errors"][0]["field"] == "updateMask"


def test_a_body_for_another_path_is_refused(client: httpx.Client, staff: dict[str, str]) -> None:
    refusal = client.patch(f"/v1/products/{ID}", json={"id": "another", "title": "x"}, headers=staff)
    assert problem(refusal, 400, "VALIDATION_FAILED")["errors"][0]["field"] == "id"


def test_operations_marked_k_want_a_key(mesh: Mesh, client: httpx.Client, staff: dict[str, str]) -> None:
    problem(client.post("/v1/products", json={"title": "x"}, headers=staff), 400, "IDEMPOTENCY_KEY_REQUIRED")
    refusal = client.post("/v1/products", json={"title": "x", "requestId": "k"}, headers={**staff, **KEY})
    problem(refusal, 400, "VALIDATION_FAILED")
    assert not mesh.product.asked


def test_other_posts_get_a_key_of_their_own_so_that_the_channel_may_repeat_them(
    mesh: Mesh, client: httpx.Client, staff: dict[str, str]
) -> None:
    mesh.product.answers["ArchiveProduct"] = a_product
    client.post(f"/v1/products/{ID}:archive", headers=staff)
    first = mesh.product.last.request.request_id
    client.post(f"/v1/products/{ID}:archive", headers=staff)
    assert first
    assert first != mesh.product.last.request.request_id


def test_a_key_has_no_effect_on_anonymous_posts(mesh: Mesh, client: httpx.Client) -> None:
    mesh.user.answers["RegisterUser"] = refusing(AlreadyExists())
    body = {"email": "a@example.org", "password": "correct horse"}
    for _ in range(2):
        problem(client.post("/v1/users", json=body, headers=KEY), 409, "ALREADY_EXISTS")
    assert all(asked.call.key is None for asked in mesh.user.asked)


def test_a_repeat_says_so(mesh: Mesh, client: httpx.Client, staff: dict[str, str]) -> None:
    def again(_request: Any) -> product_pb2.Product:
        current_call().replayed = True
        return a_product()

    mesh.product.answers["CreateProduct"] = again
    repeated = client.post("/v1/products", json={"title": "x"}, headers={**staff, **KEY})
    assert (repeated.status_code, repeated.headers["idempotent-replayed"]) == (201, "true")


def test_an_etag_spares_the_next_answer(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["GetProduct"] = a_product
    first = client.get(f"/v1/products/{ID}")
    etag = first.headers["etag"]
    assert etag.startswith('"7.')
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        spared = client.get(f"/v1/products/{ID}", headers={"If-None-Match": given})
        assert (spared.status_code, spared.content, spared.headers["etag"]) == (304, b"", etag)
    assert client.get(f"/v1/products/{ID}", headers={"If-None-Match": '"7"'}).status_code == 200


def test_if_match_in_either_form_is_the_version(mesh: Mesh, client: httpx.Client, staff: dict[str, str]) -> None:
    mesh.product.answers["UpdateProduct"] = a_product
    for given in ('"7"', '"7.0123456789abcdef"', "7"):
        client.patch(f"/v1/products/{ID}", json={"title": "x"}, headers={**staff, "If-Match": given})
        assert mesh.product.last.request.product.etag == "7"


@pytest.mark.parametrize(
    ("if_match", "etag", "status", "reason"),
    [
        ('"7"', "6", 412, "ETAG_MISMATCH"),
        ('W/"7"', "", 412, "ETAG_MISMATCH"),
        ("W/7", "", 400, "VALIDATION_FAILED"),
        ('"7", "8"', "", 400, "VALIDATION_FAILED"),
    ],
)
def test_an_if_match_that_cannot_hold_changes_nothing(
    mesh: Mesh, client: httpx.Client, staff: dict[str, str], if_match: str, etag: str, status: int, reason: str
) -> None:
    refusal = client.patch(f"/v1/products/{ID}", json={"etag": etag}, headers={**staff, "If-Match": if_match})
    problem(refusal, status, reason)
    assert not mesh.product.asked


def test_a_change_can_be_waited_for_elsewhere(mesh: Mesh, client: httpx.Client, staff: dict[str, str]) -> None:
    def archive(_request: Any) -> product_pb2.Product:
        current_call().wrote(ID, 8)
        return a_product()

    mesh.product.answers.update(ArchiveProduct=archive, GetProduct=a_product)
    token = client.post(f"/v1/products/{ID}:archive", headers=staff).headers["x-consistency"]
    client.get(f"/v1/products/{ID}", headers={"X-Consistency": token})
    assert mesh.product.last.call.consistency == {ID: 8}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (NotFound(), 404, "NOT_FOUND"),
        (AlreadyExists(), 409, "ALREADY_EXISTS"),
        (OutOfStock("two left", skus=[{"sku": "a", "wanted": 3, "available": 2}]), 409, "OUT_OF_STOCK"),
        (PaymentDeclined("no", decline_code="insufficient_funds"), 402, "PAYMENT_DECLINED"),
        (IdempotencyKeyInUse(), 409, "IDEMPOTENCY_KEY_IN_USE"),
        (ResourceExhausted(), 429, "RESOURCE_EXHAUSTED"),
        (Unimplemented(), 501, "UNIMPLEMENTED"),
        (Overloaded(), 503, "OVERLOADED"),
        (NotYetConsistent(), 503, "NOT_YET_CONSISTENT"),
    ],
)
def test_a_refusal_of_a_service_is_a_problem(
    mesh: Mesh, client: httpx.Client, error: MercatoError, status: int, reason: str
) -> None:
    mesh.product.answers["GetProduct"] = refusing(error)
    refusal = client.get(f"/v1/products/{ID}")
    body = problem(refusal, status, reason)
    assert ("detail" in body) is (status < 500)
    assert ("retry-after" in refusal.headers) is (status in (429, 503) or error.retry_after is not None)


def test_a_reason_brings_its_own_members(mesh: Mesh, client: httpx.Client) -> None:
    skus = [{"sku": "a", "wanted": 3, "warehouse_id": "north"}]
    mesh.product.answers["GetProduct"] = refusing(OutOfStock("two left", skus=skus, order_id=ID))
    body = problem(client.get(f"/v1/products/{ID}"), 409, "OUT_OF_STOCK")
    assert body["skus"] == [{"sku": "a", "wanted": 3, "warehouseId": "north"}]
    assert body["orderId"] == ID


def test_a_defect_tells_nothing_but_the_request_id(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["GetProduct"] = refusing(RuntimeError("secret"))  # type: ignore[arg-type]
    refusal = client.get(f"/v1/products/{ID}")
    assert set(problem(refusal, 500, "INTERNAL")) == {"type", "title", "status", "instance", "reason", "requestId"}
    assert "secret" not in refusal.text


def test_another_s_is_answered_like_a_missing_one(mesh: Mesh, client: httpx.Client, customer: dict[str, str]) -> None:
    mesh.order.answers["GetOrder"] = refusing(NotFound())
    bodies = [client.get(f"/v1/orders/{ID[:-1]}{digit}", headers=customer).json() for digit in "bc"]
    for body in bodies:
        del body["requestId"], body["instance"]
    assert bodies[0] == bodies[1]


def test_a_service_that_does_not_answer_in_time_is_a_504(start: Any, mesh: Mesh) -> None:
    late = threading.Event()
    mesh.product.answers["GetProduct"] = lambda _: a_product(late.wait(60))
    running: Running = start(MERCATO_GATEWAY_DEADLINE="100ms")
    problem(running.client.get(f"/v1/products/{ID}"), 504, "DEADLINE_EXCEEDED")
    late.set()


def test_a_read_that_a_service_was_too_busy_for_is_sent_again(mesh: Mesh, client: httpx.Client) -> None:
    mesh.product.answers["ListCategories"] = lambda _: product_pb2.ListCategoriesResponse()
    for _ in range(60):  # the refusals of other tests have used up the budget of repeats; what succeeds fills it
        client.get("/v1/categories")
    mesh.product.asked.clear()

    def busy_once(_request: Any) -> product_pb2.Product:
        if len(mesh.product.asked) == 1:
            raise Overloaded
        return a_product()

    mesh.product.answers["GetProduct"] = busy_once
    assert client.get(f"/v1/products/{ID}").status_code == 200
    assert [asked.rpc for asked in mesh.product.asked] == ["GetProduct", "GetProduct"]


def test_large_answers_are_compressed_where_the_client_takes_it(mesh: Mesh, client: httpx.Client) -> None:
    products = [product_pb2.Product(id=ID, title="Milk " * 20) for _ in range(20)]
    mesh.product.answers["ListProducts"] = lambda _: product_pb2.ListProductsResponse(products=products)
    packed = client.get("/v1/products", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/v1/products", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    refusing = client.get("/v1/products", headers={"Accept-Encoding": "br, gzip ;q=0.0"})
    assert "content-encoding" not in refusing.headers
    assert {each.headers["vary"].count("Accept-Encoding") for each in (packed, plain, refusing)} == {1}
    assert packed.json() == plain.json()


def test_pages_of_other_origins_may_call_where_the_settings_say_so(start: Any, client: httpx.Client) -> None:
    running: Running = start(MERCATO_GATEWAY_ORIGINS="https://shop.example")
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    allowed = running.client.options("/v1/orders", headers=preflight)
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in client.options("/v1/orders", headers=preflight).headers


def test_every_address_of_the_document_is_served(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, item in paths.items():
        for method in item:
            response = client.request(method, path.replace("{", "").replace("}", ""))
            assert response.json().get("reason") not in ("ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"), (method, path)
