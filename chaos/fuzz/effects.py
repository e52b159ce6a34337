"""What refused requests leave behind: nothing. They are sent once more, all of them, between two looks at every row."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, LiteralString

import psycopg

from chaos.fuzz.rest_cases import Case
from chaos.fuzz.wire import Answer, Line
from chaos.rest import come_to_rest
from mercato.local.mesh import Mesh
from mercato.local.table import SERVICES

_TABLES: LiteralString = (
    "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = any(%s) order by 1"
)
_DIGEST = "select count(*)::text || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)), 0)::text from {} t"
_BY_THE_CLOCK = frozenset({"payments.reconciliation"})  # when the books were last compared: no request's doing
_OF_EACH = 3  # of requests that were refused alike
_REST = 30.0
_APART = 0.5  # seconds; longer than any worker gathers
_AT_ONCE = 6

Digest = Mapping[str, str]


class Refused:
    """Some of the requests that were refused, of every kind."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Case]] = defaultdict(list)
        self._dice = random.Random(1)  # noqa: S311  a choice, no secret

    def keep(self, case: Case, answer: Answer) -> None:
        """Remember one. What is refused with an order that came of it has an effect on purpose."""
        if not 400 <= answer.status < 500 or b'"orderId"' in answer.body or answer.status == 408:
            return
        kept = self._kept[case.route, answer.reason]
        if len(kept) < _OF_EACH:
            kept.append(case)
        elif self._dice.random() < 0.1:
            kept[self._dice.randrange(_OF_EACH)] = case

    @property
    def cases(self) -> list[Case]:
        """All that are remembered."""
        return [case for each in self._kept.values() for case in each]


class Effects:
    """Looks for what refused requests have changed."""

    def __init__(self, mesh: Mesh, ask: Callable[[Case, Line], Answer]) -> None:
        self._mesh = mesh
        self._ask = ask

    def of(self, cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
        """Those of the cases that are refused and yet change something, with the tables that they change."""
        refused, changed = self._again(cases)
        if not changed or not refused:
            return
        if len(refused) == 1:
            yield refused[0], f"is refused, and changes {', '.join(sorted(changed))}"
            return
        half = len(refused) // 2
        yield from self.of(refused[:half])
        yield from self.of(refused[half:])

    def _again(self, cases: Sequence[Case]) -> tuple[list[Case], set[str]]:
        """Send cases once more, without those which are answered otherwise now: who is refused, what has changed."""
        while True:
            before = digest_of(self._mesh)
            answers = self._send(cases)
            changed = different(before, digest_of(self._mesh))
            refused = [case for case, answer in zip(cases, answers, strict=True) if 400 <= answer.status < 500]
            if not changed or len(refused) == len(cases):
                return refused, changed
            cases = refused

    def _send(self, cases: Sequence[Case]) -> list[Answer]:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(self._send_one, cases))

    def _send_one(self, case: Case) -> Answer:
        with closing(Line("127.0.0.1", int(self._mesh.url.rpartition(":")[2]))) as line:
            return self._ask(case, line)


def digest_of(mesh: Mesh) -> Digest:
    """Every table of every service that requests change, at rest: as it is found twice, some moments apart."""
    come_to_rest(mesh, _REST)
    deadline, found = time.monotonic() + _REST, _digest(mesh)
    while True:
        time.sleep(_APART)
        if (again := _digest(mesh)) == found or time.monotonic() > deadline:
            return again
        found = again


def _digest(mesh: Mesh) -> Digest:
    schemas = [each.schema for each in SERVICES]
    with closing(psycopg.connect(mesh.setup_environment["MERCATO_DATABASE_URL"])) as connection:
        tables = [str(name) for (name,) in connection.execute(_TABLES, [schemas]).fetchall()]
        return {table: _one(connection, table) for table in tables if table not in _BY_THE_CLOCK}


def different(before: Digest, after: Digest) -> set[str]:
    """The tables that are not as they were."""
    return {table for table in after if before.get(table) != after[table]}


def _one(connection: psycopg.Connection[Any], table: str) -> str:
    row = connection.execute(_DIGEST.format(table).encode()).fetchone()
    return str(row[0]) if row else ""
