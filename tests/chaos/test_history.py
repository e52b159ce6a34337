"""What people heard: a definite no, silence, or an answer; and what must not be true of it in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.nemesis.history import History, Json, Operation, Outcome, ask
from chaos.nemesis.verdict import (
    Memory,
    disorder,
    done,
    durable,
    invented,
    monotone,
    no_effect,
    once,
    understood,
    wanted,
)
from chaos.recording import Record
from shop.rest import Visitor

LINES = [{"sku": "1", "quantity": 2}]
WISH = {"lines": LINES}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An empty history."""
    with History(tmp_path / "history.jsonl") as history:
        yield history


def answering(status: int, body: dict[str, Any]) -> Visitor:
    return Visitor("http://gateway", httpx.MockTransport(lambda _: httpx.Response(status, json=body)))


def placed(history: History, answer: dict[str, Any], status: int = 201, who: str = "ann", key: str = "k") -> Operation:
    with answering(status, answer) as visitor:
        return ask(history, visitor, history.invoke(who, "place", "/v1/orders", key, WISH))


def remembered(**state: str) -> Memory:
    orders: dict[str, Json] = {id_: {"id": id_, "state": each, "lines": LINES} for id_, each in state.items()}
    return Memory(orders=orders, owned={"ann": set(orders)})


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (201, "", Outcome.OK),
        (202, "", Outcome.OK),
        (402, "PAYMENT_DECLINED", Outcome.FAIL),
        (409, "OUT_OF_STOCK", Outcome.FAIL),
        (409, "IDEMPOTENCY_KEY_IN_USE", Outcome.UNKNOWN),
        (429, "RATE_LIMITED", Outcome.UNKNOWN),
        (500, "", Outcome.UNKNOWN),
        (503, "UNAVAILABLE", Outcome.UNKNOWN),
        (504, "DEADLINE_EXCEEDED", Outcome.UNKNOWN),
    ],
)
def test_an_answer_is_yes_no_or_silence(history: History, status: int, reason: str, outcome: Outcome) -> None:
    assert placed(history, {"reason": reason}, status).outcome is outcome


def test_no_answer_at_all_is_silence_and_asking_again_decides(history: History) -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing came", request=request)

    operation = history.invoke("ann", "place", "/v1/orders", "k", WISH)
    with Visitor("http://gateway", httpx.MockTransport(lose)) as visitor:
        assert not ask(history, visitor, operation).decided
    assert history.undecided == [operation]
    with answering(201, {"id": "a"}) as visitor:
        assert ask(history, visitor, operation).decided
    assert history.undecided == []
    assert operation.tries == 2


def test_the_file_tells_of_every_question_and_every_answer_in_order(history: History) -> None:
    placed(history, {"id": "a"})
    placed(history, {"reason": "OUT_OF_STOCK"}, 409)
    events = [line.partition('"event": "')[2].partition('"')[0] for line in history.path.read_text().splitlines()]
    assert events == ["invoke", "ok", "invoke", "fail"]


def test_a_history_as_it_should_be_gives_no_finding(history: History) -> None:
    placed(history, {"id": "a"})
    placed(history, {"id": "a"})
    placed(history, {"reason": "OUT_OF_STOCK", "orderId": "b"}, 409, key="l")
    memory = remembered(a="CONFIRMED", b="REJECTED")
    for finder in (durable, no_effect, once, done, monotone, understood):
        assert not [*finder(history, memory)], finder


def test_an_acknowledged_order_that_is_gone_is_found(history: History) -> None:
    placed(history, {"id": "a"})
    assert len([*durable(history, Memory())]) == 1


def test_an_acknowledged_order_with_other_lines_is_found(history: History) -> None:
    placed(history, {"id": "a"})
    memory = remembered(a="CONFIRMED")
    memory.orders["a"] = {"id": "a", "state": "CONFIRMED", "lines": [{"sku": "1", "quantity": 3}]}
    assert len([*durable(history, memory)]) == 1


def test_an_order_that_no_answer_named_is_found_unless_a_question_is_open(history: History) -> None:
    placed(history, {"reason": "EMPTY_CART"}, 409)
    memory = remembered(a="CONFIRMED")
    assert len([*no_effect(history, memory)]) == 1
    placed(history, {}, 504, key="l")
    assert not [*no_effect(history, memory)]


def test_two_orders_of_one_key_are_found(history: History) -> None:
    placed(history, {"id": "a"})
    placed(history, {"id": "b"})
    assert len([*once(history, remembered(a="CONFIRMED", b="CONFIRMED"))]) == 1


def test_a_cancel_that_was_acknowledged_and_did_nothing_is_found(history: History) -> None:
    with answering(200, {"id": "a"}) as visitor:
        ask(history, visitor, history.invoke("ann", "cancel", "/v1/orders/a:cancel", "k", {}))
    assert len([*done(history, remembered(a="CONFIRMED"))]) == 1
    assert not [*done(history, remembered(a="CANCELLED"))]


def test_money_that_goes_back_twice_is_found(history: History) -> None:
    memory, dollar = remembered(a="DELIVERED"), {"units": "1"}
    memory.orders["a"] = {**memory.orders["a"], "return": {"state": "APPROVED", "refund": dollar}}
    memory.payments["p"] = {"id": "p", "orderId": "a", "refunded": {"units": "2"}}
    assert len([*wanted(history, memory)]) == 1
    with answering(200, {"id": "p"}) as visitor:
        ask(history, visitor, history.invoke("fran", "refund", "/v1/payments/p:refund", "k", {"amount": dollar}))
    assert not [*wanted(history, memory)]


def test_a_version_that_falls_is_found(history: History) -> None:
    for version in (1, 3, 2):
        history.read("ann", {"id": "a", "version": version})
    assert len([*monotone(history, Memory())]) == 1


def test_a_good_request_that_is_called_bad_is_found(history: History) -> None:
    placed(history, {}, 500)
    assert len([*understood(history, Memory())]) == 1


def record(version: int, event: str = "") -> Record:
    return Record("mercato.order.v1", "a", {"version": str(version), "ce_id": event or str(version)}, b"")


@pytest.mark.parametrize(
    ("versions", "finds"), [([1, 2, 3], 0), ([1, 2, 1, 2, 3], 0), ([1, 3, 2], 1), ([2, 1], 1), ([1, 4], 0)]
)
def test_only_a_first_occurrence_out_of_order_is_found(versions: list[int], finds: int) -> None:
    assert len([*disorder([record(version) for version in versions])]) == finds


@pytest.mark.parametrize(("version", "finds"), [(1, 0), (2, 0), (3, 1)])
def test_what_is_told_and_never_happened_is_found(version: int, finds: int) -> None:
    assert len([*invented([record(version)], {"mercato.order.v1": {"a": 2}})]) == finds
