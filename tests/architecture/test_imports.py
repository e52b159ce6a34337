"""Who may import what, where import-linter's contracts (pyproject.toml, `make lint`) cannot say it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("auditor", "chaos", "gateway", "mercato", "services", "shop", "simulator")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if "_pb2" not in path.stem)
SERVICES = [path for path in SOURCES if path.is_relative_to(ROOT / "services")]
SPEAK_PROTOBUF = {
    *("app", "consumers", "encoding", "evolution", "messages", "projections"),
    *("public_events", "servicer", "stored", "stubs"),
}
SPEAK_SQL = {
    "holds",
    "levels",
    "queries",
    "store",
    "tree",
    "vocabulary",
}  # parts of a store are named for what is in them
DOMAIN_MAY_IMPORT = {"mercato.errors", "mercato.ids", "mercato.money"}


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, with the names taken from it, as `package.module.name`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str() as module, names=names):
                yield from (f"{module}.{alias.name}" for alias in names)


def _imports_protobuf(path: Path) -> bool:
    return any("_pb2" in name for name in _imports(path))


def _named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_only_the_modules_at_a_service_s_edge_speak_protobuf() -> None:
    assert not _named([p for p in SERVICES if p.stem not in SPEAK_PROTOBUF and _imports_protobuf(p)])


def test_only_store_and_queries_of_a_service_speak_sql() -> None:
    # Who judges the data from outside, or breaks it, reads the tables.
    judges = tuple(ROOT / name for name in ("auditor", "chaos", "mercato"))
    outside = [path for path in SOURCES if path not in SERVICES and not any(map(path.is_relative_to, judges))]
    inside = [path for path in SERVICES if path.stem not in SPEAK_SQL]
    assert not _named([p for p in inside + outside if any(n.split(".")[0] == "psycopg" for n in _imports(p))])


PURE = [path for path in SERVICES if path.stem in {"decisions", "domain"}]


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_domain_imports_the_standard_library_and_three_modules_of_the_chassis(path: Path) -> None:
    assert not {name for name in _foreign(path) if ".".join(name.split(".")[:2]) not in DOMAIN_MAY_IMPORT}


def _foreign(path: Path) -> Iterator[str]:
    """What a module and those beside it that it is spread over import from outside the standard library."""
    for name in _imports(path):
        *package, module = name.split(".")[:3]
        beside = path.with_name(f"{module}.py")
        if package == ["services", path.parent.name] and beside.exists():
            yield from _foreign(beside)
        elif name.split(".")[0] not in sys.stdlib_module_names:
            yield name


def test_only_the_settings_read_the_environment() -> None:
    assert not _named([p for p in SOURCES if p != ROOT / "mercato/config.py" and _reads_environment(p)])


def _reads_environment(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    if not any(word in text for word in ("environ", "getenv", "putenv")):
        return False
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "getenv" | "putenv"):
                return True
            case ast.ImportFrom(module="os", names=names) if {"environ", "getenv"} & {alias.name for alias in names}:
                return True
    return False


def test_a_domain_takes_the_time_as_an_argument() -> None:
    asked = {"datetime.now", "datetime.utcnow", "date.today", "time.time"}
    domains = [path for path in SERVICES if path.stem in {"domain", "usecases"}]
    assert not _named([path for path in domains if asked & set(_calls(path))])


def _calls(path: Path) -> Iterator[str]:
    """The calls of a file that read `name.attribute(…)`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)):
                yield f"{name}.{attribute}"
