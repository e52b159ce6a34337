import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mercato.config import BadSettings, Settings, load
from mercato.errors import Unavailable
from mercato.failpoint import (
    BadFailpoint,
    FailpointReached,
    UseCase,
    arm,
    failpoint,
    passed,
    record,
    struck,
    watched,
)
from mercato.failpoint_control import FailpointControl
from mercato.runtime import check


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("", development=True)
    record(on=False, development=True)


def test_a_failpoint_that_nobody_armed_is_nothing() -> None:
    arm("elsewhere=raise", development=True)
    failpoint("here")


def test_an_armed_failpoint_raises_at_its_passing_and_once() -> None:
    arm("here=raise:2,there=raise", development=True)
    failpoint("here")
    with pytest.raises(FailpointReached, match="here"):
        failpoint("here")
    failpoint("here")
    assert struck() == ["here"]


def test_a_place_is_named_by_what_runs_through_it() -> None:
    arm("order.PlaceOrder.before_commit=raise", development=True)
    failpoint("before_commit")
    with UseCase("order.GetOrder"):
        failpoint("before_commit")
        with UseCase("order.PlaceOrder"), pytest.raises(FailpointReached):
            failpoint("before_commit")
        failpoint("before_commit")


def test_whoever_loses_an_answer_hears_what_one_hears_of_a_neighbour_that_is_gone() -> None:
    arm("here=lose", development=True)
    with pytest.raises(Unavailable):
        failpoint("here")


def test_whoever_hangs_goes_on_when_the_place_is_disarmed() -> None:
    arm("here=hang", development=True)
    hanging = threading.Thread(target=failpoint, args=["here"])
    hanging.start()
    while not struck():
        assert hanging.is_alive()
    arm("there=raise", development=True)
    hanging.join(60)
    assert not hanging.is_alive()


def test_a_recording_counts_every_passing_and_costs_nothing_afterwards() -> None:
    assert not watched()
    record(on=True, development=True)
    assert watched()
    for use_case in ("a", "a", "b"):
        with UseCase(use_case):
            failpoint("before_commit")
    assert passed() == {"a.before_commit": 2, "b.before_commit": 1}
    record(on=False, development=True)
    assert not watched()


def test_a_crash_runs_no_handler_and_leaves_the_status_of_a_kill() -> None:
    program = """
import atexit
from mercato.failpoint import arm, failpoint
atexit.register(print, "handled")
arm("here=crash", development=True)
failpoint("here")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (137, "")


@pytest.mark.parametrize("specification", ["here", "here=explode", "here=crash:soon", "=", "here=crash:-1"])
def test_nonsense_is_refused(specification: str) -> None:
    with pytest.raises(BadFailpoint):
        arm(specification, development=True)


def ask(path: Path, line: str) -> Any:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(line.encode() + b"\n")
        return json.loads(connection.makefile().readline())


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Path]:
    control = FailpointControl(tmp_path, "order", development=True)
    (path,) = tmp_path.iterdir()
    yield path
    control.close()
    assert not path.exists()


def test_a_running_process_is_armed_watched_and_disarmed_by_its_control(control: Path) -> None:
    assert ask(control, '{"record": true}') == {"struck": [], "passed": {}}
    ask(control, '{"arm": "here=raise"}')
    with pytest.raises(FailpointReached):
        failpoint("here")
    assert ask(control, "{}") == {"struck": ["here"], "passed": {"here": 1}}
    ask(control, '{"arm": "", "record": false}')
    assert not watched()


@pytest.mark.parametrize("line", ['{"arm": "here=explode"}', "nonsense"])
def test_the_control_refuses_nonsense_and_goes_on(control: Path, line: str) -> None:
    assert "refused" in ask(control, line)
    assert ask(control, "{}") == {"struck": [], "passed": {}}


PRODUCTION = {"MERCATO_NAME": "order", "MERCATO_ENVIRONMENT": "production", "MERCATO_SECRET": "of its own"}


@pytest.mark.parametrize("way", ["MERCATO_FAILPOINT", "MERCATO_FAILPOINT_FOLDER"])
def test_in_production_no_process_starts_that_could_be_made_to_fail(way: str) -> None:
    check(load(Settings, PRODUCTION))
    with pytest.raises(BadSettings, match=way):
        check(load(Settings, {**PRODUCTION, way: "here=raise"}))


def test_in_production_nothing_is_armed_recorded_or_listened_for(tmp_path: Path) -> None:
    with pytest.raises(BadFailpoint):
        arm("here=raise", development=False)
    with pytest.raises(BadFailpoint):
        record(on=True, development=False)
    with pytest.raises(BadFailpoint):
        FailpointControl(tmp_path, "order", development=False)
    assert not watched()
    assert not [*tmp_path.iterdir()]
