"""The OpenAPI document is true: its examples are accepted, each of its constraints and errors is what one meets."""

import copy
import importlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from gateway.advice import ADVICE
from gateway.comments import comments, reasons_in
from gateway.contract import operations, published, rpcs
from gateway.reasons import KNOWN, status_of
from mercato.auth import Verifier
from mercato.errors import MercatoError
from mercato.rpc.contract import owner_of
from mercato.rpc.enforce import Enforced, Traffic
from mercato.rpc.server import Server
from mercato.rpc.status import CODE_OF
from tests.component.gateway.conftest import PEOPLE, Fake, Mesh, Running, bearer

ROLES = ("customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
EVERYBODY = "everybody-token"
PEOPLE[EVERYBODY] = ("0190a6e0-0000-7000-8000-000000000009", ROLES)
# Streams and webhooks are no rpcs of theirs: what the document says of them is tested where they are.
APART = {"/v1/orders/{id}/events", "/webhooks/{provider}", "/v1/products:import"}
WORKERS = 4


class Willing(Fake):
    """A service that does whatever is valid, and answers with nothing in particular."""

    def _answer(self, name: str, request: Any, _context: Any) -> Any:
        if name in self.answers:
            return self.answers[name](request)
        return GetMessageClass(self.contract.methods_by_name[name].output_type)()


@dataclass(frozen=True)
class Described:
    """One operation of the document."""

    method: str
    path: str
    about: dict[str, Any]
    components: dict[str, Any] = field(repr=False)

    @property
    def body(self) -> Any:
        content = self.about.get("requestBody", {}).get("content", {}).get("application/json")
        return copy.deepcopy(content["example"]) if content else None

    @property
    def schema(self) -> Any:
        return self.about["requestBody"]["content"]["application/json"]["schema"]

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        return {**self.components["schemas"][name], **schema} if name else schema

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [each for each in self.about["parameters"] if each.get("in") == place]


@dataclass(frozen=True)
class Case:
    """A request that breaks one constraint, and the field that is to be named."""

    operation: Described
    why: str
    named: str
    body: Any = None
    query: tuple[tuple[str, Any], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.operation.method.upper()} {self.operation.path}: {self.named} {self.why}"


@pytest.fixture(scope="session")
def truth(_world: Any, _shared: Running) -> Iterator[Running]:
    """A gateway over the whole mesh, in which every call succeeds that is allowed and valid.

    It lives as long as the shared one: when it ended before, calls of the shared one were not answered any more.
    """
    keys = Path(_world[1]["MERCATO_KEYS"])
    services = {rpc.containing_service.full_name: rpc.containing_service for rpc in rpcs(published())}
    owned: dict[str, list[ServiceDescriptor]] = {}
    for service in services.values():
        owned.setdefault(owner_of(service), []).append(service)
    owned["order"] += owned.pop("ops")
    owned.pop("batch", None)
    environment = {**_world[1], "MERCATO_GATEWAY_RATE_FACTOR": "100000"}
    with ExitStack() as stack:
        for name, contracts in owned.items():
            fakes = [Willing(contract) for contract in contracts]
            for fake in fakes:
                if fake.contract.name == "UserService":
                    fake.answers["LookUpSession"] = Mesh().user.answers["LookUpSession"]
            server = Server([Enforced(fake, Verifier(keys, name), Traffic()) for fake in fakes], address="127.0.0.1:0")
            server.start()
            stack.callback(server.stop, 0)
            environment[f"MERCATO_TARGET_{name.upper()}"] = f"ipv4:127.0.0.1:{server.port}"
        running = Running(environment)
        stack.callback(running.close)
        yield running


@pytest.fixture(scope="session")
def document(truth: Running) -> dict[str, Any]:
    found: dict[str, Any] = truth.client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="session")
def described(document: dict[str, Any]) -> list[Described]:
    return [
        Described(method, path, about, document["components"])
        for path, item in document["paths"].items()
        if path not in APART
        for method, about in item.items()
    ]


