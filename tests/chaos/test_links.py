"""Every way between two parts of a mesh leads through a proxy, and no other way is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from chaos.nemesis.links import KAFKA, plan, refit
from mercato.config import LocalSettings, load
from mercato.local.home import Home
from mercato.local.part import Part
from mercato.local.table import mesh_parts

ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A state folder."""
    return Home(tmp_path)


@pytest.fixture
def parts(home: Home) -> list[Part]:
    """A mesh with two order services, as it would be without proxies."""
    return mesh_parts(home, load(LocalSettings, {"MERCATO_PORT": "0", "MERCATO_COPIES": "order=2"}))


def ports_told(part: Part) -> set[int]:
    return {int(port) for slot in part.slots for value in slot.environment.values() for port in ADDRESS.findall(value)}


def ports_of(parts: Sequence[Part]) -> set[int]:
    return {int(slot.address.rpartition(":")[2]) for part in parts for slot in part.slots if slot.address}


def test_no_part_is_told_the_port_of_another(home: Home, parts: list[Part]) -> None:
    plan(home, parts)
    for part in refit(home, parts):
        own = ports_of([part])
        assert part.step or not (ports_told(part) - own) & ports_of(parts), part.name


def test_what_one_is_told_leads_to_whom_the_link_names(home: Home, parts: list[Part]) -> None:
    links = plan(home, parts)
    owners = {port: part.name for part in parts for port in ports_of([part])}
    for name, ports in links.items():
        caller, callee = name.split(">")
        assert {owners[port] for port in ports.values()} == {callee}
        told = [part for part in refit(home, parts) if ports_told(part) & ports.keys()]
        assert {part.name for part in told} >= ({caller} - {"mesh"})
        assert name == KAFKA or len(told) == 1


def test_kafka_tells_its_clients_to_come_back_through_the_link(home: Home, parts: list[Part]) -> None:
    ((proxy, port),) = plan(home, parts)[KAFKA].items()
    (kafka,) = (part for part in refit(home, parts) if part.name == "kafka")
    kafka.prepare()
    lines = (home.folder / "kafka" / "server.properties").read_text().splitlines()
    assert f"advertised.listeners=BROKER://127.0.0.1:{proxy}" in lines
    assert any(line.startswith(f"listeners=BROKER://127.0.0.1:{port},") for line in lines)


def test_a_runner_runs_the_modules_of_our_own_and_no_server(home: Home, parts: list[Part]) -> None:
    plan(home, parts, runner="some.runner")
    commands = {part.name: part.command() for part in refit(home, parts) if part.command and part.name != "kafka"}
    assert commands["order"][1:] == ["-m", "some.runner", "services.order"]
    assert "some.runner" not in commands["postgres"]
    assert "some.runner" not in commands["setup"]
