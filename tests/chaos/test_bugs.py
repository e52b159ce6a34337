"""Every seeded bug still has something to change, and a process that is to have it has it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence

import pytest

from chaos.bugs import scenarios
from chaos.bugs.catalogue import BUGS, Bug
from chaos.bugs.seeding import Edit, Rotten, planted, sources
from chaos.bugs.stage import Stage
from mercato.config import surroundings

MODULE = "chaos.bugs.seeding"


def named(bug: Bug) -> str:
    return bug.name


@pytest.mark.parametrize("bug", BUGS, ids=named)
def test_a_bug_finds_its_text_once_and_what_it_makes_of_it_compiles(bug: Bug) -> None:
    for module, source in sources(bug.edits).items():
        compile(source, module, "exec")


@pytest.mark.parametrize("bug", BUGS, ids=named)
def test_a_bug_has_a_scenario_and_an_invariant(bug: Bug) -> None:
    scenario = getattr(scenarios, bug.scenario)
    assert next(iter(inspect.signature(scenario, eval_str=True).parameters.values())).annotation is Stage
    assert bug.caught_by
    assert all(each.startswith("I") and each[1:].isdigit() for each in bug.caught_by)


def test_there_are_enough_bugs_and_none_twice() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 15
    assert len({bug.edits for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("old", ["there is no such text", "import"])
def test_a_bug_whose_text_is_not_there_once_is_rotten(old: str) -> None:
    with pytest.raises(Rotten):
        sources([Edit(MODULE, old, "")])


def run(bug: str, module: str) -> subprocess.CompletedProcess[str]:
    environment = {**surroundings(), "MERCATO_SEEDED_BUG": bug}
    command: Sequence[str] = [sys.executable, "-m", "chaos.bugs.run", module]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_process_with_a_bug_says_so_and_one_without_is_as_ever() -> None:
    (bug,) = (each for each in BUGS if each.name == "no_dedupe")
    (module,) = {edit.module for edit in bug.edits}
    assert planted(module) in run(bug.name, module).stderr.splitlines()
    assert planted(module) not in run("", module).stderr
