"""The command: `python -m chaos.sweep`, or `make sweep`."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from chaos.sweep.case import ACTIONS, Outcome
from chaos.sweep.sweep import Sweep
from chaos.sweep.table import show
from mercato.local.home import default_folder

_ABOUT = """Make the shop crash, raise, hang and lose answers at every place that its stories pass, and audit it.

The whole sweep takes a good hour on two cores; when it is broken off (Ctrl-C), the next call goes on where it was.
"""
_EXAMPLES = """examples:
  python -m chaos.sweep                                  all of it, or what is left of it
  python -m chaos.sweep --slice 12 --seed 7              twelve cases, chosen by a seed, in a mesh of their own
  python -m chaos.sweep --only order.PlaceOrder          the places whose names begin so
  python -m chaos.sweep --only relay --action crash      the places whose names contain it, killed
"""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command is told."""
    parser = argparse.ArgumentParser(
        "python -m chaos.sweep",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--slice", type=int, default=0, metavar="N", help="only so many cases, chosen by the seed")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="chooses the slice")
    parser.add_argument("--only", default="", metavar="TEXT", help="only places whose names contain this")
    parser.add_argument("--story", default="", metavar="TEXT", help="only stories whose names contain this")
    parser.add_argument("--action", action="append", choices=ACTIONS, help="only this; may be given more than once")
    parser.add_argument("--folder", type=Path, default=default_folder() / "sweep", help="where the sweep remembers")
    parser.add_argument("--fresh", action="store_true", help="forget what was played and recorded, and begin anew")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Sweep; the status: 0 where everything held."""
    told = arguments(given)
    console = Console()
    if told.slice:
        console.print(f"seed {told.seed}: again with --slice {told.slice} --seed {told.seed}", highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as rooms:
            results = Sweep(told, console, rooms).run()
    except KeyboardInterrupt:
        console.print("Broken off; the same command goes on.")
        return 130
    show(console, results)
    return int(any(result.outcome is Outcome.VIOLATED for result in results))


if __name__ == "__main__":
    sys.exit(main())
