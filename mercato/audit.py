"""The audit: rules that say what must hold, run on one consistent view of a database.

A rule is one file, `audits/<folder>/<invariant>_<name>.sql`. Its header says what must hold, what it is about and how
it is put right; its rows are the violations, an `id` and a `detail` each:

    -- I1 ledger_balanced
    -- Every transaction of the ledger has as much debit as credit, in each currency.
    -- about: ledger transaction
    -- repair: human
    select transaction_id as id, … as detail from ledger_entry …

`audits/<schema>/` are the rules of one schema, which see nothing else, `audits/chassis/` those of every schema, and
`audits/mesh/` those across schemas. Times are variables as psql has them, so that a file can be run by hand:
`psql -v grace='30 s' -f audits/orders/I6_….sql`. A rule whose `needs:` are not there is passed over.

    with snapshot(connection):
        findings = run(connection, "orders")
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import IsolationLevel

from mercato.postgres import OPTIONS

Connection: TypeAlias = psycopg.Connection[Any]

CHASSIS, MESH = "chassis", "mesh"
HUMAN = "human"
GRACE = timedelta(seconds=30)
# Findings that are told of one rule; the others are only counted.
MOST = 100
NAME = re.compile(r"I\d+_[a-z0-9_]+")
_VARIABLE = re.compile(r":'(\w+)'")
_KEYS = ("about", "repair", "needs")
_NOTHING: Mapping[str, str] = {}


class BadRule(Exception):
    """A file that is no rule; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold."""

    name: str
    holds: str
    about: str
    repair: str
    needs: tuple[str, ...]
    text: str

    @property
    def invariant(self) -> str:
        """Which of the invariants it is part of, such as `I2`."""
        return self.name.partition("_")[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold: the rule, the schema, what it is about, and how it is put right."""

    rule: str
    schema: str
    about: str
    id: str
    detail: str
    repair: str = HUMAN

    def __str__(self) -> str:
        return f"{self.rule} {self.about} {self.id}: {self.detail} → {self.repair}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one rule. `count` may be more than the findings that are told; `missing` says why it was not run."""

    rule: str
    schema: str
    findings: Sequence[Finding] = ()
    count: int = 0
    seconds: float = 0.0
    missing: str = ""

    @classmethod
    def of(cls, rule: str, schema: str, findings: Sequence[Finding], seconds: float = 0.0) -> "Verdict":
        """The verdict on a rule that was looked after elsewhere than in SQL."""
        return cls(rule, schema, findings[:MOST], len(findings), seconds)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an audit."""

    verdicts: Sequence[Verdict]
    seconds: float
    audited: Mapping[str, int] = field(default_factory=dict)
    """How much was looked at, by kind."""

    @property
    def findings(self) -> list[Finding]:
        """All that are told, by rule."""
        return [finding for verdict in self.verdicts for finding in verdict.findings]

    @property
    def count(self) -> int:
        """How many there are, told or not."""
        return sum(verdict.count for verdict in self.verdicts)

    @property
    def clean(self) -> bool:
        """Whether everything holds that was looked at."""
        return not self.count

    def public(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {
            "clean": self.clean,
            "count": self.count,
            "seconds": round(self.seconds, 3),
            "audited": dict(self.audited),
            "findings": [asdict(finding) for finding in self.findings],
            "rules": {f"{v.schema}/{v.rule}": v.count for v in self.verdicts if not v.missing},
            "passed_over": {f"{v.schema}/{v.rule}": v.missing for v in self.verdicts if v.missing},
        }


def default_folder() -> Path:
    """The project's rules: beside this package, or within it where it was installed from a wheel."""
    packed = Path(__file__).with_name("audits")
    return packed if packed.is_dir() else Path(__file__).parents[1] / "audits"


@cache
def rules(source: str, folder: Path | None = None) -> tuple[Rule, ...]:
    """The rules of a schema, with those of every schema first; or `mesh`, those across schemas. BadRule."""
    folder = folder or default_folder()
    sources = (MESH,) if source == MESH else (CHASSIS, source)
    return tuple(_parsed(path) for name in sources for path in sorted((folder / name).glob("*.sql")))


def _parsed(path: Path) -> Rule:
    header = [line[2:].strip() for line in _header(path.read_text())]
    if not NAME.fullmatch(path.stem) or header[:1] != [path.stem.replace("_", " ", 1)]:
        raise BadRule(f"{path}: the first line is to be `-- I1 name`, as the file is called")
    values = {key: text.strip() for key, _, text in (line.partition(":") for line in header) if key in _KEYS}
    holds = " ".join(line for line in header[1:] if line.partition(":")[0] not in _KEYS)
    if not holds or not {"about", "repair"} <= values.keys():
        raise BadRule(f"{path}: says not what must hold, what it is about, or how it is put right")
    needs = tuple(values.get("needs", "").split())
    return Rule(path.stem, holds, values["about"], values["repair"], needs, path.read_text())


def _header(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("--"):
            return
        yield line


def connect(url: str) -> Connection:
    """A connection to audit on; the caller closes it."""
    return psycopg.connect(url, autocommit=True, application_name="auditor", **OPTIONS)


@contextmanager
def snapshot(connection: Connection) -> Iterator[Connection]:
    """Within the block, everything is seen as it was at one moment, and nothing can be written."""
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            # Large joins, seldom: memory rather than files, and no time for compiling them.
            connection.execute("set local work_mem = '64MB'; set local jit = off; set local statement_timeout = '60s'")
            yield connection
    finally:
        connection.isolation_level, connection.read_only = None, None


def run(connection: Connection, source: str, *, grace: timedelta = GRACE, folder: Path | None = None) -> list[Finding]:
    """What does not hold in a schema (or across them: `mesh`). A service runs its own schema's on its own connection.

    `grace` is how long, by the database's clock, something may be on its way before it is a violation.
    """
    verdicts = examine(connection, source, grace=grace, folder=folder)
    return [finding for verdict in verdicts for finding in verdict.findings]


def examine(
    connection: Connection,
    source: str,
    *,
    grace: timedelta = GRACE,
    folder: Path | None = None,
    absent: Mapping[str, str] = _NOTHING,
) -> list[Verdict]:
    """The verdict on each rule of a source; see `run`. `absent` says of what rules need why it is not there."""
    values = {"grace": f"{grace.total_seconds()} s"}
    return [_verdict(connection, source, rule, values, absent) for rule in rules(source, folder)]


def _verdict(
    connection: Connection, source: str, rule: Rule, values: Mapping[str, str], absent: Mapping[str, str]
) -> Verdict:
    for name in rule.needs:
        if why := absent.get(name) or _missing(connection, name):
            return Verdict(rule.name, source, missing=why)
    began = time.monotonic()
    with connection.transaction():
        connection.execute("select set_config('search_path', %s, true)", ["" if source == MESH else source])
        rows = connection.execute(_filled(rule.text, values)).fetchall()
    findings = [Finding(rule.name, source, rule.about, str(row[0]), str(row[1]), rule.repair) for row in rows[:MOST]]
    return Verdict(rule.name, source, findings, len(rows), time.monotonic() - began)


def _missing(connection: Connection, name: str) -> str:
    found = connection.execute("select to_regclass(%s)", [name]).fetchone()
    return "" if found and found[0] is not None else f"there is no {name}"


def _filled(text: str, values: Mapping[str, str]) -> bytes:
    """The text with its variables filled in, as psql does it. They are ours, never a caller's."""
    return _VARIABLE.sub(lambda match: "'" + values[match[1]].replace("'", "''") + "'", text).encode()
