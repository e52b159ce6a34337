"""Versions: pinned in one place, followed in every other."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE))
BUILD = {wanted.name: wanted for wanted in map(Requirement, PROJECT["build-system"]["requires"])}
BASE = {wanted.name: wanted for wanted in map(Requirement, PROJECT["project"]["dependencies"])}
DEV = {wanted.name: wanted for wanted in map(Requirement, PROJECT["project"]["optional-dependencies"]["dev"])}


@pytest.mark.parametrize("name", sorted(BUILD))
def test_what_builds_the_wheel_is_what_the_lock_holds(name: str) -> None:
    assert str(BUILD[name].specifier) == f"=={LOCKED[name]}"


@pytest.mark.parametrize("name", sorted(set(BUILD) & set(DEV)))
def test_what_builds_the_wheel_is_what_a_developer_has(name: str) -> None:
    assert DEV[name].specifier == BUILD[name].specifier


def test_no_runtime_is_allowed_that_the_generated_code_would_refuse() -> None:
    folder = resources.files("mercato.api.policy.v1")
    messages = folder.joinpath("policy_pb2.py").read_text()
    parts = re.search(r"Domain\.PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+)", messages)
    services = re.search(r"GRPC_GENERATED_VERSION = '(.+)'", folder.joinpath("policy_pb2_grpc.py").read_text())
    assert parts is not None
    assert services is not None
    assert _floor(BASE["protobuf"]) >= Version(".".join(parts.groups()))
    assert _floor(BASE["grpcio"]) >= Version(services[1])


def _floor(wanted: Requirement) -> Version:
    """The oldest version that a requirement allows."""
    return next(Version(spec.version) for spec in wanted.specifier if spec.operator == ">=")


def test_the_lock_has_a_hash_for_every_package_and_names_no_index() -> None:
    assert len(re.findall(r"^[\w.-]+==.*\\\n    --hash=sha256:", LOCK, re.MULTILINE)) == len(LOCKED)
    assert "://" not in LOCK


def test_the_lock_holds_all_that_the_project_asks_for() -> None:
    groups = (PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values())
    asked = [Requirement(line) for group in groups for line in group if not line.startswith("mercato[")]
    wrong = [str(one) for one in asked if not one.specifier.contains(LOCKED.get(one.name.lower(), "0"))]
    assert not wrong
