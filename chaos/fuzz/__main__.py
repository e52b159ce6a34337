"""The command: `python -m chaos.fuzz`, or `make fuzz`."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from chaos.fuzz.run import Fuzz, Plan
from mercato.cli.up import wide

_ABOUT = """Send a mesh of its own what nobody should send, over REST and gRPC, made from the documents it gives out,
and frames of WebSocket and HTTP/2 that are none.

What must hold: no 5xx (but for limits that say when to come again), no answer that does not come, answers as the
document has them, no INTERNAL and no UNKNOWN over gRPC, no row changed by what was refused, no process that dies, and
nothing that the auditor finds. Each finding comes with a line that shows it again: $URL is a gateway, $TOKEN a session.
"""
_EXAMPLES = """examples:
  python -m chaos.fuzz                              a minute over REST, a minute over gRPC
  python -m chaos.fuzz --seconds 10 --seed 7        a slice, as CI does it
  python -m chaos.fuzz --cases 50000 --seconds 3600 as many, however long it takes (an hour at most)
  python -m chaos.fuzz --cases 600000 --seconds 1000 a million and more in 40 minutes, on a quiet machine
  python -m chaos.fuzz --folder /tmp/fuzz           keep the logs and the database there
"""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command is told."""
    parser = argparse.ArgumentParser(
        "python -m chaos.fuzz",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="makes the same cases again")
    parser.add_argument("--cases", type=int, default=100_000, metavar="N", help="at most so many of each kind")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="at most so long for each kind")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case, to go on from")
    parser.add_argument("--folder", type=Path, help="the mesh's folder, kept; a temporary one where none is named")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Fuzz; the status: 0 where nothing was found."""
    told = arguments(given)
    console = wide(Console())
    console.print(f"seed {told.seed}: again with --seed {told.seed}", highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(told.seed, told.cases, told.seconds, first=told.first, folder=told.folder)
    try:
        return 0 if Fuzz(plan, console).run() else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
