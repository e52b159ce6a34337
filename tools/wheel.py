"""The proof that another team can install the wheel and call a service, with nothing of this checkout in reach.

The wheel is built, installed with its base dependencies alone into a new environment outside the checkout, and every
stub in it is imported there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools.stubs import ROOT

CARRIED = ("mercato/migrations/", "mercato/protos/", "mercato/py.typed", "buf/validate/validate_pb2.pyi")
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    if name.endswith("_pb2_grpc"):
        services = importlib.import_module(name.removesuffix("_grpc")).DESCRIPTOR.services_by_name
        missing = [service for service in services if not hasattr(module, service + "Stub")]
        assert not missing, f"{name} lacks the stubs of {missing}"
        assert "site-packages" in module.__file__, module.__file__
"""


class BadWheel(Exception):
    """A wheel that somebody else could not use."""


def check(scratch: Path) -> str:
    """Build the wheel and use it; what was proved, as a sentence."""
    wheel = _build(scratch)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if absent := [entry for entry in CARRIED if not any(name.startswith(entry) for name in names)]:
        raise BadWheel(f"{wheel.name} lacks {', '.join(absent)}")
    modules = sorted(_stubs(names))
    python = _environment(scratch, wheel)
    _run([str(python), "-I", "-W", "error", "-c", IMPORT, *modules], scratch)
    return f"{wheel.name}: all {len(modules)} generated modules import with the base dependencies alone"


def _build(scratch: Path) -> Path:
    """The wheel, made by the tools of this environment (which the lock has checked)."""
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(scratch)], ROOT)
    return next(scratch.glob("*.whl"))


def _stubs(names: list[str]) -> Iterator[str]:
    """The generated modules among a wheel's files, by their import names."""
    for name in names:
        if name.endswith(("_pb2.py", "_pb2_grpc.py")):
            yield name.removesuffix(".py").replace("/", ".")


def _environment(scratch: Path, wheel: Path) -> Path:
    """A new environment's interpreter, with the wheel and what it requires in the locked versions."""
    uv, python = Path(sys.executable).with_name("uv"), scratch / "venv/bin/python"
    _run([str(uv), "venv", "--quiet", "--python", sys.executable, str(scratch / "venv")], scratch)
    into = ["pip", "install", "--quiet", "--python", str(python), "--constraint", str(ROOT / "requirements.lock")]
    _run([str(uv), *into, str(wheel)], scratch)
    return python


def _run(command: list[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadWheel(f"{' '.join(command[:6])} … failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    """Check, and print the outcome."""
    try:
        with tempfile.TemporaryDirectory(prefix="wheel-") as scratch:
            print(check(Path(scratch)))
    except BadWheel as trouble:
        print(trouble, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
