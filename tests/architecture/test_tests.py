"""How tests are written: doubles by hand, and nothing that waits for luck."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "mock.patch": "write a double by hand",
    "monkeypatch.setattr": "hand the double in",
    "time.sleep": "wait for the event, not for the clock",
    "pytest.skip": "a test runs or is deleted",
    "pytest.xfail": "a test passes or is deleted",
    "mark.skip": "a test runs or is deleted",
    "mark.skipif": "a test runs or is deleted",
    "mark.xfail": "a test passes or is deleted",
}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_a_test_patches_nothing_sleeps_never_and_is_not_skipped(path: Path) -> None:
    used = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        for name in FORBIDDEN
        if ast.unparse(node).endswith(name)
    }
    assert not {name: FORBIDDEN[name] for name in used}