def send(truth: Running, case: Case, token: str | None = EVERYBODY, **headers: str) -> httpx.Response:
    """The answer to a case: the documented example, but for what the case says."""
    operation = case.operation
    path = operation.path
    for each in operation.parameters("path"):
        path = path.replace(f"{{{each['name']}}}", str(dict(case.variables).get(each["name"], each["example"])))
    query = {each["name"]: each["example"] for each in operation.parameters("query") if "example" in each}
    keyed = {each["name"]: "a-key" for each in operation.parameters("header") if each.get("required")}
    credentials = bearer(token) if token else {}
    body = operation.body if case.body is None else case.body
    return truth.client.request(
        operation.method,
        path,
        params={**query, **dict(case.query)},
        json=body,
        headers={**credentials, **keyed, **headers},
    )


def test_every_example_is_accepted(truth: Running, described: list[Described]) -> None:
    refused = []
    for operation in described:
        answer = send(truth, Case(operation, "", ""))
        if str(answer.status_code) not in operation.about["responses"] or answer.status_code >= 400:
            refused.append(f"{operation.method} {operation.path}: {answer.status_code} {answer.text[:300]}")
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_the_examples_of_uploads_are_taken_whole(truth: Running, document: dict[str, Any], kind: str) -> None:
    content = document["paths"]["/v1/products:import"]["post"]["requestBody"]["content"][kind]
    headers = {**bearer(EVERYBODY), "Content-Type": kind}
    report = truth.client.post("/v1/products:import", content=content["example"].encode(), headers=headers)
    assert (report.status_code, report.json()["failed"]) == (200, 0)


def _bad(schema: dict[str, Any], *, quoted: bool) -> Iterator[tuple[str, Any]]:
    """Values that a schema rules out; `quoted`: as text, which is all that a query has."""
    for form in schema.get("anyOf", ()):
        if "const" not in form:
            yield from _bad({"type": schema["type"], **form}, quoted=quoted)
    kind = schema.get("type", "")
    if not quoted:
        # Proto3 JSON takes numbers for strings that are 64-bit integers or enums: true it takes for neither.
        yield "is of no such type", {"integer": "x", "number": "x", "boolean": "x", "array": {}}.get(kind, True)
    elif kind in ("integer", "number", "boolean"):
        yield "is no such value", "nonsense"
    yield from _bad_text(schema)
    for limit, step in (("minimum", -1), ("maximum", 1)):
        if limit in schema:
            yield f"is beyond its {limit}", schema[limit] + step


