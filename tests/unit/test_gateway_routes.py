"""Which address leads where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import operations, published
from gateway.routes import MethodNotAllowed, RouteNotFound, Router, Template


@pytest.fixture(scope="module")
def router() -> Router[str]:
    found: Router[str] = Router()
    for operation in operations(published()):
        for binding in operation.bindings:
            found.add(binding.method, binding.template, operation.name)
    found.add("GET", Template.parse("/v1/orders/{id}/events"), "events")
    found.add("GET", Template.parse("/v1/files/{path=**}"), "files")
    found.add("GET", Template.parse("/v1/{name=shelves/*/books/*}:read"), "read")
    found.add("GET", Template.parse("/"), "front")
    return found


@pytest.mark.parametrize(
    ("method", "path", "name", "variables"),
    [
        ("GET", "/", "front", {}),
        ("GET", "/v1/products", "ListProducts", {}),
        ("GET", "/v1/products:search", "SearchProducts", {}),
        ("GET", "/v1/products/7", "GetProduct", {"id": "7"}),
        ("PATCH", "/v1/products/7", "UpdateProduct", {"product.id": "7"}),
        ("POST", "/v1/products/7:archive", "ArchiveProduct", {"id": "7"}),
        ("DELETE", "/v1/sessions/current", "SignOut", {}),
        ("DELETE", "/v1/sessions/7", "RevokeSession", {"id": "7"}),
        ("POST", "/v1/sessions:guest", "StartGuestSession", {}),
        ("GET", "/v1/orders:board", "GetOrderBoard", {}),
        ("GET", "/v1/orders/7/events", "events", {"id": "7"}),
        ("POST", "/v1/users/me:changePassword", "ChangePassword", {}),
        ("PATCH", "/v1/users/me/addresses/7", "UpdateAddress", {"user_id": "me", "address.id": "7"}),
        ("GET", "/v1/stock/a%20b%3Ac", "GetStock", {"sku": "a b:c"}),
        ("GET", "/v1/files/a/b/c", "files", {"path": "a/b/c"}),
        ("GET", "/v1/shelves/1/books/2:read", "read", {"name": "shelves/1/books/2"}),
    ],
)
def test_an_address_leads_to_its_operation(
    router: Router[str], method: str, path: str, name: str, variables: dict[str, str]
) -> None:
    found = router.find(method, path)
    assert (found.target, found.variables) == (name, variables)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "v1/products",
        "/v1",
        "/v2/products",
        "/v1/products/",
        "//v1/products",
        "/v1//products",
        "/v1/./products",
        "/v1/orders/../products",
        "/v1/orders/%2e%2e/products",
        "/v1/orders/%2E%2E",
        "/v1/products/a%2Fb",
        "/v1/products/a%5Cb",
        "/v1/products/a;b=c",
        "/v1/products;a=b",
        "/v1/products/%ff",
        "/v1/products/*",
        "/v1/products:",
        "/v1/products:nothing",
        "/v1/products/7:nothing",
        "/v1/products/:archive",
        "/v1/products%3Asearch",
    ],
)
def test_a_path_that_plays_tricks_leads_nowhere(router: Router[str], path: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(RouteNotFound):
            router.find(method, path)


def test_an_address_names_the_methods_that_it_takes(router: Router[str]) -> None:
    with pytest.raises(MethodNotAllowed) as refusal:
        router.find("PUT", "/v1/products/7")
    assert refusal.value.allowed == {"GET", "PATCH"}


def test_a_literal_does_not_hide_the_variable_beside_it(router: Router[str]) -> None:
    with pytest.raises(MethodNotAllowed) as refusal:
        router.find("POST", "/v1/sessions/current")
    assert refusal.value.allowed == {"DELETE"}


def test_an_address_is_routed_once() -> None:
    router: Router[str] = Router()
    router.add("GET", Template.parse("/v1/{a}"), "one")
    with pytest.raises(ValueError, match="twice"):
        router.add("GET", Template.parse("/v1/{b}"), "two")


@given(st.text())
def test_whatever_the_path_it_leads_somewhere_or_nowhere(path: str) -> None:
    router: Router[str] = Router()
    router.add("GET", Template.parse("/v1/{id}:do"), "do")
    try:
        assert router.find("GET", path.encode().decode("latin-1")).target == "do"
    except (RouteNotFound, MethodNotAllowed):
        return
