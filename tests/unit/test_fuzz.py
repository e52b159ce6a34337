"""The fuzz without a mesh: what it sends, and what it finds fault with."""

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.message import Message

from chaos.fuzz.effects import Refused, different
from chaos.fuzz.grpc_cases import GrpcCases
from chaos.fuzz.hoard import Hoard, kind_of
from chaos.fuzz.judge import Judge
from chaos.fuzz.people import ROLES, Person
from chaos.fuzz.rest_cases import Case, RestCases
from chaos.fuzz.wire import Answer, Request
from chaos.fuzz.words import Pairs, Token, bitten, rendered
from gateway.comments import comments
from gateway.contract import operations, published
from gateway.openapi import document
from mercato.errors import InvalidArgument
from mercato.rpc.call import Principal
from mercato.rpc.validation import validate

TOWN: Any = None
DOCUMENT = document(operations(published()), comments(), {})
PEOPLE = [Person(role, TOWN, Hoard()) for role in dict.fromkeys(ROLES)]
for person in PEOPLE[1:]:
    person.id = f"the id of {person.role}"


class Stamp:
    """Signs everything with the same word."""

    def token(self, _audience: str, _principal: Principal) -> str:
        return "signed"


def test_a_seed_makes_the_same_cases_again() -> None:
    def made() -> list[bytes]:
        cases = RestCases(DOCUMENT, Hoard())
        return [cases.case(random.Random(f"7 {number}"), PEOPLE).request.text for number in range(50)]

    assert made() == made()


def test_every_operation_is_there_to_be_asked_and_somebody_may() -> None:
    cases, dice = RestCases(DOCUMENT, Hoard()), random.Random(1)
    for name in cases.names():
        who = next(person for person in PEOPLE if cases.fits(name, person))
        assert cases.first(name, dice, who).request.target.startswith("/v1/")
    assert {cases.case(dice, PEOPLE).kind for _ in range(200)} == {"made", "bytes", "elsewhere"}


def test_messages_of_every_rpc_are_often_as_the_contract_wants_them() -> None:
    signers: Any = {"gateway": Stamp(), "order": Stamp(), "operator": Stamp()}
    cases, dice = GrpcCases(Hoard(), ["order", "user"], signers), random.Random(1)
    odd = {method.label for _, method in cases.rpcs if not _accepted(cases.made(method.request, dice, {}))}
    assert len(odd) < len(cases.rpcs) / 3, odd
    assert {cases.call(dice, PEOPLE, [*signers]).whole for _ in range(100)} == {True, False}


def _accepted(message: Message) -> bool:
    try:
        validate(message)
    except InvalidArgument:
        return False
    return True


def test_json_that_is_none_can_be_said() -> None:
    assert rendered(Pairs([("a", 1), ("a", Token("NaN"))])) == '{"a":1,"a":NaN}'
    value = {"a": [1, None, {"ü": "\ud800"}]}
    assert json.loads(rendered(value)) == value


def test_bytes_are_changed_and_never_gone() -> None:
    dice = random.Random(3)
    found = {bitten(b"GET / HTTP/1.1\r\n\r\n", dice) for _ in range(200)}
    assert len(found) > 100
    assert b"" not in found


@pytest.mark.parametrize(
    ("name", "kind"),
    [("addressId", "address"), ("categories", "category"), ("address_id", "address"), ("skus", "sku"), ("ids", "id")],
)
def test_names_tell_what_a_field_holds(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_answers_name_is_asked_for_again() -> None:
    hoard, dice = Hoard(), random.Random(1)
    hoard.learn({"id": "o", "lines": [{"sku": "s"}], "slot": {"id": "t"}, "customerId": "c"}, "order")
    assert [hoard.pick(kind, dice) for kind in ("order", "sku", "slot", "user", "zone")] == ["o", "s", "t", "c", None]


JSON = {"content-type": "application/json", "x-request-id": "r"}
PROBLEM = {"content-type": "application/problem+json", "x-request-id": "r"}
REFUSAL = {"type": "/", "title": "", "status": 404, "instance": "/", "reason": "NOT_FOUND", "requestId": "r"}


def answer(status: int, headers: Mapping[str, str], body: object) -> Answer:
    return Answer(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (answer(200, JSON, {"id": "p", "title": "Bread"}), ""),
        (answer(404, PROBLEM, REFUSAL), ""),
        (answer(503, {**PROBLEM, "retry-after": "1"}, {**REFUSAL, "status": 503, "reason": "OVERLOADED"}), ""),
        (Answer(304, {}), ""),
        (answer(500, PROBLEM, {**REFUSAL, "status": 500, "reason": "INTERNAL"}), "500 INTERNAL"),
        (answer(503, PROBLEM, {**REFUSAL, "status": 503, "reason": "OVERLOADED"}), "503 OVERLOADED"),
        (answer(504, PROBLEM, {**REFUSAL, "status": 504, "reason": "DEADLINE_EXCEEDED"}), "504 DEADLINE_EXCEEDED"),
        (answer(200, JSON, {"id": 7}), "not as in the document at $.id: 7 is not of type 'string'"),
        (answer(201, JSON, {}), "201 is not in the document"),
        (answer(404, JSON, REFUSAL), "404 is no problem, but application/json"),
        (answer(404, PROBLEM, {**REFUSAL, "status": 400}), "the problem's status is another one"),
        (answer(404, PROBLEM, {**REFUSAL, "requestId": "s"}), "the problem's requestId is not in X-Request-Id"),
        (answer(200, JSON, {"title": "psycopg.errors"}), "tells of our insides: psycopg"),
        (Answer(0, trouble="hang"), "hang"),
        (Answer(0, trouble="closed"), "closed"),
    ],
)
def test_an_answer_that_is_not_as_promised_is_found(given: Answer, fault: str) -> None:
    case = Case("GET /v1/products/{id}", "GetProduct", Request("GET", "/v1/products/p"), PEOPLE[0], "made")
    assert next(Judge(DOCUMENT).faults(case, given), "") == fault


def test_who_does_not_speak_http_may_be_hung_up_on() -> None:
    case = Case("GET /v1/cart", "GetCart", Request("GET", "/", raw=b"\0"), PEOPLE[0], "bytes", proper=False)
    assert not [*Judge(DOCUMENT).faults(case, Answer(0, trouble="closed"))]


def test_some_of_every_refusal_are_kept_but_those_that_mean_to_change_something() -> None:
    case = Case("POST /v1/orders", "PlaceOrder", Request("POST", "/v1/orders"), PEOPLE[0], "made")
    refused = Refused()
    for _ in range(100):
        refused.keep(case, answer(400, PROBLEM, {"reason": "VALIDATION_FAILED"}))
        refused.keep(case, answer(402, PROBLEM, {"reason": "PAYMENT_DECLINED", "orderId": "o"}))
        refused.keep(case, answer(201, JSON, {}))
    assert len(refused.cases) == 3


def test_a_table_that_is_not_as_it_was_is_named() -> None:
    assert different({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "1"}) == {"b", "c"}


def test_a_finding_comes_with_a_line_that_repeats_it() -> None:
    request = Request("POST", "/v1/x?q='", (("Authorization", "Bearer secret"), ("X-A", "b")), b'{"a":"\'"}')
    line = request.line("as admin")
    assert line.startswith("curl ")
    assert "secret" not in line
    assert "as admin" in line
    assert Request("GET", "/", raw=b"G\0").line("").startswith("printf 'G\\000'")
