"""The links of a mesh: every way between two of its parts, each through proxy ports of its own.

A link is named `order>payment`: who calls, and whom. Kafka is one link for all, for it tells its clients a single
address to come back to.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mercato.local.home import PORTS, Home
from mercato.local.kafka import Kafka
from mercato.local.part import Part, Slot, server_part
from mercato.local.server import HOST, free_port

Ports = Mapping[int, int]
"""A link's own ports, and those that they lead to."""

CHAOS = "chaos.json"
KAFKA = "mesh>kafka"
_ADDRESS = re.compile(rf"(?<={re.escape(HOST)}:)\d+")


def plan(home: Home, parts: Iterable[Part], runner: str = "") -> Mapping[str, Ports]:
    """Choose the ports of every link, and keep them in the home, where the supervisor finds them.

    A runner is a module that runs the parts' own modules instead of Python: see `chaos.bugs.run`.
    """
    links: dict[str, dict[int, int]] = {}
    # Those of the mesh are still free, and will not be.
    chosen: set[int] = set(map(int, home.read(PORTS).values()))
    for name, target in sorted(_ways([*parts])):
        port = next(port for port in iter(free_port, None) if port not in chosen)
        chosen.add(port)
        links.setdefault(name, {})[port] = target
    home.write(CHAOS, {"links": links, "runner": runner})
    return links


def refit(home: Home, parts: list[Part]) -> list[Part]:
    """The parts, told of the links' ports instead of each other's own."""
    kept = home.read(CHAOS)
    own = {(name, target): int(port) for name, ports in kept["links"].items() for port, target in ports.items()}
    owners = _owners(parts)
    refitted = (_kafka(home, own) if part.name == "kafka" else _refitted(part, owners, own) for part in parts)
    return [_run_by(kept["runner"], part) for part in refitted]


def _kafka(home: Home, own: Mapping[tuple[str, int], int]) -> Part:
    """Kafka, which tells its clients to come back through the link."""
    port = home.port("kafka")
    return server_part(Kafka(home.folder / "kafka", port, home.port("kafka.controller"), advertised=own[KAFKA, port]))


def _ways(parts: list[Part]) -> set[tuple[str, int]]:
    """Who calls, and at which port: all that the parts are told."""
    owners = _owners(parts)
    return {
        (_name(part, owners[port]), port)
        for part in parts
        for slot in part.slots
        for port in _told(slot)
        if _called(part, owners, port)
    }


def _owners(parts: Iterable[Part]) -> dict[int, str]:
    return {int(slot.address.rpartition(":")[2]): part.name for part in parts for slot in part.slots if slot.address}


def _told(slot: Slot) -> Iterator[int]:
    for value in slot.environment.values():
        yield from map(int, _ADDRESS.findall(value))


def _called(part: Part, owners: Mapping[int, str], port: int) -> bool:
    # What is done before the services start needs no proxy, and nobody calls itself.
    return not part.step and owners.get(port, part.name) != part.name


def _name(part: Part, owner: str) -> str:
    return KAFKA if owner == "kafka" else f"{part.name}>{owner}"


def _refitted(part: Part, owners: Mapping[int, str], own: Mapping[tuple[str, int], int]) -> Part:
    def instead(match: re.Match[str]) -> str:
        port = int(match[0])
        return str(own[_name(part, owners[port]), port] if _called(part, owners, port) else port)

    slots = (
        replace(slot, environment={name: _ADDRESS.sub(instead, value) for name, value in slot.environment.items()})
        for slot in part.slots
    )
    return replace(part, slots=tuple(slots))


def _run_by(runner: str, part: Part) -> Part:
    """The part, its module run by another one; a server is run as ever."""
    command = part.command
    if not runner or not part.code or part.step or command is None:
        return part
    return replace(part, command=lambda: [sys.executable, "-m", runner, *command()[2:]])
