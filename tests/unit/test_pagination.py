"""Page tokens: they go on where they were sealed, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2
from mercato.errors import InvalidArgument, InvalidPageToken
from mercato.pagination import PageTokens, page_size
from mercato.rpc.call import Call, Principal, calling

ANN, BOB = Principal("ann", frozenset({"customer"})), Principal("bob", frozenset({"customer"}))
TOKENS = PageTokens("secret")


def listing(token: str = "", **query: Any) -> product_pb2.ListProductsRequest:
    return product_pb2.ListProductsRequest(page_token=token, **query)


@given(st.lists(st.text() | st.integers() | st.none(), max_size=4))
def test_a_cursor_comes_back_as_it_was_sealed(cursor: list[str | int | None]) -> None:
    assert TOKENS.open(listing(TOKENS.seal(cursor, listing()))) == cursor


@given(st.text(max_size=60))
def test_what_nobody_sealed_is_refused(token: str) -> None:
    if token:
        with pytest.raises(InvalidPageToken):
            TOKENS.open(listing(token))


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_token_with_one_changed_byte_is_refused(place: int, change: int) -> None:
    token = bytearray(TOKENS.seal(["milk", 7], listing()).encode())
    place %= len(token) - 1  # of the last character some bits mean nothing
    token[place] ^= change
    with pytest.raises(InvalidPageToken):
        TOKENS.open(listing(token.decode("latin-1")))


def test_a_token_belongs_to_its_query_and_its_list() -> None:
    token = TOKENS.seal(["milk"], listing(brand="A"))
    assert TOKENS.open(listing(token, brand="A", page_size=7)) == ["milk"]
    with pytest.raises(InvalidPageToken):
        TOKENS.open(listing(token, brand="B"))
    with pytest.raises(InvalidPageToken):
        TOKENS.open(order_pb2.ListOrdersRequest(page_token=token))


def test_a_token_of_another_secret_is_refused() -> None:
    with pytest.raises(InvalidPageToken):
        TOKENS.open(listing(PageTokens("other").seal(["milk"], listing())))


def test_on_private_lists_a_token_belongs_to_its_reader() -> None:
    with calling(Call(principal=ANN, private=True)):
        token = TOKENS.seal(["milk"], listing())
        assert TOKENS.open(listing(token)) == ["milk"]
    with calling(Call(principal=BOB, private=True)), pytest.raises(InvalidPageToken):
        TOKENS.open(listing(token))


def test_on_public_lists_anybody_may_go_on() -> None:
    with calling(Call(principal=ANN)):
        token = TOKENS.seal(["milk"], listing())
    with calling(Call(principal=BOB)):
        assert TOKENS.open(listing(token)) == ["milk"]


@pytest.mark.parametrize(("asked", "given_"), [(0, 20), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_a_page_has_a_default_and_a_greatest_size(asked: int, given_: int) -> None:
    assert page_size(listing(page_size=asked)) == given_


def test_a_page_cannot_have_less_than_nothing() -> None:
    with pytest.raises(InvalidArgument) as refused:
        page_size(listing(page_size=-1))
    assert refused.value.fields[0].field == "pageSize"


@given(st.integers(min_value=0, max_value=25), st.integers(min_value=1, max_value=7))
def test_pages_hold_every_item_once_and_in_order(items: int, size: int) -> None:
    token, seen = "", list[int]()
    while True:
        page = TOKENS.page(listing(token, page_size=size))
        after = page.after[0] if page.after else -1
        shown = page.of(list(range(after + 1, items))[: page.most], lambda item: [item])
        seen += shown.items
        assert len(shown.items) <= size
        if not (token := shown.next_page_token):
            break
    assert seen == list(range(items))
