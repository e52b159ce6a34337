"""Values on the wire: money and times as Google's common protobuf messages."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2

from mercato.errors import InvalidArgument
from mercato.money import Money, digits

_CURRENCY = re.compile("[A-Z]{3}")
_NANO_DIGITS = 9
_LONGEST = 10**15  # units; far above any price, far below what int64 minor units hold
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def money_to_pb(money: Money) -> money_pb2.Money:
    """Minor units as units and nanos, whose signs agree."""
    scale = 10 ** digits(money.currency)
    units, minor = divmod(abs(money.amount), scale)
    sign = -1 if money.amount < 0 else 1
    nanos = minor * (10**_NANO_DIGITS // scale)
    return money_pb2.Money(currency_code=money.currency, units=sign * units, nanos=sign * nanos)


def money_from_pb(pb: money_pb2.Money, field: str = "") -> Money:
    """Units and nanos as minor units. InvalidArgument (of `field`) if that is not exact, or is malformed."""
    if not _CURRENCY.fullmatch(pb.currency_code):
        raise InvalidArgument.of(_inside(field, "currencyCode"), "must be three capital letters", "CURRENCY")
    if abs(pb.units) > _LONGEST:
        raise InvalidArgument.of(_inside(field, "units"), "is too large", "RANGE")
    if abs(pb.nanos) >= 10**_NANO_DIGITS or pb.units * pb.nanos < 0:
        raise InvalidArgument.of(_inside(field, "nanos"), "must be below one unit, with the sign of units", "RANGE")
    step = 10 ** (_NANO_DIGITS - digits(pb.currency_code))
    if pb.nanos % step:
        raise InvalidArgument.of(_inside(field, "nanos"), "is finer than the currency's minor unit", "PRECISION")
    return Money(pb.units * 10 ** digits(pb.currency_code) + pb.nanos // step, pb.currency_code)


def _inside(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def time_to_pb(time: datetime) -> Timestamp:
    """An aware time as a timestamp, to the microsecond."""
    passed = time - _EPOCH
    return Timestamp(seconds=passed.days * 86_400 + passed.seconds, nanos=passed.microseconds * 1_000)


def time_from_pb(pb: Timestamp, field: str = "") -> datetime:
    """A timestamp as an aware UTC time, cut to the microsecond. InvalidArgument (of `field`) if it is out of range."""
    if not 0 <= pb.nanos < 10**_NANO_DIGITS:
        raise InvalidArgument.of(_inside(field, "nanos"), "is out of range", "RANGE")
    try:
        return _EPOCH + timedelta(seconds=pb.seconds, microseconds=pb.nanos // 1_000)
    except OverflowError:
        raise InvalidArgument.of(field, "must lie between the years 1 and 9999", "RANGE") from None
