"""The page that says what is refused names only tests that there are, and leaves no row out."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| (.+) \|$", PAGE, re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_every_row_is_there_once_in_order() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 43))


def test_every_row_names_a_test_or_says_why_there_is_none() -> None:
    bare = [
        number for number, _, how in ROWS if not NAMED.search(how) and not re.match(r"does not apply|\*\*open", how)
    ]
    assert not bare


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 60
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (TESTS / path).read_text()]
    assert not missing
