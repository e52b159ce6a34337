"""Every rpc of every contract, asked for by everybody about everything, at the gateway's door and behind it.

What is to come of it is written down by hand in `tests.access`; how it is asked so that nothing happens,
in `tests.e2e.asking`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial

import pytest

from mercato.auth import Signer
from mercato.local.mesh import Mesh
from mercato.rpc.call import NOBODY, Principal
from tests.access import ANONYMOUS, ROLES, ROWS, SERVICES, Row, Verdict
from tests.e2e.asking import RPCS, Answer, Calls, Visits, has_address, request_of, rest_forms, targets
from tests.e2e.people import ANOTHERS, MISSING, OWN, People, Somebody
from tests.e2e.town import Shop, until

LEAST = 1_500
ADMIN = Principal("0190a6e0-0000-7000-8000-00000000ad01", frozenset({"admin"}), "session")
# What a status says of the gate; over gRPC, by the number of its code.
REFUSALS = {401: Verdict.SIGN_IN, 403: Verdict.FORBIDDEN, 16: Verdict.SIGN_IN, 7: Verdict.FORBIDDEN}


Answers = Mapping[str, Answer]


@dataclass
class Tally:
    """How often each rpc was asked for, and what came of it that should not have."""

    asked: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def hold(self, rpc: str, by: str, answers: Answers, may: Callable[[str], Verdict]) -> None:
        """Hold answers against what is to be said of each target."""
        self.asked[rpc] += len(answers)
        for target, answer in answers.items():
            wanted = may(target)
            found = REFUSALS.get(answer.status, Verdict.PASSED)
            self.refused += found is Verdict.FORBIDDEN
            if found is not (Verdict.PASSED if wanted is Verdict.HIDDEN else wanted):
                self.wrong.append(f"{rpc} by {by}, {target}: {answer.status} {answer.reason}, not {wanted.name}")
        if ANOTHERS in answers and may(ANOTHERS) is Verdict.HIDDEN:
            self._compare(f"{rpc} by {by}", answers)

    @property
    def told(self) -> str:
        """All that is wrong, a line each."""
        return "\n".join(self.wrong)

    def _compare(self, what: str, answers: Answers) -> None:
        """Another's is what a missing one is, to the byte; and one's own is not, or that would say nothing."""
        if answers[ANOTHERS] != answers[MISSING]:
            self.wrong.append(f"{what}: {answers[ANOTHERS]} differs from {answers[MISSING]}")
        if answers[OWN] == answers[MISSING]:
            self.wrong.append(f"{what}: one's own looks like none: {answers[OWN]}")


Asked = Callable[[str], Tally]
"""What came of everything that somebody asks for, once: asked again, it is the same tally."""


@pytest.fixture(scope="module")
def people(mesh: Mesh, shop: Shop) -> Iterator[People]:
    """One of each role, and one more."""
    people = People(mesh, shop)
    yield people
    people.close()


@pytest.fixture(scope="module")
def at_the_door(mesh: Mesh, people: People) -> Iterator[Asked]:
    """Somebody of a role asks the gateway for everything."""
    visits = Visits(mesh.url)

    @cache
    def asked(role: str) -> Tally:
        tally = Tally()
        for row in ROWS.values():
            for answers in visited(visits, row, people.of[role], people):
                tally.hold(row.rpc, role, answers, partial(row.verdict, role))
        return tally

    yield asked
    visits.close()


def visited(visits: Visits, row: Row, asker: Somebody, people: People) -> Iterator[Answers]:
    """The answers to each REST form of an operation. Who signs out, or ends a session, has another one for that."""
    rpc, about = RPCS[row.rpc], targets(row.rpc)
    token = asker.spare if row.rpc == "SignOut" else asker.token
    forms = [list(rest_forms(rpc, request_of(rpc, people.target(asker, each, row.rpc)))) for each in about]
    for alike in zip(*forms, strict=True):
        yield {each: visits.ask(form, token) for each, form in zip(about, alike, strict=True)}


@pytest.fixture(scope="module")
def behind_it(mesh: Mesh, people: People, at_the_door: Asked) -> Iterator[Asked]:
    """The gateway asks the services for everything, in the name of somebody of a role."""
    calls = Calls(mesh.targets, Signer.load(mesh.home.keys, "gateway"))

    @cache
    def asked(role: str) -> Tally:
        at_the_door(role)  # where sessions are ended that are there to be ended: over gRPC they have ended
        tally, somebody = Tally(), people.of[role]
        for row in ROWS.values():
            rpc, may = RPCS[row.rpc], partial(promised(row).call, "gateway", role)
            about = {each: request_of(rpc, people.target(somebody, each, row.rpc)) for each in targets(row.rpc)}
            answers = {each: calls.ask(rpc, request, asking(row, somebody)) for each, request in about.items()}
            tally.hold(row.rpc, role, answers, may)
        return tally

    yield asked
    calls.close()


def asking(row: Row, somebody: Somebody) -> Principal:
    """As whom somebody asks: out of their second session, if this ends it."""
    principal = somebody.principal
    ends = row.rpc == "SignOut" and principal.subject
    return replace(principal, session_id=somebody.things["session"]) if ends else principal


@pytest.fixture(scope="module")
def between_processes(mesh: Mesh, people: People) -> Asked:
    """A process asks the services for everything, for nobody and for an admin, about what is not there."""

    @cache
    def asked(service: str) -> Tally:
        tally, calls = Tally(), Calls(mesh.targets, Signer.load(mesh.home.keys, service))
        for row in ROWS.values():
            rpc = RPCS[row.rpc]
            for role, principal in {ANONYMOUS: NOBODY, "admin": ADMIN}.items():
                answer = calls.ask(rpc, request_of(rpc, people.missing), principal)
                may = partial(promised(row).call, service, role)
                tally.hold(row.rpc, f"{service} for {role}", {MISSING: answer}, may)
        calls.close()
        return tally

    return asked


def promised(row: Row) -> Row:
    """What holds over gRPC: without an address of its own, an operation is for processes alone."""
    return row if has_address(RPCS[row.rpc]) else row.between_processes()


def test_the_shop_is_open(shop: Shop) -> None:
    assert shop.slots()


def test_everybody_has_something_to_be_refused(people: People) -> None:
    assert people.of.keys() == {*ROLES}


@pytest.mark.parametrize("role", ROLES)
def test_the_gateway_lets_in_whom_the_table_names(at_the_door: Asked, role: str) -> None:
    tally = at_the_door(role)
    assert not tally.wrong, tally.told


@pytest.mark.parametrize("role", ROLES)
def test_services_let_in_whom_the_table_names(behind_it: Asked, role: str) -> None:
    tally = behind_it(role)
    assert not tally.wrong, tally.told


@pytest.mark.parametrize("service", SERVICES)
def test_processes_call_what_the_table_names_and_nothing_else(between_processes: Asked, service: str) -> None:
    tally = between_processes(service)
    assert not tally.wrong, tally.told


def test_every_refusal_of_a_service_is_written_down_with_whom_it_met(
    mesh: Mesh, people: People, behind_it: Asked
) -> None:
    refused = {role: behind_it(role).refused for role in ROLES if role != ANONYMOUS}
    assert min(refused.values()) > 0

    def written() -> bool:
        """An answer may come a moment before its line."""
        logs = (line for path in mesh.home.logs.glob("*.log*") for line in path.read_bytes().splitlines())
        refusals = [line for line in logs if b'"code":"PERMISSION_DENIED"' in line and b'"caller":"gateway"' in line]
        subjects = {role: f'"subject":"{people.of[role].principal.subject}"'.encode() for role in refused}
        return all(sum(subjects[role] in line for line in refusals) >= count for role, count in refused.items())

    until(written, "every refusal is in a log, with whom it met")


def test_every_rpc_was_asked_for_by_everybody_in_every_way(
    at_the_door: Asked, behind_it: Asked, between_processes: Asked
) -> None:
    ways = {
        "REST": summed(map(at_the_door, ROLES)),
        "gRPC": summed(map(behind_it, ROLES)),
        "between processes": summed(map(between_processes, SERVICES)),
    }
    counts = {way: asked.total() for way, asked in ways.items()}
    print(f"authorization cases: {sum(counts.values())} ({counts})")
    assert sum(counts.values()) >= LEAST
    assert ways["gRPC"].keys() == ways["between processes"].keys() == RPCS.keys()
    assert ways["REST"].keys() == {name for name, rpc in RPCS.items() if has_address(rpc)}
    assert [min(asked.values()) for asked in ways.values()] == [len(ROLES), len(ROLES), 2 * len(SERVICES)]


def summed(tallies: Iterable[Tally]) -> Counter[str]:
    """How often each rpc was asked for in all."""
    return sum((tally.asked for tally in tallies), Counter[str]())
