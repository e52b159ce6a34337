"""Exact money, and money on the wire."""

import pytest
from google.type import money_pb2
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument
from mercato.money import Money
from mercato.wire import money_from_pb, money_to_pb

CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KWD"])
AMOUNTS = st.integers(-(10**14), 10**14)


@given(AMOUNTS, CURRENCIES)
def test_money_comes_back_from_the_wire_as_it_was(amount: int, currency: str) -> None:
    assert money_from_pb(money_to_pb(Money(amount, currency))) == Money(amount, currency)


@given(AMOUNTS, CURRENCIES)
def test_units_and_nanos_never_disagree_about_the_sign(amount: int, currency: str) -> None:
    pb = money_to_pb(Money(amount, currency))
    assert pb.units * pb.nanos >= 0


@given(AMOUNTS, CURRENCIES)
def test_money_is_read_back_from_its_own_text(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    assert Money.parse(str(money).removesuffix(f" {currency}"), currency) == money


@given(st.lists(AMOUNTS))
def test_a_total_is_the_sum(amounts: list[int]) -> None:
    assert Money.total([Money(each, "EUR") for each in amounts], "EUR").amount == sum(amounts)


@given(st.integers(0, 10**9), st.integers(1, 99), st.data())
def test_shares_of_an_amount_never_exceed_it(amount: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assert Money(0, "EUR") <= Money(amount, "EUR").share(part, whole) <= Money(amount, "EUR")


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="EUR and USD"):
        Money(1, "EUR") + Money(1, "USD")


def test_money_is_not_multiplied_by_a_float() -> None:
    with pytest.raises(TypeError):
        Money(100, "EUR") * 1.5  # type: ignore[operator]


@pytest.mark.parametrize("text", ["1.005", "ten", "", "NaN", "Infinity"])
def test_a_text_that_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        Money.parse(text, "EUR")


@pytest.mark.parametrize(
    ("pb", "field"),
    [
        (money_pb2.Money(currency_code="eur", units=1), "price.currencyCode"),
        (money_pb2.Money(currency_code="", units=1), "price.currencyCode"),
        (money_pb2.Money(currency_code="EUR", units=1, nanos=-10_000_000), "price.nanos"),
        (money_pb2.Money(currency_code="EUR", units=1, nanos=1_000_000_000), "price.nanos"),
        (money_pb2.Money(currency_code="EUR", units=1, nanos=5_000_000), "price.nanos"),
        (money_pb2.Money(currency_code="JPY", units=1, nanos=10_000_000), "price.nanos"),
        (money_pb2.Money(currency_code="EUR", units=2**62), "price.units"),
    ],
)
def test_malformed_money_is_refused_and_named(pb: money_pb2.Money, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        money_from_pb(pb, "price")
    assert [each.field for each in refused.value.fields] == [field]
