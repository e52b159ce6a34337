"""An arena: a mesh of its own, with a shop in it, whose processes and connections may be made to fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from chaos.nemesis.goods import catalogue
from chaos.nemesis.links import plan
from chaos.proxy import Proxies
from mercato.auth import Signer
from mercato.local.home import Home
from mercato.local.mesh import Mesh
from mercato.local.part import State
from mercato.local.procfs import Identity, family
from mercato.local.table import SERVERS, SERVICES, mesh_parts
from mercato.local.trouble import Trouble
from mercato.migrate import service_url
from mercato.rpc.channel import Channels
from shop.progress import Stages
from shop.seed import Seed

# Everything of its own, whatever the environment names; two order services, so that one may go on for the other.
ENVIRONMENT = {
    "MERCATO_PORT": "0",
    "MERCATO_COPIES": "order=2",
    "MERCATO_DATABASE_URL": "",
    "MERCATO_REDIS_URL": "",
    "MERCATO_KAFKA_BOOTSTRAP": "",
}

HEALED_WITHIN = 240.0


class Arena:
    """A mesh behind proxies. What it breaks is its own, by the number of the process."""

    def __init__(
        self, folder: Path, console: Console, runner: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        """Nothing is started yet. A runner runs the services' modules: see `chaos.bugs.run`."""
        supervisor = ("-m", "chaos.nemesis.supervisor")
        told = {**ENVIRONMENT, **(environment or {})}
        self.mesh = Mesh(folder, environment=told, follow=True, supervisor=supervisor)
        parts = mesh_parts(self.home, self.mesh.settings)
        self.processes = sorted(part.name for part in parts if not part.step)
        self.proxies = Proxies(plan(self.home, parts, runner))
        self._console = console
        self._stopped: set[Identity] = set()
        self._open = ExitStack()

    @property
    def home(self) -> Home:
        """The mesh's state folder."""
        return self.mesh.home

    @property
    def database_url(self) -> str:
        """The database, as its superuser."""
        return self.mesh.setup_environment["MERCATO_DATABASE_URL"]

    def url_of(self, schema: str) -> str:
        """The database, as the role of a schema."""
        return service_url(self.database_url, schema, self.home.secret(f"role.{schema}"))

    @property
    def provider_url(self) -> str:
        """Where the provider answers, past the proxy."""
        return f"http://{self.mesh.report('simulator').address}"

    @property
    def provider_key(self) -> str:
        """The key of the shop's account with the provider."""
        return f"sk_test_{self.home.secret('provider')}"

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.proxies)
            opening.enter_context(self.mesh)
            opening.callback(self.go_on)
            self._fill()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._open.close()

    def _fill(self) -> None:
        channels = Channels(Signer.load(self.home.keys, "operator"), self.mesh.targets)
        try:
            groceries = catalogue(self.home.folder / "panel")
            Seed(channels, self.mesh.demo_password, Stages(self._console), groceries).run()
        finally:
            channels.close()
        self.mesh.keep_seeded(self.mesh.demo_password)

    # What may happen to a process.

    def kill(self, name: str) -> None:
        """Kill a process and all that it started, at once. The supervisor starts it again."""
        for each in self._family(name):
            self._send(each, signal.SIGKILL)

    def black_out(self) -> None:
        """Kill every process of the mesh at the same moment."""
        for each in [each for name in self.processes for each in self._family(name)]:
            self._send(each, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Stop a process, and all that it started, where they are."""
        for each in self._family(name):
            self._stopped.add(each)
            self._send(each, signal.SIGSTOP)

    def go_on(self, name: str = "") -> None:
        """Let go on what was stopped: one process, or all."""
        chosen = self._stopped & {*self._family(name)} if name else {*self._stopped}
        self._stopped -= chosen
        for each in chosen:
            self._send(each, signal.SIGCONT)

    def heal(self) -> None:
        """End every fault, and wait until every process is ready."""
        self.proxies.heal()
        self.go_on()
        deadline = time.monotonic() + HEALED_WITHIN
        # One that has failed is tried again by the supervisor, and may well come up on a machine that is so busy.
        while late := [each.name for each in self.mesh.reports() if each.state is not State.READY]:
            if time.monotonic() > deadline:
                raise Trouble(f"Not ready after {HEALED_WITHIN:.0f} s: {', '.join(late)}.", "See its log.")
            time.sleep(0.2)

    def _family(self, name: str) -> list[Identity]:
        leader = self.mesh.report(name).pid
        found = map(Identity.of, family(leader) if leader else ())
        return [each for each in found if each]

    @staticmethod
    def _send(process: Identity, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if process.alive:
                os.kill(process.pid, number)


def is_server(process: str) -> bool:
    """Whether it is one of PostgreSQL, Valkey and Kafka."""
    return process in SERVERS


def is_service(process: str) -> bool:
    """Whether it is a gRPC service, whichever copy."""
    return process.rstrip("-0123456789") in {service.name for service in SERVICES}
