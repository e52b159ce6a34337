"""The fuzz over REST: threads that send one case after the other, judge the answers and learn from them."""

from __future__ import annotations

import random
from contextlib import closing

import httpx

from chaos.fuzz.effects import Effects, Refused
from chaos.fuzz.findings import Findings
from chaos.fuzz.hoard import Hoard
from chaos.fuzz.judge import Judge
from chaos.fuzz.people import Person
from chaos.fuzz.rest_cases import Case, RestCases
from chaos.fuzz.tempo import Tempo
from chaos.fuzz.wire import Answer, Line
from mercato.local.mesh import Mesh


class RestFuzz:
    """Sends what the gateway's document allows, and what it does not."""

    def __init__(self, mesh: Mesh, people: list[Person], hoard: Hoard, findings: Findings, seed: int) -> None:
        document = httpx.get(f"{mesh.url}/openapi.json", timeout=30).json()
        self._mesh = mesh
        self._people = people
        self._hoard = hoard
        self._findings = findings
        self._seed = seed
        self._cases = RestCases(document, hoard)
        self._judge = Judge(document)
        self._refused = Refused()

    def run(self, tempo: Tempo) -> None:
        """Send until it is time."""
        # Everything is asked rightly before anything is asked wrongly: so that much is known.
        names = self._cases.names()
        first = [(name, who) for name in (*names, *names) for who in self._people if self._cases.fits(name, who)]
        self._first = dict(enumerate(first, tempo.first))
        tempo.run(self._send_some)

    def look_for_effects(self) -> int:
        """Send what was refused once more, and note what changes anything; how many were sent."""
        cases = self._refused.cases
        for case, what in Effects(self._mesh, self._ask).of(cases):
            self._findings.add(case.route, what, case.request.line(f"as {case.who.role}"))
        return len(cases)

    def _send_some(self, tempo: Tempo) -> None:
        """Send cases, one after the other, on one connection."""
        with closing(Line("127.0.0.1", int(self._mesh.url.rpartition(":")[2]))) as line:
            for number in tempo:
                self._note(case := self._drawn(number), self._ask(case, line))

    def _drawn(self, number: int) -> Case:
        dice = random.Random(f"{self._seed} rest {number}")  # noqa: S311  cases that can be made again
        if number in self._first:
            name, person = self._first[number]
            return self._cases.first(name, dice, person)
        return self._cases.case(dice, self._people)

    def _ask(self, case: Case, line: Line) -> Answer:
        return line.send(case.request)

    def _note(self, case: Case, answer: Answer) -> None:
        status = str(answer.status) if answer.status else answer.trouble.partition(":")[0]
        self._findings.count("REST", case.route, status, self._judge.excuse(answer))
        for what in self._judge.faults(case, answer):
            detail = f"{answer.status} {answer.body[:400]!r} after {answer.seconds:.1f} s"
            self._findings.add(case.route, what, case.request.line(f"as {case.who.role}"), detail)
        self._refused.keep(case, answer)
        if 200 <= answer.status < 300 and case.kind == "made":
            self._hoard.learn(answer.json, self._cases.kinds[case.route])
            self._hoard.add("consistency", answer.headers.get("x-consistency", ""))
        token = next((value for name, value in case.request.headers if name == "Authorization"), "")
        if answer.status == 401 and token == f"Bearer {case.who.token}":
            case.who.renew(case.who.token)
