"""What the gateway lets through when there is more to do than can be done."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from gateway.shedding import Shedding
from mercato.errors import Conflict, DeadlineExceeded, MercatoError, NotYetConsistent, Overloaded, Unavailable
from mercato.policy import Criticality
from mercato.throttle import FEW


def lets_in(shedding: Shedding, criticality: Criticality) -> bool:
    try:
        with shedding.admitted("order", criticality):
            return True
    except Overloaded:
        return False


@pytest.fixture
def calls() -> Iterator[ExitStack]:
    with ExitStack() as calls:
        yield calls


def test_searches_find_no_room_before_checkouts_do(calls: ExitStack) -> None:
    shedding, found = Shedding(8), dict[int, list[Criticality]]()
    for under_way in range(8):
        found[under_way] = [each for each in Criticality if not lets_in(shedding, each)]
        calls.enter_context(shedding.admitted("order", Criticality.CRITICAL_PLUS))
    assert found[1] == []
    assert found[2] == [Criticality.SHEDDABLE]
    assert found[4] == [Criticality.SHEDDABLE, Criticality.SHEDDABLE_PLUS]
    assert found[6] == [Criticality.SHEDDABLE, Criticality.SHEDDABLE_PLUS, Criticality.CRITICAL]
    assert not lets_in(shedding, Criticality.CRITICAL_PLUS)
    calls.close()
    assert all(lets_in(shedding, each) for each in Criticality)


def ask(shedding: Shedding, error: MercatoError, service: str = "order") -> int:
    """How many of a hundred calls that end in an error were sent."""
    sent = 0
    for _ in range(100):
        with suppress(type(error), Overloaded), shedding.admitted(service, Criticality.SHEDDABLE):
            sent += 1
            with shedding.judged(service, Criticality.SHEDDABLE):
                raise error
    return sent


@pytest.mark.parametrize("error", [Unavailable(), DeadlineExceeded()])
def test_a_service_that_is_lost_is_hardly_asked_and_its_neighbours_are(error: MercatoError) -> None:
    shedding = Shedding(100)
    assert FEW <= ask(shedding, error) < 60
    assert lets_in(shedding, Criticality.CRITICAL)
    with shedding.admitted("product", Criticality.SHEDDABLE):
        pass


@pytest.mark.parametrize("error", [Conflict(), NotYetConsistent()])
def test_who_says_no_has_answered(error: MercatoError) -> None:
    assert ask(Shedding(100), error) == 100


def test_who_is_refused_is_told_to_come_back_at_different_times() -> None:
    shedding, times = Shedding(0), set[float | None]()
    for _ in range(10):
        with pytest.raises(Overloaded) as refused, shedding.admitted("order", Criticality.CRITICAL_PLUS):
            pass
        times.add(refused.value.retry_after)
    assert len(times) == 10
