"""The schedule of a nemesis is a function of its seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaos.nemesis.schedule import AT_ONCE, EVERYTHING, FIRST, TO_PROCESSES, Kind, draw

PROCESSES = ["order", "payment", "postgres", "kafka", "gateway"]
LINKS = ["order>payment", "order>postgres", "payment>simulator", "mesh>kafka"]
SEEDS = st.integers(min_value=0, max_value=2**32)


@given(SEEDS)
def test_the_same_seed_strikes_the_same_blows(seed: int) -> None:
    again = draw(seed, 120, PROCESSES[::-1], LINKS[::-1])
    assert draw(seed, 120, PROCESSES, LINKS) == again


def test_another_seed_strikes_others() -> None:
    assert draw(1, 120, PROCESSES, LINKS) != draw(2, 120, PROCESSES, LINKS)


@given(SEEDS)
def test_faults_are_over_in_time_and_hit_what_they_can_hit(seed: int) -> None:
    faults = draw(seed, 60, PROCESSES, LINKS)
    assert faults
    for fault in faults:
        assert FIRST <= fault.at <= fault.at + fault.lasts <= 60
        assert (fault.lasts == 0) == (fault.kind in AT_ONCE)
        assert fault.target in (PROCESSES if fault.kind in TO_PROCESSES else [*LINKS, EVERYTHING])
    (blackout,) = (fault for fault in faults if fault.kind is Kind.BLACKOUT)
    assert blackout.target == EVERYTHING


@given(SEEDS)
def test_two_minutes_see_every_kind_of_fault_and_every_process(seed: int) -> None:
    faults = draw(seed, 240, PROCESSES, LINKS)
    assert {fault.kind for fault in faults} >= {*Kind} - {*TO_PROCESSES}
    assert {fault.target for fault in faults} == {*PROCESSES, *LINKS, EVERYTHING}
