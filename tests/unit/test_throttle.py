"""Laws of throttling by what a neighbour accepts, on a clock of the test's own."""

import random

import pytest

from mercato.throttle import FEW, MOST, WINDOW, K, Throttle


class Neighbour:
    """Accepts so many requests a second, a few at once, and refuses the rest."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.throttle = Throttle(random.Random(7))
        self.now = 0.0

    def asked(self, rate: int, seconds: float) -> tuple[int, int]:
        """How many of the requests that come evenly were sent on, and how many of them accepted."""
        sent = good = 0
        room = 0.0
        for _ in range(int(rate * seconds)):
            self.now += 1 / rate
            room = min(room + self.capacity / rate, 8.0)
            if self.throttle.refuses(self.now):
                continue
            sent += 1
            accepted = room >= 1.0
            room -= accepted
            good += accepted
            self.throttle.note(self.now, accepted=accepted)
        return sent, good


def test_who_is_not_overloaded_gets_every_request() -> None:
    assert Neighbour(capacity=1000).asked(200, seconds=20) == (4000, 4000)


@pytest.mark.parametrize("times", [2, 5, 20])
def test_of_a_flood_a_neighbour_gets_some_more_than_it_can_do_and_does_as_much_as_ever(times: int) -> None:
    neighbour = Neighbour(capacity=100)
    neighbour.asked(100 * times, seconds=2 * WINDOW)
    sent, good = neighbour.asked(100 * times, seconds=30)
    assert good >= 0.95 * 3000
    assert sent <= 1.1 * K * 3000


def test_when_the_flood_is_over_it_is_forgotten_within_the_window() -> None:
    neighbour = Neighbour(capacity=100)
    neighbour.asked(500, seconds=60)
    neighbour.asked(80, seconds=WINDOW)
    assert neighbour.asked(80, seconds=10) == (800, 800)


def test_who_is_gone_is_asked_now_and_then_and_found_when_it_is_back() -> None:
    neighbour = Neighbour(capacity=0)
    neighbour.asked(100, seconds=WINDOW)
    sent, _ = neighbour.asked(100, seconds=10)
    assert 0 < sent < 1000 * (1 - MOST) * 2
    neighbour.capacity = 1000
    neighbour.asked(100, seconds=5 * WINDOW)
    assert neighbour.asked(100, seconds=10) == (1000, 1000)


def test_of_few_requests_nothing_is_made() -> None:
    throttle = Throttle()
    for number in range(FEW):
        assert not throttle.refuses(number / 1000)
        throttle.note(number / 1000, accepted=False)
    assert throttle.share(FEW / 1000) > 0.9
