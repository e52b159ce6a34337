"""The virtual environment `.venv`: made, filled with the locked packages and with this checkout, or left as it is.

Run by whatever `python3` the machine has (it looks for a newer one when that is too old), so it uses only the standard
library, and no syntax that Python 3.8 does not know. Every failure is one sentence that says what to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
READY = VENV / ".ready"
HOME = VENV / ".home"
SYNCED = VENV / ".synced"
OLDEST = (3, 11)
PIP_SETTINGS = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
NEWER = ("python3.11", "python3.12", "python3.13", "python3.14")


class Trouble(Exception):
    """Something that only the person at the keyboard can put right."""


def main() -> int:
    """Bring the environment up to date."""
    try:
        with LOCK.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two terminals may both need it; the second finds it done
            if not _is_ready():
                _make()
            READY.touch()
    except (Trouble, OSError) as trouble:
        print("make: " + str(trouble), file=sys.stderr)
        return 1
    return 0


def _make() -> None:
    READY.unlink(missing_ok=True)
    if not _has_interpreter():
        _create()
    if not _runs([str(UV), "--version"]):
        _install_uv()
    if not SYNCED.is_file() or SYNCED.read_bytes() != LOCK.read_bytes():
        print("Installing the locked packages into .venv (the first time this downloads some 400 MB) ...", flush=True)
        _uv("sync", "--require-hashes", str(LOCK))
        SYNCED.write_bytes(LOCK.read_bytes())
    _uv("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    READY.write_text(_state())


def _is_ready() -> bool:
    return READY.is_file() and READY.read_text() == _state() and _has_interpreter()


def _state() -> str:
    """Where the environment belongs, which make looks at, and a digest of what it was made from."""
    digest = hashlib.sha256()
    for name in ("requirements.lock", "pyproject.toml", "hatch_build.py"):
        digest.update((ROOT / name).read_bytes())
    return f"{ROOT}\n{digest.hexdigest()}\n"


def _has_interpreter() -> bool:
    """Whether `.venv` holds a Python that runs, is new enough and was made for this folder (its scripts name it)."""
    moved = HOME.is_file() and HOME.read_text() != str(ROOT)
    return not moved and _runs([str(PYTHON), "-c", f"import sys; sys.exit(sys.version_info < {OLDEST})"])


def _create() -> None:
    interpreter = _interpreter()
    print(f"Making the virtual environment .venv with {interpreter} ...", flush=True)
    command = [interpreter, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise Trouble(
            f"{interpreter} -m venv failed ({_last_line(done.stdout + done.stderr)}). "
            "On Debian and Ubuntu install python3-venv, then run make again."
        )
    HOME.write_text(str(ROOT))


def _interpreter() -> str:
    """This Python when it is new enough, else a newer one on the path."""
    for candidate in (sys.executable, *filter(None, map(shutil.which, NEWER))):
        if _runs([candidate, "-c", f"import sys; sys.exit(sys.version_info < {OLDEST})"]):
            return candidate
    raise Trouble(
        f"Python 3.11 or newer is needed, and python3 is {sys.version_info.major}.{sys.version_info.minor}: "
        "install one, or name it: make PYTHON=/path/to/python3."
    )


def _install_uv() -> None:
    """Install uv, as the lock has it, with the environment's own pip."""
    print("Installing uv, which installs the rest ...", flush=True)
    pinned = VENV / "uv.txt"
    pinned.write_text(_locked("uv"))
    if not _runs([str(PYTHON), "-m", "pip", "--version"]) and not _runs([str(PYTHON), "-m", "ensurepip"]):
        shutil.rmtree(VENV, ignore_errors=True)
        raise Trouble(".venv has no pip and this Python cannot give it one. On Debian and Ubuntu install python3-venv.")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if subprocess.run([*pip, "--require-hashes", "-r", str(pinned)], check=False).returncode:
        raise Trouble(_not_downloaded("uv"))


def _locked(package: str) -> str:
    """The lines of the lock that pin one package, hashes included."""
    found = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*\n", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise Trouble(f"requirements.lock does not pin {package}: take the committed file back, or run make lock.")
    return found.group()


def _uv(verb: str, *arguments: str) -> None:
    """Run one `uv pip` command on the environment, with pip's settings where uv has none of its own."""
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    command = [str(UV), "pip", verb, "--python", str(PYTHON), *quiet, *arguments]
    if subprocess.run(command, env=_environment(), cwd=str(ROOT), check=False).returncode:
        here = "this checkout could not be installed: the reason stands above."
        raise Trouble(_not_downloaded("the packages") if verb == "sync" else here)


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    for pip, uv in PIP_SETTINGS.items():
        if pip in environment:
            environment.setdefault(uv, environment[pip])
    if ssl.create_default_context().cert_store_stats()["x509_ca"]:
        environment.setdefault("UV_SYSTEM_CERTS", "true")  # whom the machine trusts: a company's own proxy, for one
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(str(cache if cache.is_dir() else cache.parent), os.W_OK):
        environment.setdefault("UV_CACHE_DIR", str(VENV / "cache"))  # a home that cannot be written to
    return environment


def _not_downloaded(what: str) -> str:
    return (
        f"{what} could not be installed (the reason stands above). Check the network and the free space; behind a "
        "mirror set PIP_INDEX_URL. Then run the same command again: it continues where it stopped."
    )


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    sys.exit(main())
