"""`mercato dlq`: the events that services could not apply, and the ways out."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.api.ops.v1.ops_pb2_grpc import OpsServiceStub
from mercato.cli.operations import PAGE, all_pages, asked, known, told_time
from mercato.cli.up import wide
from mercato.errors import MercatoError
from mercato.local.mesh import Mesh
from mercato.local.table import SERVICES
from mercato.parking import StillRefused

COLUMNS = ("id", "event", "aggregate", "version", "since", "reader", "why")


def show(here: Mesh, service: str) -> None:
    """Print a table of what is parked at one service, or at all of them."""
    table = Table(box=None, pad_edge=False)
    for title in ("service", *COLUMNS):
        table.add_column(title, no_wrap=title != "why")
    with asked(here) as stub_of:
        for name in [known(service)] if service else [each.name for each in SERVICES]:
            for letter in _letters(stub_of(name), name):
                table.add_row(name, *_row(letter))
    console = wide(Console(highlight=False, markup=False))
    console.print(table if table.row_count else "No event is parked.")


def _letters(stub: OpsServiceStub, service: str) -> Iterator[pb.DeadLetter]:
    def page(token: str) -> pb.ListDeadLettersResponse:
        request = pb.ListDeadLettersRequest(service=service, page_size=PAGE, page_token=token)
        found: pb.ListDeadLettersResponse = stub.ListDeadLetters(request)
        return found

    return all_pages(page, lambda found: found.dead_letters)


def _row(letter: pb.DeadLetter) -> tuple[str, ...]:
    why = f"waits behind {letter.behind}" if letter.behind else letter.reason
    event = letter.type.rpartition(".")[2] or "?"
    return letter.id, event, letter.aggregate_id, str(letter.version), told_time(letter.create_time), letter.group, why


def show_one(here: Mesh, service: str, letter_id: str) -> None:
    """Print all that is known of one."""
    with asked(here) as stub_of:
        letter = stub_of(service).GetDeadLetter(pb.GetDeadLetterRequest(service=service, id=letter_id))
    lines = [(title, value) for title, value in zip(COLUMNS, _row(letter), strict=True)]
    lines += [("record", letter.record), *((name, text) for name, text in sorted(letter.headers.items()))]
    for title, value in lines:
        print(f"{title:<16} {value}")
    print(letter.content)


def redrive(here: Mesh, service: str, letter_id: str) -> int:
    """Apply one and what waits behind it; the exit status: 1 where something still waits."""
    with asked(here) as stub_of:
        try:
            return _tell(stub_of(service).RedriveDeadLetter(pb.RedriveDeadLetterRequest(service=service, id=letter_id)))
        except StillRefused as refusal:
            print(f"{refusal.message}")
            return _tell(pb.Redriven(**_counts(refusal)))


def discard(here: Mesh, service: str, letter_id: str) -> int:
    """Give one up for good, and apply what waited behind it; the exit status: 1 where something still waits."""
    with asked(here) as stub_of:
        return _tell(stub_of(service).DiscardDeadLetter(pb.DiscardDeadLetterRequest(service=service, id=letter_id)))


def _counts(refusal: MercatoError) -> dict[str, Any]:
    return {name: int(str(refusal.metadata.get(name, 0))) for name in ("applied", "remaining")}


def _tell(done: pb.Redriven) -> int:
    print(f"{done.applied} applied, {done.remaining} still waiting")
    return 1 if done.remaining else 0
