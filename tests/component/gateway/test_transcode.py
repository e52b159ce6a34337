"""All that `google.api.http` can say, on a contract made for the purpose."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor

from gateway.contract import Operation, operations
from gateway.problems import Problem
from gateway.routes import Router, Template
from gateway.transcode import Transcoder

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def sample(sample_files: list[FileDescriptor]) -> dict[str, Operation]:
    """The operations of the sample contract, version 1."""
    return {each.name: each for each in operations(sample_files[:1])}


@pytest.fixture(scope="module")
def router(sample: dict[str, Operation]) -> Router[Transcoder]:
    found: Router[Transcoder] = Router()
    for operation in (each for each in sample.values() if not each.uploads):
        for binding in operation.bindings:
            found.add(binding.method, binding.template, Transcoder(operation, binding))
    return found


@pytest.fixture
def ask(router: Router[Transcoder]) -> Ask:
    """The request that an address, with a body, becomes."""

    def read(method: str, address: str, body: Any = None) -> Any:
        path, _, query = address.partition("?")
        found = router.find(method, path)
        return found.target.request(found.variables, query.encode(), b"" if body is None else json.dumps(body).encode())

    return read


def test_variables_reach_nested_fields(ask: Ask) -> None:
    request = ask("GET", "/v1/shelves/7/things/hammer")
    assert (request.shelf.id, request.name) == ("7", "hammer")


def test_additional_bindings_lead_to_the_same_rpc(ask: Ask) -> None:
    assert ask("GET", "/v1/things/hammer:read").name == "things/hammer"
    assert ask("REPORT", "/v1/files/a/b/c").name == "a/b/c"


def test_queries_reach_nested_lists_times_masks_and_numbers(ask: Ask) -> None:
    request = ask(
        "GET",
        "/v1/things/a:read?filter.numbers=1&filter.numbers=2,3&filter.deeper.deeper.flag=true&shelf.id=7"
        "&since=2026-01-31T08:00:00%2B01:00&fields=name,byNumber&weight=1e-3",
    )
    assert list(request.filter.numbers) == [1, 2, 3]
    assert request.filter.deeper.deeper.flag is True
    assert request.shelf.id == "7"
    assert request.since.ToJsonString() == "2026-01-31T07:00:00Z"
    assert list(request.fields.paths) == ["name", "by_number"]
    assert request.weight == 0.001


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("name=b", "name"),
        ("shelf=7", "shelf"),
        ("filter=x", "filter"),
        ("filter.nothing=x", "filter.nothing"),
        ("filter.numbers.x=1", "filter.numbers.x"),
        ("filter.numbers=1,x", "filter.numbers"),
        ("filter.flag=1", "filter.flag"),
        ("filter.flag=true&filter.flag=true", "filter.flag"),
        ("since=yesterday", "since"),
        ("weight=NaN", "weight"),
        ("weight=1e999", "weight"),
        ("weight=", "weight"),
        ("%00=1", "?"),
    ],
)
def test_a_query_that_says_nothing_is_named(ask: Ask, query: str, field: str) -> None:
    with pytest.raises(Problem) as refusal:
        ask("GET", f"/v1/things/a:read?{query}")
    assert [error.field for error in refusal.value.errors] == [field]


def test_a_body_that_is_one_field_leaves_the_others_to_the_query(ask: Ask) -> None:
    request = ask("PUT", "/v1/things/hammer?force=true", {"size": "5", "byNumber": {"1": {"id": "a"}}, "raw": "aGk="})
    assert (request.force, request.thing.name, request.thing.size) == (True, "hammer", 5)
    assert (request.thing.by_number[1].id, request.thing.raw) == ("a", b"hi")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"size": 1, "colour": "red"}, "colour"),
        ({"raw": "not base64!"}, "raw"),
        ({"byNumber": {"one": {}}}, "byNumber.one"),
        ({"byNumber": {"1": 5}}, "byNumber.1"),
        ({"byTruth": {"yes": "a"}}, "byTruth.yes"),
        ({"ratio": 1e39}, "ratio"),
        ({"inner": {"numbers": [1, "x"]}}, "inner.numbers[1]"),
        ({"inner": {"deeper": {"flag": "true"}}}, "inner.deeper.flag"),
        ({"name": "nail"}, "name"),
    ],
)
def test_a_body_that_cannot_be_is_named(ask: Ask, body: Any, field: str) -> None:
    with pytest.raises(Problem) as refusal:
        ask("PUT", "/v1/things/hammer", body)
    assert [error.field for error in refusal.value.errors] == [field]


def test_an_answer_may_be_one_field_of_the_reply(sample: dict[str, Operation]) -> None:
    put, count = sample["PutThing"], sample["CountThings"]
    thing: Any = put.response()
    thing.inner.numbers.extend([1, 2])
    assert json.loads(Transcoder(put, put.bindings[0]).answer(thing)) == {"id": "", "numbers": [1, 2]}
    counts: Any = count.response()
    counts.counts["a"] = 2**53 + 1
    assert json.loads(Transcoder(count, count.bindings[0]).answer(counts)) == {"a": "9007199254740993"}


def test_a_variable_may_be_many_segments_of_a_nested_field(ask: Ask) -> None:
    request = ask("PATCH", "/v1/shelves/7/things/a?updateMask=size,inner.numbers", {"size": 5, "inner": {"id": "x"}})
    assert request.thing.name == "shelves/7/things/a"
    assert list(request.update_mask.paths) == ["size", "inner.numbers"]


def test_without_a_mask_the_fields_of_the_body_are_meant(ask: Ask) -> None:
    assert list(ask("PATCH", "/v1/shelves/7/things/a", {"size": 5, "byNumber": {}}).update_mask.paths) == [
        "size",
        "by_number",
    ]


@pytest.mark.parametrize("mask", ["nothing", "inner.nothing", "inner.numbers.x", "size,,x", "Size"])
def test_a_mask_that_names_no_field_is_refused(ask: Ask, mask: str) -> None:
    with pytest.raises(Problem) as refusal:
        ask("PATCH", f"/v1/shelves/7/things/a?updateMask={mask}", {})
    assert [error.field for error in refusal.value.errors] == ["updateMask"]


def test_a_body_that_is_the_request_leaves_nothing_to_the_query(ask: Ask) -> None:
    assert list(ask("POST", "/v1/things:count", {"names": ["a"]}).names) == ["a"]
    with pytest.raises(Problem):
        ask("POST", "/v1/things:count?names=a", {"names": ["a"]})


@pytest.mark.parametrize("text", ["v1/things", "/v1/{thing", "/v1/a:b:c"])
def test_what_is_no_template_is_refused_at_start(text: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Template.parse(text)
