"""Logs, and the ids that travel."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mercato import log
from mercato.rpc.call import consistency_token, current_call, on_behalf_of, read_consistency


@pytest.fixture
def lines() -> Iterator[Any]:
    """What was logged so far, as a list of objects."""
    stream = io.StringIO()
    root, level = logging.getLogger().handlers[:], logging.getLogger().level
    log.configure("order", "info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    log.forget()
    logging.basicConfig(level=level, handlers=root, force=True)


def test_a_line_is_an_event_with_values_and_what_the_work_is_about(lines: Any) -> None:
    with log.bound(request_id="r-1", order_id="o-1"):
        log.get("test").info("order.placed", total=12)
    (line,) = lines()
    assert line["event"] == "order.placed"
    assert (line["service"], line["request_id"], line["order_id"], line["total"]) == ("order", "r-1", "o-1", 12)


def test_what_was_bound_ends_with_its_block(lines: Any) -> None:
    with log.bound(request_id="r-1"):
        log.bind(order_id="o-1")
        assert log.context() == {"request_id": "r-1", "order_id": "o-1"}
    assert not log.context()


def test_a_traceback_stays_one_line(lines: Any) -> None:
    try:
        int("no")
    except ValueError:
        log.get("test").exception("broken")
    (line,) = lines()
    assert "ValueError: invalid literal" in line["exception"]


def test_what_libraries_log_is_a_line_of_ours(lines: Any) -> None:
    logging.getLogger("library").warning("%d things", 3)
    (line,) = lines()
    assert (line["event"], line["level"], line["source"]) == ("3 things", "warning", "library")


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 128])
def test_a_proper_request_id_is_kept(given: str) -> None:
    assert log.request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\nb", 'a"b', "ü"])
def test_any_other_is_replaced(given: str | None) -> None:
    assert log.request_id(given) != given
    assert log.request_id(log.request_id(given))


def test_a_trace_goes_on_with_a_span_of_our_own() -> None:
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    ours = log.traceparent(given)
    assert ours.startswith(f"00-{'a' * 32}-")
    assert ours.endswith("-01")
    assert ours != given


@pytest.mark.parametrize("given", [None, "", "00-abc", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01"])
def test_a_malformed_trace_begins_anew(given: str | None) -> None:
    assert log.traceparent(log.traceparent(given))[3:35] != (given or "")[3:35]


def test_work_without_its_user_is_done_in_the_user_s_name() -> None:
    with on_behalf_of("ann", request_id="r-1") as call:
        assert current_call() is call
        assert current_call().principal.subject == "ann"
        assert log.context()["request_id"] == "r-1"
    assert not current_call().principal.subject


def test_a_consistency_token_is_read_back_and_rubbish_is_no_wish() -> None:
    assert read_consistency(consistency_token({"0190-a": 3, "milk": 7})) == {"0190-a": 3, "milk": 7}
    assert read_consistency("%%%") == {}
    assert read_consistency("") == {}
    assert read_consistency("AAAA") == {}


def test_a_process_that_logs_does_not_load_what_paints() -> None:
    loaded = "import mercato.log, sys; sys.exit('rich' in sys.modules or 'structlog' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
