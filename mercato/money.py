"""Exact money: whole minor units of one currency. Nothing here is ever a float."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Self

# ISO 4217 currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"


def digits(currency: str) -> int:
    """How many decimal digits the currency's minor unit has."""
    return 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (cents) of a currency (ISO 4217)."""

    amount: int
    currency: str

    @classmethod
    def zero(cls, currency: str) -> Self:
        """Nothing, in a currency."""
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Self:
        """The amount that a decimal string names; ValueError if it is none, or finer than the minor unit."""
        try:
            minor = Decimal(text).scaleb(digits(currency))
            exact = minor == minor.to_integral_value()
        except InvalidOperation:
            raise ValueError(f"not an amount: {text!r}") from None
        if not exact or not minor.is_finite():
            raise ValueError(f"not an amount in {currency}: {text!r}")
        return cls(int(minor), currency)

    @classmethod
    def total(cls, amounts: Iterable[Self], currency: str) -> Self:
        """The sum of amounts, zero of none."""
        return sum(amounts, start=cls.zero(currency))

    def share(self, part: int, whole: int) -> Self:
        """`part / whole` of the amount, halves to even."""
        return type(self)(round(Fraction(self.amount * part, whole)), self.currency)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.amount - self._same(other).amount, self.currency)

    def __mul__(self, times: int) -> Self:
        if not isinstance(times, int):
            return NotImplemented
        return type(self)(self.amount * times, self.currency)

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return type(self)(-self.amount, self.currency)

    def __bool__(self) -> bool:
        return self.amount != 0

    def __lt__(self, other: Self) -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: Self) -> bool:
        return self.amount <= self._same(other).amount

    def __gt__(self, other: Self) -> bool:
        return self.amount > self._same(other).amount

    def __ge__(self, other: Self) -> bool:
        return self.amount >= self._same(other).amount

    def __str__(self) -> str:
        places = digits(self.currency)
        units, minor = divmod(abs(self.amount), 10**places)
        sign = "-" if self.amount < 0 else ""
        return f"{sign}{units}.{minor:0{places}} {self.currency}" if places else f"{sign}{units} {self.currency}"

    def _same(self, other: Self) -> Self:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other
