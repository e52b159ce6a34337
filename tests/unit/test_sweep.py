"""The crash sweep without a mesh: which cases there are, what it remembers, and a client that does not give up."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from chaos.sweep.case import ACTIONS, Case, Outcome, Result, cases_of, slice_of
from chaos.sweep.client import Client
from chaos.sweep.memory import Memory
from chaos.sweep.story import STORIES
from chaos.sweep.table import show
from shop.rest import Refused

COMMIT = "order.PlaceOrder.before_commit"
RECORDED = {
    "placed": {COMMIT: 2, "order.relay.after_ack": 1},
    "declined": {COMMIT: 3, "payment.VoidPayment.before_commit": 1},
}


def test_every_passing_of_every_place_meets_every_action_once_the_first_passings_first() -> None:
    cases = cases_of(RECORDED)
    assert len(cases) == len(set(cases)) == len(ACTIONS) * 5
    assert [case.passing for case in cases] == sorted(case.passing for case in cases)
    commits = {(case.passing, case.stories) for case in cases if case.place == COMMIT}
    assert commits == {(1, ("placed", "declined")), (2, ("placed", "declined")), (3, ("declined",))}
    assert {case.service for case in cases} == {"order", "payment"}


def test_a_worker_s_places_are_sought_where_something_goes_wrong_anyhow() -> None:
    passed = {"order.process.ship.before_commit": 1, COMMIT: 1}
    cases = cases_of({"placed": passed, "placed after a loss": passed}, upset={"placed after a loss"})
    first = {case.place: case.stories[0] for case in cases}
    assert first == {COMMIT: "placed", "order.process.ship.before_commit": "placed after a loss"}


def test_the_same_seed_chooses_the_same_slice_with_some_of_each_action() -> None:
    cases = cases_of(RECORDED)
    one, same, other = (slice_of(cases, 8, random.Random(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(case.action for case in one) == sorted(ACTIONS * 2)


def test_stories_have_names_of_their_own_and_say_what_they_are() -> None:
    assert len({story.name for story in STORIES}) == len(STORIES)
    assert all(story.plot.__doc__ for story in STORIES)


def test_a_sweep_that_is_broken_off_remembers_what_it_recorded_and_played(tmp_path: Path) -> None:
    result = Result(Case(COMMIT, 2, "hang", ("placed",)), Outcome.VIOLATED, 1.5, ("an order is missing",))
    memory = Memory(tmp_path)
    assert (memory.names(), [*memory.played()]) == ({}, [])
    memory.keep_names(RECORDED)
    memory.keep(result)
    again = Memory(tmp_path)
    assert (again.names(), [*again.played()]) == (RECORDED, [result])
    again.forget()
    assert (again.names(), [*again.played()]) == ({}, [])


def test_the_table_counts_what_held_and_tells_what_did_not() -> None:
    console = Console(width=200)
    held = Result(Case(COMMIT, 1, "hang", ("placed",)), Outcome.HELD, 1.0)
    missed = Result(Case(COMMIT, 2, "hang", ("placed",)), Outcome.MISSED, 1.0)
    broken = Result(
        Case("payment.VoidPayment.before_commit", 1, "raise", ("placed",)), Outcome.VIOLATED, 1.0, ("I1 why",)
    )
    with console.capture() as captured:
        show(console, [held, missed, broken])
    printed = captured.get()
    assert re.search(r"order .* 1 .* - .* 1/2 \(1 missed\)", printed)
    assert re.search(r"payment .* 0/1 ", printed)
    assert "VIOLATED payment.VoidPayment.before_commit=raise:1 in placed\n    I1 why" in printed


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://gateway", httpx.MockTransport(answer))


@pytest.mark.parametrize("silence", [500, 503, 504, 429, "IDEMPOTENCY_KEY_IN_USE", "nothing"])
def test_a_client_that_hears_nothing_asks_again_with_the_same_key(silence: object) -> None:
    keys = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 3:
            return httpx.Response(201, json={"id": "7"})
        if silence == "nothing":
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(silence if isinstance(silence, int) else 409, json={"reason": silence})

    with client(answer) as visitor:
        assert visitor.post("/v1/orders") == {"id": "7"}
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_definite_no_is_not_asked_again() -> None:
    asked = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(409, json={"reason": "OUT_OF_STOCK"})

    with client(answer) as visitor, pytest.raises(Refused, match="OUT_OF_STOCK"):
        visitor.post("/v1/orders")
    assert asked == ["/v1/orders"]
