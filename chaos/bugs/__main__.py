"""Runs the seeded bugs: `python -m chaos.bugs [NAME…]`."""

import argparse
import sys

from rich.console import Console

from chaos.bugs.catalogue import BUGS
from chaos.bugs.trial import Trials
from mercato.cli.up import wide


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.bugs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs to try; all of them where none is named")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    parser.add_argument("--no-sound", action="store_true", help="do not run the scenarios on the sound build first")
    parser.add_argument("--apart", action="store_true", help="try each bug on a mesh of its own")
    arguments = parser.parse_args()
    console = wide(Console(highlight=False))
    if unknown := {*arguments.names} - {bug.name for bug in BUGS}:
        parser.error(f"there is no bug named {', '.join(sorted(unknown))}")
    chosen = [bug for bug in BUGS if not arguments.names or bug.name in arguments.names]
    if arguments.list:
        for bug in chosen:
            console.print(f"{bug.name:<26} {bug.says}")
        return 0
    return 0 if Trials(console, apart=arguments.apart).run(chosen, sound=not arguments.no_sound) else 1


if __name__ == "__main__":
    sys.exit(main())
