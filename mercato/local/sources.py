"""Which source code runs: fingerprints that tell whether a restart would change anything."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mercato.local.home import PROJECT

# What the processes of the mesh run. The command line, the demo shop and the tests are not among them.
CODE = ("gateway", "mercato", "migrations", "services", "simulator")
CHASSIS = ("mercato/local", "mercato/config.py", "requirements.lock")
APART = ("mercato/local", "mercato/cli")
# Chosen for one command, not for the mesh.
PASSING = frozenset({"MERCATO_DEMO_PASSWORD"})


def code(project: Path = PROJECT) -> str:
    """The state of what the services run."""
    apart = tuple(str(project / each) for each in APART)
    return _hash(path for path in _files(project, CODE) if not str(path).startswith(apart))


def chassis(environment: Mapping[str, str], project: Path = PROJECT) -> str:
    """The state of what the supervisor itself runs, and of the settings that it hands on."""
    settings = sorted(f"{k}={v}" for k, v in environment.items() if k.startswith("MERCATO_") and k not in PASSING)
    return _hash(_files(project, CHASSIS), "\0".join(settings))


def _files(project: Path, names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        top = project / name
        found = top.rglob("*") if top.is_dir() else (top,)
        # What lies in __pycache__ comes and goes while processes start.
        yield from sorted(
            path
            for path in found
            if path.parent.name != "__pycache__" and path.suffix != ".lock.tmp" and path.is_file()
        )


def _hash(paths: Iterable[Path], text: str = "") -> str:
    # The content, not the time of change: a checkout or a tool that writes the same file again changes nothing.
    digest = hashlib.blake2b(text.encode(), digest_size=12)
    for path in paths:
        digest.update(f"\0{path}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