def _bad_text(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if schema.get("maxLength", 5000) < 5000:
        yield "is too long", "x" * (schema["maxLength"] + 1)
    if schema.get("minLength", 0) > 1:
        yield "is too short", "x" * (schema["minLength"] - 1)
    if "pattern" in schema:
        yield "does not fit", next(each for each in ("!", "☃", "x", "-") if not re.search(schema["pattern"], each))
    if schema.get("format") in ("uuid", "email", "date-time"):
        yield "is in no such form", "nonsense"
    if "enum" in schema:
        yield "is none of these", "NO_SUCH" if schema["type"] == "string" else max(schema["enum"]) + 1


def _in_bodies(operation: Described, schema: dict[str, Any], path: tuple[Any, ...], depth: int = 4) -> Iterator[Case]:
    """Cases for all that a body's schema says."""
    schema = operation.resolved(schema)
    here = _dotted(path)
    if path:
        for why, value in _bad(schema, quoted=False):
            yield Case(operation, why, here, _with(operation, path, value))
    if schema.get("type") == "object" and "properties" in schema and depth:
        yield Case(
            operation, "is unknown", _dotted((*path, "noSuchField")), _with(operation, (*path, "noSuchField"), 1)
        )
        for name in schema.get("required", ()):
            yield Case(operation, "is required", _dotted((*path, name)), _with(operation, (*path, name), None))
        for name, inner in schema["properties"].items():
            yield from _in_bodies(operation, inner, (*path, name), depth - 1)
    if schema.get("type") == "array" and depth:
        item = operation.resolved(schema["items"])
        some = {} if item.get("type") == "object" else item["enum"][1] if "enum" in item else "x"
        if schema.get("maxItems", 5000) <= 1000:
            yield Case(operation, "are too many", here, _with(operation, path, [some] * (schema["maxItems"] + 1)))
        yield from _in_bodies(operation, schema["items"], (*path, 0), depth - 1)


def _with(operation: Described, path: tuple[Any, ...], value: Any) -> Any:
    """The example with one thing changed; None takes it away."""
    body: Any = operation.body or {}
    place: Any = body
    for step, following in pairwise(path):
        empty: Any = [{}] if following == 0 else {}
        if isinstance(step, int):
            if not isinstance(place[step], dict) and following != 0:
                place[step] = {}
            place = place[step]
        else:
            place = place.setdefault(step, empty)
    if value is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return body


def _dotted(path: tuple[Any, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _cases(operation: Described) -> Iterator[Case]:
    for parameter in operation.parameters("query"):
        name, schema = parameter["name"], operation.resolved(parameter["schema"])
        shown, inner = name, schema
        if schema.get("type") == "array":
            shown, inner = f"{name}[0]", operation.resolved(schema["items"])
            if "maxItems" in schema:
                many = [parameter["example"]] * (schema["maxItems"] + 1)
                yield Case(operation, "are too many", name, query=((name, many),))
        for why, value in _bad(inner, quoted=True):
            yield Case(operation, why, shown, query=((name, value),))
        if parameter["required"]:
            yield Case(operation, "is required", name, query=((name, []),))
    for parameter in operation.parameters("path"):
        for why, value in _bad(operation.resolved(parameter["schema"]), quoted=True):
            if len(str(value)) < 4000:
                yield Case(operation, why, parameter["name"], variables=((parameter["name"], str(value)),))
    if operation.body is not None:
        yield from _in_bodies(operation, operation.schema, ())


def _broken(truth: Running, case: Case) -> str | None:
    """What is wrong with the answer to a case, if anything is."""
    answer = send(truth, case)
    if case.named == "service" and answer.status_code == 404:
        return None  # it says who is asked, and nobody has such a name
    errors = answer.json().get("errors", ()) if answer.status_code == 400 else ()
    if case.named in {error["field"] for error in errors}:
        return None
    return f"{case}: {answer.status_code} {answer.text[-300:]}"


def test_every_constraint_is_met_by_its_problem(truth: Running, described: list[Described]) -> None:
    cases = [case for operation in described for case in _cases(operation)]
    assert len(cases) > 500
    with ThreadPoolExecutor(WORKERS) as pool:
        broken = [each for each in pool.map(lambda case: _broken(truth, case), cases) if each]
    assert not broken, f"{len(broken)} of {len(cases)}:\n" + "\n".join(broken)


FOREIGN = {"Cookie": f"__Host-session={EVERYBODY}", "Origin": "https://evil.example"}
JSON = {"Content-Type": "application/json"}


def _refusals(operation: Described) -> Iterator[tuple[str, int, str, dict[str, str], bytes | None]]:
    """What the edge refuses of an operation: why, with which status and reason, by which headers and body."""
    signed = bearer(EVERYBODY)
    public = {} in operation.about["security"]
    if operation.method == "get" or not public:
        yield "an unknown session", 401, "UNAUTHENTICATED", bearer("nobody-token"), None
    if not public:
        yield "no session", 401, "UNAUTHENTICATED", {}, None
    if operation.method != "get":
        yield "another's page", 403, "ORIGIN_REFUSED", FOREIGN, None
    yield "no form of answer", 406, "NOT_ACCEPTABLE", {**signed, "Accept": "text/xml"}, None
    if operation.body is not None:
        yield "a body of another kind", 415, "UNSUPPORTED_MEDIA_TYPE", {**signed, "Content-Type": "text/plain"}, b"{}"
        yield "no JSON", 400, "MALFORMED_JSON", {**signed, **JSON}, b"{"
        yield "too large a body", 413, "MESSAGE_TOO_LARGE", {**signed, **JSON}, b" " * 65_537


def _unsaid(truth: Running, operation: Described) -> Iterator[str]:
    """The refusals of an operation that are not what the document says, or that it does not say."""
    path, keyed = operation.path, {"Idempotency-Key": "a-key"} if operation.method == "post" else {}
    for each in operation.parameters("path"):
        path = path.replace(f"{{{each['name']}}}", str(each["example"]))
    query = {each["name"]: each["example"] for each in operation.parameters("query") if "example" in each}
    for why, status, reason, headers, body in _refusals(operation):
        answer = truth.client.request(operation.method, path, params=query, content=body, headers={**keyed, **headers})
        said = operation.about["responses"].get(str(status), {"description": ""})["description"]
        if (answer.status_code, answer.json()["reason"]) != (status, reason) or reason not in said:
            yield f"{operation.method} {operation.path}, {why}: {answer.status_code} {answer.text[:200]}; said: {said}"


def test_what_the_edge_refuses_is_in_the_document(truth: Running, described: list[Described]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        wrong = [line for found in pool.map(lambda each: [*_unsaid(truth, each)], described) for line in found]
    assert not wrong, "\n".join(wrong)


def test_every_change_is_answered_with_a_token_to_read_it_by(truth: Running, described: list[Described]) -> None:
    for operation in described:
        answer = send(truth, Case(operation, "", ""))
        assert ("x-consistency" in answer.headers) == (operation.method != "get"), (
            f"{operation.method} {operation.path}"
        )
        if token := answer.headers.get("x-consistency"):
            read = truth.client.get("/v1/orders", headers={**bearer(EVERYBODY), "X-Consistency": token})
            assert read.status_code == 200


def _subclasses(of: type[MercatoError]) -> Iterator[type[MercatoError]]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)


def test_every_error_of_the_document_is_one_that_a_service_makes_with_that_status(described: list[Described]) -> None:
    for name in ("product", "inventory", "order", "payment", "delivery", "user"):
        importlib.import_module(f"services.{name}.app")
    importlib.import_module("mercato.ops.servicer")
    made: dict[str, dict[str, int]] = {}
    for each in _subclasses(MercatoError):
        if each.__module__.startswith(("services.", "mercato.")) and set(each.__mro__) & CODE_OF.keys():
            owner = each.__module__.split(".")[1]
            code = next(CODE_OF[kind] for kind in each.__mro__ if kind in CODE_OF)
            made.setdefault(each.reason, {})[owner] = status_of(code, each.reason)
    wrong = []
    for operation in described:
        for status, answer in operation.about["responses"].items():
            _, _, named = answer.get("description", "").partition(": ")
            for reason in re.findall(r"\b[A-Z][A-Z_]{4,}\b", named) if status[0] in "45" else ():
                by = made.get(reason, {})
                known = KNOWN[reason][0] if reason in KNOWN else by.get(operation.about["tags"][0], set(by.values()))
                if int(status) not in (known if isinstance(known, set) else {known}):
                    wrong.append(f"{operation.method} {operation.path}: {reason} is said to be {status}, is {known}")
    assert not wrong, "\n".join(wrong)


def test_every_reason_that_a_contract_names_has_advice_and_a_page(truth: Running) -> None:
    told = comments()
    named = {reason for rpc in rpcs(published()) for reason in reasons_in(told.get(rpc.full_name, ""))}
    over_http = {
        reason for operation in operations(published()) for reason in reasons_in(told.get(operation.rpc.full_name, ""))
    }
    assert over_http - KNOWN.keys() - ADVICE.keys() == set()
    assert ADVICE.keys() <= named | KNOWN.keys()
    for reason in over_http:
        page = truth.client.get(f"/docs/problems/{reason.lower().replace('_', '-')}")
        assert page.status_code == 200
        assert "Answered with" in page.text
