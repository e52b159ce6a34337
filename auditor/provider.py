"""The provider's log as tables that SQL can compare: `provider_payment` and `provider_refund`.

The log is the outside truth: one line for each movement of money, in the order in which it happened. It is read on
from where the last audit ended; lines that are later than the shop's snapshot wait for the next.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mercato.audit import Connection

PATIENCE = 30.0  # seconds

CREATE = """
    create temp table if not exists provider_payment (
        reference text primary key,
        payment_id uuid,
        status text not null,
        currency text not null,
        amount bigint not null,
        captured bigint not null,
        refunded bigint not null
    );
    create index if not exists provider_payment_of on provider_payment (payment_id);
    create temp table if not exists provider_refund (
        reference text not null,
        payment text not null,
        refund_id uuid,
        amount bigint not null
    );
"""
STATUS: Mapping[str, str] = {
    "authorize": "requires_capture",
    "decline": "requires_payment_method",
    "capture": "succeeded",
    "cancel": "canceled",
    "expire": "canceled",
}

Line = Mapping[str, Any]


class NoProviderLog(Exception):
    """The log cannot be read just now; the text says why."""


@dataclass(slots=True)
class Record:
    """A payment as the provider has it, in minor units."""

    reference: str
    payment_id: UUID | None
    currency: str
    status: str = ""
    amount: int = 0
    captured: int = 0
    refunded: int = 0

    @property
    def row(self) -> tuple[Any, ...]:
        """It as a row of the table."""
        amounts = (self.amount, self.captured, self.refunded)
        return (self.reference, self.payment_id, self.status, self.currency, *amounts)

    def follow(self, line: Line) -> None:
        """Do what a line says was done."""
        match line["did"]:
            case "refund":
                self.refunded += line["amount"]
                return
            case "authorize" | "decline":
                self.amount = line["amount"]
            case "capture":
                self.captured += line["amount"]
                self.amount = self.amount or line["amount"]
        self.status = STATUS[line["did"]]


Source = Callable[[int], Iterable[Line]]
"""The movements behind a line of the log, in their order. NoProviderLog."""


class ProviderLog:
    """The log, as far as it was read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._records: dict[str, Record] = {}
        self._refunds: list[tuple[str, str, UUID | None, int]] = []
        self._after = 0

    def create_tables(self, connection: Connection) -> None:
        """Make the tables; outside of a transaction that only reads."""
        connection.execute(CREATE)

    def fill_tables(self, connection: Connection, until: datetime) -> int:
        """Bring the tables up to what was done until then; how many payments the provider has. NoProviderLog."""
        self.read_on(until)
        connection.execute("delete from provider_payment; delete from provider_refund")
        cursor = connection.cursor()
        with cursor.copy("copy provider_payment from stdin") as copy:
            for each in self.records:
                copy.write_row(each.row)
        with cursor.copy("copy provider_refund from stdin") as copy:
            for refund in self._refunds:
                copy.write_row(refund)
        connection.execute("analyze provider_payment; analyze provider_refund")
        return len(self._records)

    @property
    def records(self) -> Collection[Record]:
        """What the provider has, as far as the log was read."""
        return self._records.values()

    def read_on(self, until: datetime) -> None:
        """Follow what was done until then, from where reading ended. NoProviderLog."""
        for line in self._source(self._after):
            if line["time"] > until.timestamp():
                return
            self._follow(line)

    def _follow(self, line: Line) -> None:
        reference = line["payment_intent"]
        if reference not in self._records:
            self._records[reference] = Record(reference, _uuid(line["payment_id"]), line["currency"].upper())
        self._records[reference].follow(line)
        if line["did"] == "refund":
            self._refunds.append((line["refund"], reference, _uuid(line["refund_id"]), line["amount"]))
        self._after = line["line"]


def provider_log(place: str, key: str = "") -> ProviderLog:
    """The log of the simulator: at its address while it runs, or at its path where it is at rest."""
    if place.startswith(("http://", "https://")):
        return ProviderLog(lambda after: _fetched(place, key, after))
    return ProviderLog(lambda after: [line for line in _printed(place) if line["line"] > after])


def _fetched(address: str, key: str, after: int) -> Iterator[Line]:
    # The address is the operator's, from the settings.
    request = urllib.request.Request(  # noqa: S310
        f"{address}/_audit?after={after}", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310
            yield from map(json.loads, reply)
    except OSError as error:
        raise NoProviderLog(f"{address} does not answer: {error}") from error


def _printed(path: str) -> list[Line]:
    """What the simulator says of a log at rest: it alone knows how it writes."""
    command = [sys.executable, "-m", "simulator", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise NoProviderLog(f"{path} cannot be read: {done.stderr.strip()[-200:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
