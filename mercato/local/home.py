"""The state folder of one mesh (`.mercato/`): its ports, secrets, keys, logs and the servers' data."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mercato.local.server import free_port, is_free
from mercato.local.trouble import Trouble, explained

PROJECT = Path(__file__).parents[2]
ENOUGH = 500 * 1024 * 1024
# A socket's path may have 107 bytes.
SOCKET_LIMIT = 100
# Apart from the ports that single servers take, and for each mesh a part of its own: what is chosen here is not
# listened on at once, and nobody else may take it meanwhile.
BLOCKS, BLOCK = range(26_000, 32_000), 200
PORTS, SECRETS = "ports.json", "secrets.json"


class Home:
    """A state folder. What it remembers is the same at every start; what it keeps secret only its owner reads."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, if need be."""
        self.folder = folder.expanduser().absolute()
        with explained(self.folder):
            self.logs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(b"0")

    @property
    def logs(self) -> Path:
        """Where each process writes its log."""
        return self.folder / "logs"

    @property
    def keys(self) -> Path:
        """The keys of the services: private ones, and the public ones that all trust."""
        return self.folder / "keys"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens: in the folder or, where that is too deep for a socket, in the temporary one."""
        inside = self.folder / "supervisor.sock"
        if len(os.fsencode(inside)) <= SOCKET_LIMIT:
            return inside
        short = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mercato-{os.getuid()}-{short}.sock"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"

    def port(self, use: str) -> int:
        """The port for a use: chosen free the first time, the same one ever after."""
        ports = self.read(PORTS)
        if use not in ports:
            ports[use] = free_port([port for port in self._block(ports) if port not in ports.values()])
            self.write(PORTS, ports)
        return int(ports[use])

    def _block(self, ports: Mapping[str, int]) -> range:
        """Where the ports lie that were chosen; for the first one, somewhere where no other mesh is."""
        blocks = [BLOCKS[start : start + BLOCK] for start in range(0, len(BLOCKS), BLOCK)]
        if found := [block for block in blocks if any(port in block for port in ports.values())]:
            return found[0]
        own = int(hashlib.sha256(os.fsencode(self.folder)).hexdigest(), 16) % len(blocks)
        nearest = [*blocks[own:], *blocks[:own]]
        return next((block for block in nearest if all(map(is_free, block))), nearest[0])

    def renew_taken_ports(self) -> None:
        """Forget the ports that somebody else listens on by now; for when nothing of ours runs."""
        self.write(PORTS, {use: port for use, port in self.read(PORTS).items() if is_free(port)})

    def secret(self, name: str) -> str:
        """A random secret, made the first time."""
        known = self.read(SECRETS)
        if name not in known:
            known[name] = secrets.token_urlsafe(18)
            self.write(SECRETS, known)
        return str(known[name])

    def keep_secret(self, name: str, value: str) -> None:
        """Remember a secret that somebody chose."""
        self.write(SECRETS, self.read(SECRETS) | {name: value})

    def write(self, name: str, value: Any) -> None:
        """Keep a value in a file of the folder, all of it or none."""
        path, new = self.folder / name, self.folder / f"{name}.new"
        self.write_secret(new, json.dumps(value, indent=1))
        with explained(path):
            new.replace(path)

    def write_secret(self, path: Path, text: str) -> None:
        """Write a file that only its owner reads."""
        with explained(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)

    def room(self) -> None:
        """See that the disk has room to start with. PostgreSQL and Kafka stop hard on a full one."""
        free = shutil.disk_usage(self.folder).free
        if free < ENOUGH:
            raise Trouble(
                f"The disk that holds {self.folder} has only {free // 2**20} MB left.",
                f"Free some (at least {ENOUGH // 2**20} MB), or name another folder: MERCATO_HOME=/some/folder.",
            )

    def read(self, name: str) -> dict[str, Any]:
        """What is kept in a file of the folder."""
        path = self.folder / name
        with explained(path):
            try:
                value = json.loads(path.read_text())
            except FileNotFoundError:
                return {}
            except ValueError as error:
                raise Trouble(
                    f"{path} is damaged.", f"Remove the state folder {self.folder} and start anew."
                ) from error
        return dict(value)


def default_folder() -> Path:
    """The state folder of the project that this code belongs to, or of the folder that one stands in."""
    project = PROJECT if (PROJECT / "pyproject.toml").exists() else Path.cwd()
    return project / ".mercato"
