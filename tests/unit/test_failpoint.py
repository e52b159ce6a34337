import subprocess
import sys
from collections.abc import Iterator

import pytest

from mercato.failpoint import BadFailpoint, FailpointReached, arm, failpoint


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("", development=True)


def test_a_failpoint_that_nobody_armed_is_nothing() -> None:
    arm("elsewhere=raise", development=True)
    failpoint("here")


def test_an_armed_failpoint_raises_at_its_passing_and_once() -> None:
    arm("here=raise:2,there=raise", development=True)
    failpoint("here")
    with pytest.raises(FailpointReached, match="here"):
        failpoint("here")
    failpoint("here")


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


def test_production_refuses_failpoints() -> None:
    with pytest.raises(BadFailpoint):
        arm("here=raise", development=False)
    failpoint("here")


@pytest.mark.parametrize("specification", ["here", "here=explode", "here=crash:soon", "=", "here=crash:-1"])
def test_nonsense_is_refused(specification: str) -> None:
    with pytest.raises(BadFailpoint):
        arm(specification, development=True)
