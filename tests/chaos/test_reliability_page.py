"""The page that says what is covered by what names only what there is, and leaves no row out."""

from __future__ import annotations

import re
from pathlib import Path

from chaos.bugs.catalogue import BUGS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
TABLE = [line for line in PAGE.splitlines() if re.match(r"\| F\d", line)]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 50
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (TESTS / path).read_text()]
    assert not missing


def test_every_row_of_the_matrix_is_there_once_in_order() -> None:
    rows = [int(number) for line in TABLE for number in re.findall(r"F(\d+)", line.split("|")[1])]
    assert rows == list(range(1, 76))


def test_every_seeded_bug_that_is_named_is_there() -> None:
    named = {name for line in TABLE if "; B `" in line for name in re.findall(r"`(\w+)`", line.partition("; B ")[2])}
    assert named
    assert named <= {bug.name for bug in BUGS}
