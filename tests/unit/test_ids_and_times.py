"""Identifiers and times."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument
from mercato.ids import derive, uuid7
from mercato.wire import time_from_pb, time_to_pb


def test_an_identifier_is_a_version_7_uuid_and_nobody_else_s() -> None:
    made = [uuid7() for _ in range(1000)]
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 1000


def test_identifiers_sort_by_the_millisecond_they_were_made_in() -> None:
    made = [uuid7() for _ in range(1000)]
    milliseconds = [each.int >> 80 for each in made]
    assert milliseconds == sorted(milliseconds)
    assert abs(milliseconds[0] / 1000 - datetime.now(UTC).timestamp()) < 60


def test_a_derived_identifier_is_the_same_every_time() -> None:
    order = UUID("0190a6e0-0000-7000-8000-000000000001")
    assert derive(order, "reserve") == derive(order, "reserve")
    assert derive(order, "reserve") != derive(order, "authorize")
    assert derive(order, "reserve") != derive(uuid7(), "reserve")


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back_from_the_wire_as_they_were(time: datetime) -> None:
    assert time_from_pb(time_to_pb(time)) == time


@pytest.mark.parametrize("pb", [Timestamp(seconds=2**60), Timestamp(nanos=-1), Timestamp(nanos=10**9)])
def test_a_time_out_of_range_is_refused(pb: Timestamp) -> None:
    with pytest.raises(InvalidArgument):
        time_from_pb(pb, "since")
