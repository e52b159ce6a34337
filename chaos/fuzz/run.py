"""A run of the fuzz: a town, everybody in it, REST, gRPC, and what is to be seen in the end."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich.console import Console

from auditor.mesh import audit
from chaos.fuzz.findings import Findings, show, show_findings
from chaos.fuzz.framing import FrameFuzz
from chaos.fuzz.grpc import FOR_USERS, INSIDERS, GrpcFuzz
from chaos.fuzz.hoard import Hoard
from chaos.fuzz.people import Person, crowd
from chaos.fuzz.rest import RestFuzz
from chaos.fuzz.tempo import Tempo
from chaos.nemesis.goods import SKUS
from chaos.rest import come_to_rest
from chaos.sweep.town import Town

# Nothing may hide behind a short deadline, or a rate; a body that does not come is given up soon.
ENVIRONMENT = {
    "MERCATO_GATEWAY_DEADLINE": "20s",
    "MERCATO_GATEWAY_DEADLINES": "PlaceOrder=20s,ReconcilePayments=25s",
    "MERCATO_GATEWAY_BODY_TIMEOUT": "1s",
}
_REST_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted of a run: how many cases at most, and for how many seconds; gRPC gets as long as REST.

    `first` is the number of the first case: where an earlier run with the same seed ended.
    """

    seed: int
    cases: int = 100_000
    seconds: float = 60.0
    effects: bool = True
    first: int = 0
    folder: Path | None = None


class Fuzz:
    """One run."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._findings = Findings()
        self._hoard = Hoard()

    def run(self) -> bool:
        """Everything; whether nothing was found."""
        with ExitStack() as rooms:
            folder = self._plan.folder or Path(rooms.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
            town = rooms.enter_context(Town(folder, self._console, ENVIRONMENT))
            for sku in SKUS:
                self._hoard.add("sku", sku)
            people = [*crowd(town, self._hoard)]
            rest = RestFuzz(town.mesh, people, self._hoard, self._findings, self._plan.seed)
            rest.run(self._tempo("REST"))
            self._say(f"known: {dict(self._hoard.counts())}")
            if self._plan.effects:
                self._say(f"{rest.look_for_effects()} refused requests were sent once more")
            self._look_around(town, "REST")
            frames = FrameFuzz(_place(town), partial(_watched, people, self._hoard), self._findings)
            frames.run(self._tempo("frames", 0.25), self._plan.seed)
            self._look_at_processes(town, "frames")
            calls = GrpcFuzz(town.mesh, people, self._hoard, self._findings, self._plan.seed)
            rooms.callback(calls.close)
            calls.run(self._tempo("gRPC for users", 0.5), FOR_USERS)
            self._look_around(town, "gRPC")
            calls.run(self._tempo("gRPC from inside", 0.5), INSIDERS)
            self._look_at_processes(town, "gRPC")
        for protocol, counted in self._findings.counted.items():
            show(self._console, protocol, counted)
        show_findings(self._console, self._findings)
        return not len(self._findings)

    def _tempo(self, name: str, part: float = 1.0) -> Tempo:
        plan = self._plan
        return Tempo(name, int(plan.cases * part), plan.seconds * part, self._console, int(plan.first * part))

    def _look_around(self, town: Town, after: str) -> None:
        """What the auditor, the supervisor and the logs have to say, once all is at rest."""
        rest = come_to_rest(town.mesh, _REST_WITHIN)
        for unrest in rest.unrest:
            self._findings.add(f"after {after}", f"never at rest: {unrest}", "")
        for finding in _audited(town):
            self._findings.add(f"after {after}", "the auditor finds something", finding)
        self._look_at_processes(town, after)

    def _look_at_processes(self, town: Town, after: str) -> None:
        """Whether all live on, and none has met what nobody expected."""
        for report in town.mesh.reports():
            if report.restarts:
                self._findings.add(f"after {after}", f"{report.name} died", town.mesh.home.log(report.name).name)
        for where, line in _defects(town):
            self._findings.add(f"log of {where}", "a defect", line)

    def _say(self, what: str) -> None:
        self._console.print(what, highlight=False, markup=False, soft_wrap=True)


def _place(town: Town) -> tuple[str, int]:
    """Where the gateway is."""
    return "127.0.0.1", int(town.mesh.url.rpartition(":")[2])


def _watched(people: Sequence[Person], hoard: Hoard) -> tuple[str, str]:
    """The live events of some order, and a token of who may see all."""
    support = next(each for each in people if each.role == "support")
    return f"/v1/orders/{hoard.pick('order', random.Random(0))}/events", support.token  # noqa: S311  any of them


def _audited(town: Town) -> Iterator[str]:
    home = town.home
    report = audit(
        town.database_url,
        provider=f"http://{town.mesh.report('simulator').address}",
        provider_key=f"sk_test_{home.secret('provider')}",
        bootstrap=town.mesh.bootstrap,
        grace=timedelta(0),
    )
    yield from map(str, report.findings)


def _defects(town: Town) -> Iterator[tuple[str, str]]:
    """Lines about what nobody expected."""
    for log in sorted(town.home.logs.glob("*.log")):
        with log.open(errors="replace") as lines:
            for line in lines:
                if '"error"' in line and "defect" in line:
                    yield log.stem, line.strip()[:3000]
