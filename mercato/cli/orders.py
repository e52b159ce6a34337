"""`mercato orders`: what waits for people, and trying it again."""

from rich.console import Console
from rich.table import Table

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.cli.operations import PAGE, all_pages, asked, told_time
from mercato.cli.up import wide
from mercato.local.mesh import Mesh

ORDER = "order"
COLUMNS = ("order", "state", "since", "waits for", "tries", "last reason", "what to do")


def show_stuck(here: Mesh) -> None:
    """Print a table of the orders that wait for a person, the oldest first."""
    table = Table(box=None, pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, no_wrap=title in ("order", "state", "since"))
    with asked(here) as stub_of:
        stub = stub_of(ORDER)
        for stuck in all_pages(lambda token: stub.ListStuck(_list(token)), lambda page: page.stuck):
            table.add_row(*_row(stuck))
    wide(Console(highlight=False, markup=False)).print(table if table.row_count else "No order waits for anybody.")


def _list(token: str) -> pb.ListStuckRequest:
    return pb.ListStuckRequest(service=ORDER, page_size=PAGE, page_token=token)


def _row(stuck: pb.Stuck) -> tuple[str, ...]:
    tries = str(stuck.attempts or "")
    return stuck.id, stuck.state, told_time(stuck.since), stuck.waits_for, tries, stuck.last_reason, stuck.advice


def retry(here: Mesh, order_id: str) -> None:
    """Have what is stuck about an order tried again now."""
    with asked(here) as stub_of:
        done = stub_of(ORDER).RetryStuck(pb.RetryStuckRequest(service=ORDER, id=order_id))
    print(f"{done.retried} tried again; see how it goes: mercato logs order, mercato orders stuck")
