"""JSON in and out: the same as proto3 JSON, and stricter where the public surface says so."""

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_text import MAX_DEPTH, MalformedJson, Repeated, loads
from gateway.reader import reader
from gateway.values import Refused
from gateway.writer import dumps, writer
from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2


def read(body: str | bytes, into: Message | None = None) -> Any:
    message = into if into is not None else product_pb2.Product()
    reader(message.DESCRIPTOR).merge(message, loads(body.encode() if isinstance(body, str) else body))
    return message


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ('{"role": "admin"}', "role", "UNKNOWN_FIELD"),
        ('{"variants": [{"sku": "a"}, {"cost": 1}]}', "variants[1].cost", "UNKNOWN_FIELD"),
        ('{"title": "a", "title": "b"}', "title", "DUPLICATE_KEY"),
        ('{"categoryId": "a", "category_id": "b"}', "category_id", "DUPLICATE_KEY"),
        ('{"variants": [{"price": {"units": "1", "units": "100"}}]}', "variants[0].price.units", "DUPLICATE_KEY"),
        ('{"attributes": {"a": "1", "a": "2"}}', "attributes.a", "DUPLICATE_KEY"),
        ('{"attributes": {"a": ":", "a": "\\u003a"}}', "attributes.a", "DUPLICATE_KEY"),
        ('{"attributes": {"a": "", "\\u0061": ""}}', "attributes.a", "DUPLICATE_KEY"),
        ('{"variants": [{"price": {"nanos": NaN}}]}', "variants[0].price.nanos", "MALFORMED"),
        ('{"variants": [{"price": {"nanos": -Infinity}}]}', "variants[0].price.nanos", "MALFORMED"),
        ('{"variants": [{"price": {"nanos": 1e400}}]}', "variants[0].price.nanos", "OUT_OF_RANGE"),
        ('{"variants": [{"price": {"nanos": %s}}]}' % ("9" * 5000), "variants[0].price.nanos", "OUT_OF_RANGE"),
        ('{"variants": [{"price": {"nanos": 2147483648}}]}', "variants[0].price.nanos", "OUT_OF_RANGE"),
        ('{"variants": [{"price": {"nanos": 1.5}}]}', "variants[0].price.nanos", "WRONG_TYPE"),
        ('{"variants": [{"price": {"nanos": true}}]}', "variants[0].price.nanos", "WRONG_TYPE"),
        ('{"variants": [{"price": {"units": "9223372036854775808"}}]}', "variants[0].price.units", "OUT_OF_RANGE"),
        ('{"variants": [{"price": {"units": "1.5"}}]}', "variants[0].price.units", "WRONG_TYPE"),
        ('{"variants": [{"price": 19.99}]}', "variants[0].price", "WRONG_TYPE"),
        ('{"variants": {"sku": "a"}}', "variants", "WRONG_TYPE"),
        ('{"variants": [null]}', "variants[0]", "WRONG_TYPE"),
        ('{"title": 1}', "title", "WRONG_TYPE"),
        ('{"title": "\\u0000"}', "title", "MALFORMED"),
        ('{"title": "\\ud800"}', "title", "MALFORMED"),
        ('{"state": "SOLD"}', "state", "UNKNOWN_VALUE"),
        ('{"state": "active"}', "state", "UNKNOWN_VALUE"),
        ('{"createTime": "yesterday"}', "createTime", "MALFORMED"),
        ('{"createTime": 5}', "createTime", "WRONG_TYPE"),
        ("[]", "", "WRONG_TYPE"),
        ("null", "", "WRONG_TYPE"),
        ('"{}"', "", "WRONG_TYPE"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(body: str, path: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    assert (refused.value.path, refused.value.reason) == (path, reason)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        '{"title": "a"',
        "{'title': 'a'}",
        '{"title": "a"} {}',
        '{"title": "\n"}',
        "[" * 10_000,
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        "\ufeff{}",
        '{"a":' * 40 + "1" + "}" * 40,
        '["]",' * (MAX_DEPTH + 1) + "0" + "]" * (MAX_DEPTH + 1),
        '["\\"]",' * (MAX_DEPTH + 1) + "0" + "]" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_no_json_is_refused_whole(body: str | bytes) -> None:
    with pytest.raises(MalformedJson):
        read(body)


def test_brackets_in_strings_are_not_depth() -> None:
    assert read(json.dumps({"title": "[" * 1000 + '"\\{'})).title.startswith("[[[")


# Objects are lists of pairs here, in which a key may stand twice.
WORDS = st.text(alphabet='a:"\\\\{]\n\u017e', max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda values: st.lists(values, max_size=3) | st.lists(st.tuples(WORDS, values), max_size=3).map(tuple),
)


def text_of(value: Any, ascii_only: bool, colon: str) -> str:
    if isinstance(value, tuple):
        pairs = (f"{text_of(key, ascii_only, colon)} :{text_of(each, ascii_only, colon)}" for key, each in value)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text_of(each, ascii_only, colon) for each in value) + "]"
    text = json.dumps(value, ensure_ascii=ascii_only)
    return text.replace(":", colon) if isinstance(value, str) else text


def object_of(pairs: list[tuple[str, Any]]) -> Any:
    return dict(pairs) if len(dict(pairs)) == len(pairs) else "twice"


def without_flaws(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_flaws(each) for key, each in value.items()}
        case list():
            return [without_flaws(each) for each in value]
    return "twice" if isinstance(value, Repeated) else value


@given(VALUES, st.booleans(), st.sampled_from([":", "\\u003a", "\\u003A"]))
def test_a_key_that_stands_twice_is_seen_wherever_it_stands(value: Any, ascii_only: bool, colon: str) -> None:
    text = text_of(value, ascii_only, colon)
    assert without_flaws(loads(text.encode())) == json.loads(text, object_pairs_hook=object_of)


def test_depth_up_to_the_limit_is_read() -> None:
    with pytest.raises(Refused):
        read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(MalformedJson):
        read("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_text_comes_back_as_it_was_sent() -> None:
    title = "Žlutý 🥛 שלום e\u0301"
    assert (
        json.loads(dumps(writer(product_pb2.Product.DESCRIPTOR)(read(json.dumps({"title": title})))))["title"] == title
    )


def test_the_moment_zero_is_a_moment() -> None:
    assert read('{"createTime": "1970-01-01T00:00:00Z"}').HasField("create_time")


def test_null_leaves_a_field_unset_and_quoted_integers_are_numbers() -> None:
    line = read('{"sku": null, "quantity": "3"}', order_pb2.SetCartLineRequest())
    assert (line.sku, line.quantity) == ("", 3)


def test_absent_messages_stay_absent_and_plain_fields_are_always_there() -> None:
    shown = writer(product_pb2.Variant.DESCRIPTOR)(product_pb2.Variant())
    assert "price" not in shown
    assert shown["sku"] == ""
