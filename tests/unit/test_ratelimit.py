"""Rate limits, counted within a process."""

from hypothesis import given
from hypothesis import strategies as st

from mercato.ratelimit import LocalLimiter, Rate

TEN_A_MINUTE = Rate(10, 60)


def test_all_of_a_rate_may_come_at_once_and_no_more() -> None:
    limiter = LocalLimiter()
    rulings = [limiter.decide([("a", TEN_A_MINUTE)], now=100.0) for _ in range(12)]
    assert [ruling.allowed for ruling in rulings] == [True] * 10 + [False] * 2
    assert [ruling.remaining for ruling in rulings] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]


def test_who_is_refused_is_told_when_to_come_again_and_may_then() -> None:
    limiter = LocalLimiter()
    for _ in range(10):
        limiter.decide([("a", TEN_A_MINUTE)], now=100.0)
    refused = limiter.decide([("a", TEN_A_MINUTE)], now=101.0)
    assert not refused.allowed
    assert refused.retry_after == 5.0
    assert refused.reset == 59.0
    assert limiter.decide([("a", TEN_A_MINUTE)], now=101.0 + refused.retry_after).allowed


def test_a_request_that_one_key_refuses_costs_the_others_nothing() -> None:
    limiter, once = LocalLimiter(), Rate(1, 60)
    assert limiter.decide([("address", TEN_A_MINUTE), ("account", once)], now=0.0).allowed
    refused = limiter.decide([("address", TEN_A_MINUTE), ("account", once)], now=0.0)
    assert not refused.allowed
    assert refused.rate == once
    rulings = [limiter.decide([("address", TEN_A_MINUTE)], now=0.0).allowed for _ in range(10)]
    assert rulings == [True] * 9 + [False]


def test_keys_do_not_count_for_each_other() -> None:
    limiter, once = LocalLimiter(), Rate(1, 60)
    assert limiter.decide([("a", once)], now=0.0).allowed
    assert limiter.decide([("b", once)], now=0.0).allowed


def test_what_is_at_rest_is_forgotten_when_there_is_much_to_remember() -> None:
    limiter = LocalLimiter(most=3)
    for number in range(10):
        assert limiter.decide([(f"key {number}", Rate(1, 1))], now=10.0 * number).allowed
    assert len(limiter._due) <= 4


@given(
    rate=st.builds(Rate, st.integers(1, 20), st.floats(0.5, 60)),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=80),
)
def test_in_any_time_no_more_pass_than_the_rate_and_one_full_allowance(rate: Rate, pauses: list[float]) -> None:
    limiter, now, passed = LocalLimiter(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if limiter.decide([("a", rate)], now).allowed:
            passed.append(now)
    for first, began in enumerate(passed):
        for last, ended in enumerate(passed[first:], start=first):
            assert last - first + 1 <= rate.requests + (ended - began) / rate.spacing + 1e-3


@given(rate=st.builds(Rate, st.integers(1, 20), st.floats(0.5, 60)))
def test_requests_that_come_evenly_are_never_refused(rate: Rate) -> None:
    limiter = LocalLimiter()
    assert all(limiter.decide([("a", rate)], number * rate.spacing).allowed for number in range(60))
